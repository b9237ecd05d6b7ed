package gateway

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// hub knows who follows which channel, and follows each once.
type hub struct {
	h        *Handler
	mu       sync.Mutex
	channels map[string]*channel
	closed   bool
}

// channel is one that somebody follows.
type channel struct {
	hub   *hub
	name  string
	rule  *Channel
	ready chan struct{} // closed: it is followed, or err says why not
	stop  func()
	err   error
	users int // who waits for ready, or is a member; the hub's lock guards it

	presence *storage.Presence[attendee] // nil: not kept

	mu      sync.Mutex
	over    bool // nothing is delivered any more
	pending []Publication
	running bool
	members []*member
	sorted  []*member // members as they were; nil: they have changed since
}

// member is one connection on one channel.
type member struct {
	c     *Conn
	ch    *channel
	index int         // in members
	live  atomic.Bool // until then, what comes is held
	floor atomic.Pointer[floor]

	// Guarded by c.mu.
	as    attendee // of the presence, where that is kept
	left  bool
	held  []*Message
	bytes int  // in held
	over  bool // more came than may be held
	lost  int  // dropped and not said
	told  bool // an entry that will say it is in the queue
}

// floor is up to where a member has got the messages otherwise: all that Redis sent
// up to seq, or published up to head. It stands until a message lies above.
type floor struct {
	seq  int64
	head string // an offset
}

// above returns the messages above the floor, and whether there are any.
func (f *floor) above(messages []*Message) (rest []*Message, past bool) {
	for i, m := range messages {
		switch {
		case m.kind == KindStatus:
			rest = append(rest, m)
		case m.seq != 0 && m.seq <= f.seq, f.head != "" && m.Offset != "" && covers(f.head, m.Offset):
		default:
			return append(rest, messages[i:]...), true
		}
	}
	return rest, false
}

// fresh returns what of the messages the member does not have yet.
func (m *member) fresh(messages []*Message) []*Message {
	f := m.floor.Load()
	if f == nil {
		return messages
	}
	messages, past := f.above(messages)
	if past {
		m.floor.Store(nil)
	}
	return messages
}

// follow returns the channel of a name, followed.
func (hb *hub) follow(ctx context.Context, name string) (*channel, error) {
	hb.mu.Lock()
	if hb.closed {
		hb.mu.Unlock()
		return nil, ErrClosed
	}
	ch := hb.channels[name]
	if ch == nil {
		ch = &channel{hub: hb, name: name, rule: hb.h.rule(name), ready: make(chan struct{})}
		if ch.rule == nil { // allowed by its owner, and of no declared kind
			ch.rule = &anyChannel
		}
		hb.channels[name] = ch
		hb.h.tasks.Go(func() { ch.begin() })
	}
	ch.users++
	hb.mu.Unlock()

	var err error
	select {
	case <-ch.ready:
		err = ch.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		hb.release(ch)
		return nil, err
	}
	return ch, nil
}

// begin follows the channel for all who wait for it.
func (ch *channel) begin() {
	defer close(ch.ready)
	h := ch.hub.h
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Limits.Command)
	defer cancel()
	if ch.rule.Presence {
		ch.presence, ch.err = h.attendance(ch.name, h.id+":"+strconv.FormatUint(h.next.Add(1), 36))
	}
	if ch.err == nil {
		ch.stop, ch.err = h.source.Follow(ctx, ch.name, ch.deliver)
	}
	if ch.err != nil {
		ch.hub.forget(ch)
		ch.end()
	}
}

// end lets go of what a channel holds.
func (ch *channel) end() {
	ch.mu.Lock()
	ch.over = true
	ch.mu.Unlock()
	if ch.stop != nil {
		ch.stop()
	}
	if ch.presence != nil {
		_ = ch.presence.Close()
	}
}

// forget has the next who asks for a channel follow it anew.
func (hb *hub) forget(ch *channel) {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	if hb.channels[ch.name] == ch {
		delete(hb.channels, ch.name)
	}
}

// release ends one use of a channel. The last ends the channel.
func (hb *hub) release(ch *channel) {
	hb.mu.Lock()
	ch.users--
	over := ch.users == 0
	if over && hb.channels[ch.name] == ch {
		delete(hb.channels, ch.name)
	}
	hb.mu.Unlock()
	if over {
		hb.h.tasks.Go(func() {
			<-ch.ready
			if ch.err == nil {
				ch.end()
			}
		})
	}
}

// add makes a connection a member, whose messages are held until it is live.
func (ch *channel) add(c *Conn, as attendee) *member {
	m := &member{c: c, ch: ch, as: as}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m.index = len(ch.members)
	ch.members = append(ch.members, m)
	ch.sorted = nil
	return m
}

// remove ends a membership. No message comes afterwards.
func (ch *channel) remove(m *member) {
	m.c.mu.Lock()
	m.left, m.held = true, nil
	m.c.mu.Unlock()
	ch.mu.Lock()
	last := len(ch.members) - 1
	ch.members[m.index] = ch.members[last]
	ch.members[m.index].index = m.index
	ch.members[last] = nil
	ch.members = ch.members[:last]
	ch.sorted = nil
	ch.mu.Unlock()
	ch.hub.release(ch)
}

