package gateway

import (
	"runtime"
	"sync"
	"time"
)

// deliver takes a publication from the source into the log.
func (ch *channel) deliver(p Publication) {
	h := ch.hub.h
	var m *Message
	var key string
	if p.ended == nil {
		m, key = ch.message(p)
		h.count.published.Add(1)
		if m == nil {
			return
		}
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case ch.over, ch.ended != nil:
		return
	case m == nil:
		ch.ended = p.ended
	default:
		ch.appendLocked(m, key)
	}
	if !ch.running {
		ch.running = true
		h.tasks.Go(ch.run)
	}
}

// message makes a message of a publication, with its key for SlowConflate. Nil: a hook has
// dropped it.
func (ch *channel) message(p Publication) (m *Message, key string) {
	h := ch.hub.h
	if p.Gap {
		h.count.gaps.Add(1)
		return ch.gapMessage(), ""
	}
	m = newMessage(ch.name, ch.name, p.Data)
	m.Offset, m.seq = p.Offset, p.seq
	m = h.applyPublicationHooks(m)
	if m != nil && ch.rule.Slow == SlowConflate && ch.rule.Key != nil {
		h.guard("Channel.Key", func() { key = ch.rule.Key(m.Content) })
	}
	return m, key
}

// appendLocked appends a message to the log. The lock is held.
func (ch *channel) appendLocked(m *Message, key string) {
	count := &ch.hub.h.count
	if !ch.log.begun(m) {
		return
	}
	if m.kind != KindStatus && ch.log.replace(key) {
		count.conflated.Add(1)
	}
	if n := ch.log.makeRoom(m.size()); n > 0 {
		count.overflowed.Add(int64(n))
		count.gaps.Add(1)
		ch.log.add(ch.gapMessage(), "")
	}
	ch.log.add(m, key)
}

func (ch *channel) status(raw []byte) *Message {
	return &Message{Name: ch.name, Source: ch.name, Content: raw, Time: time.Now(), kind: KindStatus}
}

// round hands a part of the log to all followers. Several goroutines may share one, each
// with its own part of the followers.
type round struct {
	records   []record
	from, to  uint64 // the positions of the part
	tail      uint64 // of the log
	seeks     int
	followers []*follower

	batches   []batch
	delivered int
	behind    uint64   // the first cursor afterwards
	waiting   []uint64 // the cursors of those with news whose connection isn't stalled
	current   int      // the number of those that have read all
}

// batch is the rest of a round's part from a record on, compiled for one variant.
type batch struct {
	v    *variant
	from int
	data []byte
	n    int // messages
}

// maxBatch is the maximum number of messages that are written at once.
const maxBatch = 64

// run hands out the log, on a goroutine of its own, until all of it is handed out.
func (ch *channel) run() {
	var r round
	for ch.begin(&r) {
		r.visitAll()
		clear(r.followers)
		ch.hub.h.count.delivered.Add(int64(r.delivered))
		if !ch.finish(&r) { // the writers must catch up, or they would lose what they have not read
			time.Sleep(time.Millisecond)
		}
	}
}

// begin begins a round, unless all is handed out.
func (ch *channel) begin(r *round) bool {
	ch.mu.Lock()
	l := &ch.log
	records, to := l.read(r.records[:0], l.handed, maxBatch, chunk)
	if to == l.handed && !ch.trimming || ch.over {
		ended := ch.ended
		ch.running = ended != nil && !ch.over
		again := ch.running
		ch.mu.Unlock()
		if again {
			ch.unsubscribeAll(ended)
		}
		return false
	}
	l.beginRound()
	ch.trimming = false
	*r = round{
		records: records, from: l.handed, to: to, tail: l.tail, seeks: ch.seeks,
		followers: append(r.followers[:0], ch.followers...), batches: r.batches[:0], behind: to, waiting: r.waiting[:0],
	}
	ch.mu.Unlock()
	return true
}

