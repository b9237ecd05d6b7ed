package gateway

import (
	"strconv"
	"sync/atomic"
)

// member is one connection on one channel.
type member struct {
	c     *Conn
	ch    *channel
	index int         // in members
	live  atomic.Bool // until then, what comes is held
	floor atomic.Pointer[floor]

	// Guarded by c.mu.
	presence   presenceEntry // of the presence, where that is kept
	left       bool
	held       []*Message
	changed    chan struct{} // closed when held, over or left changes; nil: nothing waits for it
	bytes      int           // in held
	over       bool          // more came than may be held
	lost       int           // dropped and not said
	lossQueued bool          // an entry that will say it is in the queue
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
		if rule.Slow != SlowDisconnect {
			e.of = m
			if rule.Slow == SlowConflate && rule.Key != nil {
				e.key = msg.Memo(conflateKey{}, func() any { return m.ch.conflationKey(msg) }).(string)
			}
		}
		to = append(to, e)
	}
	return to
}

// key returns what a message is about. One by which the host's function panics is
// about nothing in particular.
func (ch *channel) conflationKey(m *Message) (key string) {
	ch.hub.h.guard("Channel.Key", func() { key = ch.rule.Key(m.Content) })
	return key
}

// conflateKey is what Channel.Key is remembered by.
type conflateKey struct{}

// offer queues entries, to be flushed, and returns how many messages are in them.
func (m *member) offer(entries []entry) (n int) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.queueLocked(entries)
}

// queue is offer with the lock of the connection.
func (m *member) queueLocked(entries []entry) (n int) {
	if m.left {
		return 0
	}
	m.c.enqueueLocked(entries)
	for _, e := range entries {
		n += e.n
	}
	return n
}

// serve is offer that has an entry written at once, if it is the only one and
// nothing waits before it. It reports whether there is anything to be flushed.
func (m *member) deliver(entries []entry) (n int, waits bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if !m.left && len(entries) == 1 && m.c.writeThroughLocked(entries[0].data) {
		return entries[0].n, false
	}
	return m.queueLocked(entries), true
}

// hold keeps messages while the member is joining, and reports whether it is.
func (m *member) hold(messages []*Message) bool {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.live.Load() {
		return false
	}
	defer m.notifyLocked()
	l := &m.c.h.cfg.Limits
	for _, msg := range messages {
		for len(m.held) > 0 && (len(m.held) >= l.QueueMessages || m.bytes+len(msg.Content) > l.QueueBytes) {
			if m.over = m.ch.rule.Slow == SlowDisconnect; m.over {
				return true
			}
			m.bytes -= len(m.held[0].Content)
			m.held = m.held[1:]
			m.lost++
			m.c.h.count.dropped.Add(1)
		}
		// A copy: what is remembered with a message belongs to the goroutine that
		// hands it out.
		held := msg.With(msg.Content)
		held.raw = msg.raw
		m.held, m.bytes = append(m.held, held), m.bytes+len(msg.Content)
	}
	return true
}

// notifyLocked wakes what waits for a change of held, over or left. The lock of the
// connection is held.
func (m *member) notifyLocked() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// lostFrame returns the frame that tells what was dropped. The lock of the
// connection is held.
func (m *member) lostFrameLocked(c *Conn) []byte {
	raw := append(appendString([]byte(`{"status": "lost", "channel": `), m.ch.name), `, "count": `...)
	raw = append(strconv.AppendInt(raw, int64(m.lost), 10), '}')
	return c.compiledStatus(raw, nil)
}
