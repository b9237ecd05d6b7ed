package gateway

import "strconv"

// follower is a connection that follows a channel: a cursor in the channel's log.
//
// Joining puts the cursor at the end of the log, SUB with since, rewind or snapshot back
// from there. Nothing is sent before the follower is live: the connection makes it live
// when it has sent what the client gets first. From then on the cursor moves in two
// ways. The fan-out writes directly to an idle socket whose cursor is where a round
// begins. Otherwise it puts the follower on the list of those with news of its
// connection, whose writer reads the log at the cursor, and filters what it reads.
type follower struct {
	c     *Conn
	ch    *channel
	index int // in channel.followers; guarded by channel.mu

	// Guarded by c.mu.
	at       uint64 // the cursor
	seq      int64  // messages up to this number are in the client's snapshot
	after    string // messages up to this offset have reached the client elsewhere; empty: none
	lost     int    // messages that were lost, not yet reported
	gap      bool   // so was a gap
	live     bool
	news     bool // is on the list of the connection
	left     bool
	presence presenceEntry
}

// repeatsLocked reports whether the client has got a message in another way. Those that
// follow the first one that it has not got are new as well. The lock of the connection is
// held.
func (f *follower) repeatsLocked(m *Message) bool {
	if m.seq > f.seq {
		f.seq = 0
	}
	if f.after != "" && m.Offset != "" && !covers(f.after, m.Offset) {
		f.after = ""
	}
	return m.seq != 0 && m.seq <= f.seq || f.after != "" && m.Offset != ""
}

// settleLocked applies the policy for slow clients if the tail of the log has passed the
// cursor. It reports false if nothing more may be sent: the connection is being closed, and
// its client would resume after the offset of what follows. The locks of the connection and
// the channel are held.
func (f *follower) settleLocked() bool {
	at, lost, gap := f.ch.log.settle(f.at)
	passed := at != f.at
	f.at, f.gap = at, f.gap || gap
	switch {
	case lost == 0:
	case f.ch.rule.Slow == SlowDisconnect:
		f.c.closeSlowLocked()
	default:
		f.lost += lost
		f.c.h.count.dropped.Add(int64(lost))
	}
	return !passed || f.c.state == open
}

// readLocked appends messages from the cursor on to a list, and moves the cursor. It
// reports whether there are more. The lock of the connection is held.
func (f *follower) readLocked(to []*Message, room int) (_ []*Message, more bool) {
	ch := f.ch
	var buf [maxBatch]record
	ch.mu.Lock()
	if !f.settleLocked() {
		ch.mu.Unlock()
		return to, false
	}
	records, at := ch.log.read(buf[:0], f.at, maxBatch, room)
	more = at < ch.log.next
	ch.mu.Unlock()
	f.at = at
	if f.lost > 0 {
		to = append(to, ch.lostMessage(f.lost))
		f.lost = 0
	}
	if f.gap {
		to = append(to, ch.gapMessage())
		f.gap = false
	}
	for _, r := range records {
		if !f.repeatsLocked(r.m) {
			to = append(to, r.m)
		}
	}
	return to, more
}

// seek moves the cursor back to where find says, if the log still has that.
func (f *follower) seek(find func(*log) (at uint64, ok bool)) bool {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.ch.mu.Lock()
	defer f.ch.mu.Unlock()
	at, ok := find(&f.ch.log)
	if ok {
		f.at = at
		f.ch.seeks++
		f.ch.untrimmed = true
	}
	return ok
}

// lostMessage returns the status lost.
func (ch *channel) lostMessage(n int) *Message {
	raw := append(appendString([]byte(`{"status": "lost", "channel": `), ch.name), `, "count": `...)
	return ch.status(append(strconv.AppendInt(raw, int64(n), 10), '}'))
}

// gapMessage returns the status gap.
func (ch *channel) gapMessage() *Message {
	return ch.status(append(appendString([]byte(`{"status": "gap", "channel": `), ch.name), '}'))
}
