package gateway

import (
	"strconv"
	"sync/atomic"
)

// member is one connection that follows one channel.
type member struct {
	c     *Conn
	ch    *channel
	index int         // in channel.members
	live  atomic.Bool // false: messages are held
	floor atomic.Pointer[floor]

	// Guarded by c.mu.
	presence   presenceEntry // what the presence records
	left       bool
	held       []*Message
	changed    chan struct{} // closed when held, over or left changes; nil: nothing waits for it
	bytes      int           // size of held
	over       bool          // more messages came than may be held
	lost       int           // messages dropped and not yet reported
	lossQueued bool          // the queue has an entry that will report them
}

// floor is a place among the messages of a channel up to which a member gets them in
// other ways: by a snapshot or a history. It is removed once a message lies above it.
type floor struct {
	seq  int64  // the number of the last message
	head string // its offset; either may be unknown
}

// above returns the messages above the floor, and whether a message of the channel is
// among them.
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

// fresh returns those of the messages that the member does not get in other ways.
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

// entries appends to a list what the member gets of messages, one entry each.
func (m *member) entries(to []entry, messages []*Message) []entry {
	rule := m.ch.rule
	for _, msg := range messages {
		if msg.kind == KindStatus {
			to = append(to, entry{data: msg.compiled(m.c.v), kept: true})
			continue
		}
		msg = m.c.filter(msg)
		if msg == nil {
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

// conflationKey returns what a message is about: "" if Channel.Key panics.
func (ch *channel) conflationKey(m *Message) (key string) {
	ch.hub.h.guard("Channel.Key", func() { key = ch.rule.Key(m.Content) })
	return key
}

// conflateKey is the key of Message.Memo for Channel.Key.
type conflateKey struct{}

// offer queues entries without writing them, and returns the number of messages in
// them.
func (m *member) offer(entries []entry) (n int) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.queueLocked(entries)
}

// queueLocked is offer. The lock of the connection is held.
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

// deliver is offer, but writes a single entry at once if the queue is empty. It
// reports whether there is something to be flushed.
func (m *member) deliver(entries []entry) (n int, waits bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if !m.left && len(entries) == 1 && m.c.writeThroughLocked(entries[0].data) {
		return entries[0].n, false
	}
	return m.queueLocked(entries), true
}

// hold keeps messages while the member is not live, and reports whether it did.
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
			if m.ch.rule.Slow == SlowDisconnect {
				m.over = true
				return true
			}
			m.bytes -= len(m.held[0].Content)
			m.held = m.held[1:]
			m.lost++
			m.c.h.count.dropped.Add(1)
		}
		// A copy: Message.Memo belongs to the goroutine that hands the message out.
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

// lostFrameLocked returns the frame with the number of dropped messages. The lock of
// the connection is held.
func (m *member) lostFrameLocked(c *Conn) []byte {
	raw := append(appendString([]byte(`{"status": "lost", "channel": `), m.ch.name), `, "count": `...)
	raw = append(strconv.AppendInt(raw, int64(m.lost), 10), '}')
	return c.compiledStatus(raw, nil)
}