// deliver takes what the source has, and does not wait. All that has come while
// the last was handed out goes out together.
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

// burst is how many publications are handed out at once.
const burst = 64

// run hands out what is pending.
func (ch *channel) run() {
	var batch []Publication
	for {
		ch.mu.Lock()
		n := min(burst, len(ch.pending))
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

// message makes a message of a publication; nil: a hook has taken it.
func (ch *channel) message(p Publication) *Message {
	if p.Gap {
		ch.hub.h.count.gaps.Add(1)
		raw := append(appendString([]byte(`{"status": "gap", "channel": `), ch.name), '}')
		return &Message{Source: ch.name, Content: raw, Time: time.Now(), kind: KindStatus}
	}
	m := newMessage(ch.name, p.Data)
	m.Offset, m.seq = p.Offset, p.seq
	return ch.hub.h.published(m)
}

// handOut gives a batch to all members. Those who get the same get the same
// bytes, made once.
func (ch *channel) handOut(batch []Publication, members []*member) {
	h := ch.hub.h
	messages := make([]*Message, 0, len(batch))
	for _, p := range batch {
		if p.ended != nil {
			ch.expel(members, p.ended)
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
	var together []together
	delivered := 0
	var entries []entry
	for _, m := range members {
		if !m.live.Load() && m.hold(messages) {
			continue
		}
		if m.floor.Load() == nil && ch.rule.Slow == Disconnect && m.c.filters.Load() == nil {
			entries = append(entries[:0], joined(&together, messages, m.c.v))
		} else {
			entries = m.entries(entries[:0], m.fresh(messages))
		}
		delivered += m.offer(entries)
	}
	h.count.delivered.Add(int64(delivered))
	flush(members)
}

// share is how many members one goroutine flushes.
const share = 1024

// flush has what was queued written, by as many goroutines as there are processors
// for large channels.
func flush(members []*member) {
	n := min(runtime.GOMAXPROCS(0), (len(members)+share-1)/share)
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

// expel ends all memberships of a channel that can't be followed any more.
func (ch *channel) expel(members []*member, why error) {
	ch.hub.h.log.Warn("gateway: a channel is lost", "channel", ch.name, "error", why)
	ch.hub.forget(ch)
	for _, m := range members {
		if m.c.leave(m) {
			m.c.status(map[string]any{"status": "unsubscribed", "channel": ch.name}, nil)
		}
	}
}

// together is a batch as one, for those of a variant who get all of it.
type together struct {
	v variant
	e entry
}

func joined(known *[]together, messages []*Message, v variant) entry {
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
	*known = append(*known, together{v, e})
	return e
}

// entries appends what the member gets of messages, one by one.
func (m *member) entries(to []entry, messages []*Message) []entry {
	rule := m.ch.rule
	for _, msg := range messages {
		if msg.kind == KindStatus {
			to = append(to, entry{data: msg.compiled(m.c.v), kept: true})
			continue
		}
		if msg = m.c.filter(msg); msg == nil {
			continue
		}
		e := entry{data: msg.compiled(m.c.v), n: 1}
		if rule.Slow != Disconnect {
			e.of = m
			if rule.Slow == Conflate && rule.Key != nil {
				e.key = msg.Memo(conflateKey{}, func() any { return m.ch.key(msg) }).(string)
			}
		}
		to = append(to, e)
	}
	return to
}

// key returns what a message is about. One by which the host's function panics is
// about nothing in particular.
func (ch *channel) key(m *Message) (key string) {
	ch.hub.h.guard("Channel.Key", func() { key = ch.rule.Key(m.Content) })
	return key
}

// conflateKey is what Channel.Key is remembered by.
type conflateKey struct{}

// offer queues entries, and returns how many messages are in them.
func (m *member) offer(entries []entry) (n int) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.left {
		return 0
	}
	m.c.enqueue(entries)
	for _, e := range entries {
		n += e.n
	}
	return n
}

// hold keeps messages while the member is joining, and reports whether it is.
func (m *member) hold(messages []*Message) bool {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.live.Load() {
		return false
	}
	l := &m.c.h.cfg.Limits
	for _, msg := range messages {
		if m.over = m.over || len(m.held) >= l.QueueMessages || m.bytes+len(msg.Content) > l.QueueBytes; m.over {
			break
		}
		// A copy: what is remembered with a message belongs to the goroutine that
		// hands it out.
		m.held, m.bytes = append(m.held, msg.With(msg.Content)), m.bytes+len(msg.Content)
	}
	return true
}

// lostFrame returns the frame that tells what was dropped. The lock of the
// connection is held.
func (m *member) lostFrame(c *Conn) []byte {
	raw := append(appendString([]byte(`{"status": "lost", "channel": `), m.ch.name), `, "count": `...)
	raw = append(strconv.AppendInt(raw, int64(m.lost), 10), '}')
	return c.compiledStatus(raw, nil)
}