// finish ends a round, and removes what all followers have read. If most that could have
// read on are far behind, the machine is slow: the part isn't handed out yet, and finish
// reports false. A few are slow themselves, and the others don't wait for them.
func (ch *channel) finish(r *round) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	l := &ch.log
	if l.live > l.maxMessages/2 || l.bytes > l.maxBytes/2 {
		middle, far := l.records[l.head+(len(l.records)-l.head)/2].at, 0
		for _, at := range r.waiting {
			if at < middle {
				far++
			}
		}
		if far > r.current+len(r.waiting)-far {
			return false
		}
	}
	l.handed = max(l.handed, r.to)
	if ch.seeks != r.seeks || len(ch.recalling) > 0 { // behind is not up to date, or older messages are to be prepended
		ch.untrimmed = true
		return true
	}
	if ch.snap != nil {
		r.behind = min(r.behind, ch.snap.at)
	}
	ch.untrimmed = r.behind < l.handed
	keep := ch.rule.Rewind
	if ch.rule.History != nil {
		keep = max(keep, l.maxMessages/4)
	}
	l.trim(r.behind, keep, l.maxBytes/4)
	return true
}

// visitShare is how many followers one goroutine visits.
const visitShare = 1024

// visitAll visits all followers: for large channels with as many goroutines as there are
// processors.
func (r *round) visitAll() {
	n := min(runtime.GOMAXPROCS(0), (len(r.followers)+visitShare-1)/visitShare)
	if n <= 1 {
		r.visit(r.followers)
		return
	}
	var wg sync.WaitGroup
	parts := make([]round, n)
	for i := range parts {
		parts[i] = *r
		parts[i].batches, parts[i].waiting = nil, nil
		part := r.followers[len(r.followers)*i/n : len(r.followers)*(i+1)/n]
		wg.Go(func() { parts[i].visit(part) })
	}
	wg.Wait()
	for i := range parts {
		r.delivered += parts[i].delivered
		r.behind = min(r.behind, parts[i].behind)
		r.waiting = append(r.waiting, parts[i].waiting...)
		r.current += parts[i].current
	}
}

func (r *round) visit(followers []*follower) {
	for _, f := range followers {
		f.c.mu.Lock()
		r.visitLocked(f)
		f.c.mu.Unlock()
	}
}

// visitLocked writes to a follower whose socket is idle, and wakes the writer of another.
// The lock of the connection is held.
func (r *round) visitLocked(f *follower) {
	c := f.c
	if f.left || c.state != open {
		return
	}
	if f.at < r.tail {
		f.ch.mu.Lock()
		goesOn := f.settleLocked()
		f.ch.mu.Unlock()
		if !goesOn {
			return
		}
	}
	if f.live && f.at < r.to && !f.news {
		if f.at >= r.from && f.seq == 0 && f.after == "" && !f.gap && c.idleLocked() {
			b := r.batch(c.v, f.at)
			c.writeIdleLocked(b.data)
			f.at = r.to
			r.delivered += b.n
		} else {
			c.newsLocked(f)
		}
	}
	r.behind = min(r.behind, f.at)
	switch {
	case f.at >= r.to:
		r.current++
	case f.news && !c.stalledLocked():
		r.waiting = append(r.waiting, f.at)
	}
}

// batch returns the messages from a position on, for a variant.
func (r *round) batch(v *variant, at uint64) *batch {
	from := 0
	for from < len(r.records) && r.records[from].at < at {
		from++
	}
	for i := range r.batches {
		if b := &r.batches[i]; b.v == v && b.from == from {
			return b
		}
	}
	b := batch{v: v, from: from}
	for _, record := range r.records[from:] {
		data := record.m.compiled(v)
		if b.data == nil {
			b.data = data[:len(data):len(data)] // one message is not copied
		} else {
			b.data = append(b.data, data...)
		}
		if record.m.kind != KindStatus && len(data) > 0 {
			b.n++
		}
	}
	r.batches = append(r.batches, b)
	return &r.batches[len(r.batches)-1]
}

// unsubscribeAll removes all followers of a channel whose subscription has ended.
func (ch *channel) unsubscribeAll(why error) {
	ch.hub.h.log.Warn("gateway: the subscription of a channel ended; its followers are unsubscribed", "channel", ch.name, "error", why)
	ch.hub.forget(ch)
	ch.mu.Lock()
	followers := append([]*follower(nil), ch.followers...) // add adds no more
	ch.mu.Unlock()
	for _, f := range followers {
		if f.c.leave(f) {
			f.c.status(map[string]any{"status": "unsubscribed", "channel": ch.name}, nil)
		}
	}
}
