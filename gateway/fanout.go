package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// deliver takes a publication from the source, without blocking. Those that come while
// a batch is handed out form the next one.
func (ch *channel) deliver(p Publication) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.over {
		return
	}
	if len(ch.pending) >= ch.hub.h.cfg.Limits.Pending {
		ch.hub.h.count.overflowed.Add(int64(len(ch.pending)))
		ch.pending = append(ch.pending[:0], Publication{Gap: true})
	}
	ch.pending = append(ch.pending, p)
	if !ch.running {
		ch.running = true
		ch.hub.h.tasks.Go(ch.run)
	}
}

// maxBatch is the maximum number of publications handed out at once.
const maxBatch = 64

// run hands out pending publications, on a goroutine of its own, until there are none.
func (ch *channel) run() {
	var batch []Publication
	for {
		ch.mu.Lock()
		n := min(maxBatch, len(ch.pending))
		if n == 0 {
			ch.running = false
			ch.mu.Unlock()
			return
		}
		batch = append(batch[:0], ch.pending[:n]...)
		ch.pending = slices.Delete(ch.pending, 0, n)
		if ch.sorted == nil {
			ch.sorted = slices.Clone(ch.members)
		}
		members := ch.sorted
		ch.mu.Unlock()
		ch.handOut(batch, members)
	}
}

// message makes a message of a publication. Nil: a hook has dropped it.
func (ch *channel) message(p Publication) *Message {
	if p.Gap {
		ch.hub.h.count.gaps.Add(1)
		raw := append(appendString([]byte(`{"status": "gap", "channel": `), ch.name), '}')
		return &Message{Name: ch.name, Source: ch.name, Content: raw, Time: time.Now(), kind: KindStatus}
	}
	m := newMessage(ch.name, ch.name, p.Data)
	m.Offset, m.seq = p.Offset, p.seq
	return ch.hub.h.applyPublicationHooks(m)
}

// handOut gives a batch to all members. Members that get the same bytes share them.
func (ch *channel) handOut(batch []Publication, members []*member) {
	h := ch.hub.h
	messages := make([]*Message, 0, len(batch))
	for _, p := range batch {
		if p.ended != nil {
			ch.unsubscribeAll(members, p.ended)
			return
		}
		if m := ch.message(p); m != nil {
			messages = append(messages, m)
		}
	}
	h.count.published.Add(int64(len(batch)))
	if len(messages) == 0 {
		return
	}
	var batches []batchFrame
	var entries []entry
	delivered, waits := 0, len(members) > flushShare
	for _, m := range members {
		if !m.live.Load() && m.hold(messages) {
			continue
		}
		if m.floor.Load() == nil && ch.rule.Slow == SlowDisconnect && m.c.filters.Load() == nil {
			entries = append(entries[:0], joinBatch(&batches, messages, m.c.v))
		} else {
			entries = m.entries(entries[:0], m.fresh(messages))
		}
		if len(members) > flushShare { // these are flushed by several goroutines
			delivered += m.offer(entries)
			continue
		}
		n, wait := m.deliver(entries)
		delivered, waits = delivered+n, waits || wait
	}
	h.count.delivered.Add(int64(delivered))
	if waits {
		flush(members)
	}
}

// flushShare is how many members one goroutine flushes.
const flushShare = 1024

// flush writes the queues of members: for large channels with as many goroutines as
// there are processors.
func flush(members []*member) {
	n := min(runtime.GOMAXPROCS(0), (len(members)+flushShare-1)/flushShare)
	if n <= 1 {
		for _, m := range members {
			m.c.flush()
		}
		return
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(members, (len(members)+n-1)/n) {
		wg.Go(func() {
			for _, m := range part {
				m.c.flush()
			}
		})
	}
	wg.Wait()
}

// unsubscribeAll ends all memberships of a channel whose subscription has ended.
func (ch *channel) unsubscribeAll(members []*member, why error) {
	ch.hub.h.log.Warn("gateway: the subscription of a channel ended; its followers are unsubscribed", "channel", ch.name, "error", why)
	ch.hub.forget(ch)
	for _, m := range members {
		if m.c.leave(m) {
			m.c.status(map[string]any{"status": "unsubscribed", "channel": ch.name}, nil)
		}
	}
}

// batchFrame is a whole batch, compiled for one variant.
type batchFrame struct {
	v variant
	e entry
}

// joinBatch returns a whole batch for a variant, as one entry.
func joinBatch(known *[]batchFrame, messages []*Message, v variant) entry {
	for _, t := range *known {
		if t.v == v {
			return t.e
		}
	}
	e := entry{data: messages[0].compiled(v), n: len(messages)}
	if len(messages) > 1 {
		e.data = append([]byte(nil), e.data...)
		for _, m := range messages[1:] {
			e.data = append(e.data, m.compiled(v)...)
		}
	}
	*known = append(*known, batchFrame{v, e})
	return e
}
