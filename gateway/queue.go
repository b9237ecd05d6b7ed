package gateway

import (
	"slices"
	"sync"
)

// entry is a part of a client's queue: compiled frames.
type entry struct {
	data   []byte
	n      int     // messages in data; 0: a status, an answer or a control frame
	of     *member // the member that they are for, if they may be dropped; else nil
	key    string  // of SlowConflate
	kept   bool    // small and rare: limits don't apply
	rest   bool    // the socket has taken its beginning
	answer bool    // answers a command
}

// entryBytes is what an entry counts beside its data.
const entryBytes = 64

// size returns what an entry counts in Limits.QueueBytes.
func (e entry) size() int { return len(e.data) + entryBytes }

// push queues entries and writes them as far as the socket takes them, without
// blocking.
func (c *Conn) push(entries ...entry) {
	c.mu.Lock()
	c.enqueueLocked(entries)
	c.mu.Unlock()
	c.flush()
}

// enqueueLocked adds entries to the queue. If it is full, messages that may be dropped
// make room; if there are none, the connection is closed. The lock is held.
func (c *Conn) enqueueLocked(entries []entry) {
	for _, e := range entries {
		if c.state != open || len(e.data) == 0 {
			continue
		}
		if e.of != nil && e.of.ch.rule.Slow == SlowConflate && c.conflateLocked(e) {
			continue
		}
		for !e.kept && c.fullLocked(e) {
			if !c.dropLocked() {
				c.closeSlowLocked()
				return
			}
		}
		c.addLocked(e)
	}
}

func (c *Conn) fullLocked(e entry) bool {
	l := &c.h.cfg.Limits
	return c.bytes > 0 && c.bytes+e.size() > l.QueueBytes || e.n > 0 && c.count > 0 && c.count+e.n > l.QueueMessages
}

// addLocked appends to the queue. The lock is held.
func (c *Conn) addLocked(e entry) {
	if c.head > 32 && c.head > len(c.queue)/2 {
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.head = c.queue[:n], 0
	}
	c.queue = append(c.queue, e)
	c.bytes += e.size()
	c.count += e.n
	if e.answer {
		c.answers++
	}
}

// conflateLocked replaces a queued message of the same key by e, if there is one. The
// lock is held.
func (c *Conn) conflateLocked(e entry) bool {
	for i := c.head; i < len(c.queue); i++ {
		if old := &c.queue[i]; old.of == e.of && old.key == e.key && old.n > 0 {
			c.bytes += len(e.data) - len(old.data)
			old.data = e.data
			c.h.count.conflated.Add(1)
			return true
		}
	}
	return false
}

// dropLocked drops the oldest message that may be dropped, and reports whether there
// was one. The lock is held.
func (c *Conn) dropLocked() bool {
	for i := c.head; i < len(c.queue); i++ {
		e := c.queue[i]
		if e.of == nil || e.n == 0 {
			continue
		}
		c.bytes -= len(e.data)
		c.count -= e.n
		e.of.lost += e.n
		c.h.count.dropped.Add(int64(e.n))
		if e.of.lossQueued { // an entry further ahead reports the loss
			copy(c.queue[c.head+1:i+1], c.queue[c.head:i])
			c.queue[c.head] = entry{}
			c.head++
			c.bytes -= entryBytes
		} else {
			c.queue[i] = entry{of: e.of}
			e.of.lossQueued = true
		}
		return true
	}
	return false
}

// closeSlowLocked closes the connection of a client that reads too slowly. The lock is
// held.
func (c *Conn) closeSlowLocked() {
	c.h.count.slow.Add(1)
	c.closeLocked(CloseReason{Code: CloseSlow, Text: "too slow"}, false)
}

// reply queues an answer to a command, once answers take less than half of the queue:
// the rest is for publications. Only the goroutine that reads commands calls it: a
// client that does not read its answers can't ask for more. The answers are written
// when the command is done, or when they have to wait for room.
func (c *Conn) reply(e entry) error {
	l := &c.h.cfg.Limits
	e.answer = true
	for {
		c.mu.Lock()
		switch {
		case c.state != open:
			c.mu.Unlock()
			return ErrClosed
		case c.bytes == 0 || c.bytes+e.size() <= l.QueueBytes/2 && c.answers < max(l.QueueMessages/2, 1):
			if len(e.data) > 0 {
				c.addLocked(e)
			}
			c.mu.Unlock()
			return nil
		}
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.mu.Unlock()
		c.flush()
		<-drained // a write without progress ends the connection
	}
}

// flush writes the queue: at once as far as the socket takes it, which saves a
// goroutine switch, and the rest by a goroutine.
func (c *Conn) flush() {
	c.mu.Lock()
	for c.direct != nil && c.state == open && !c.writing && c.head < len(c.queue) {
		data, scratch := c.nextLocked()
		n, err := c.direct.write(data)
		if n < len(data) {
			rest := entry{data: slices.Clone(data[n:]), rest: true}
			c.queue, c.bytes = slices.Insert(c.queue, c.head, rest), c.bytes+rest.size()
		}
		putScratch(scratch)
		if n < len(data) || err != nil { // the goroutine will see the error again
			break
		}
	}
	c.wakeLocked()
	c.mu.Unlock()
}

// writeThroughLocked writes data without queuing it, if the queue is empty and the
// socket can be written to without blocking, and reports whether it did. What the
// socket does not take is queued. The lock is held.
func (c *Conn) writeThroughLocked(data []byte) bool {
	if c.direct == nil || c.state != open || c.writing || c.head < len(c.queue) || len(data) == 0 {
		return false
	}
	n, err := c.direct.write(data)
	if n < len(data) || err != nil { // the goroutine will see the error again
		c.addLocked(entry{data: slices.Clone(data[n:]), rest: n > 0})
		c.wakeLocked()
	}
	return true
}

// wakeLocked starts a goroutine that writes the queue, if there is something and none
// runs. The lock is held.
func (c *Conn) wakeLocked() {
	if !c.writing && c.head < len(c.queue) {
		c.writing = true
		c.h.tasks.Go(c.writeQueue)
	}
}

// chunk is the maximum size of a write.
const chunk = 64 << 10

var chunks = sync.Pool{New: func() any { return new(make([]byte, 0, chunk)) }}

func putScratch(scratch *[]byte) {
	if scratch != nil {
		chunks.Put(scratch)
	}
}

// writeQueue writes until the queue is empty, on a goroutine of its own. It joins what
// is queued: a write costs as much as fifteen more messages in it.
func (c *Conn) writeQueue() {
	for {
		c.mu.Lock()
		data, scratch := c.nextLocked()
		if data == nil {
			c.writing, c.writeSince = false, 0
			said, remoteClosed := c.state == closing, c.remoteClosed
			c.mu.Unlock()
			if said {
				c.closeSocket(remoteClosed)
			}
			return
		}
		c.writeSince = c.h.now()
		c.mu.Unlock()
		err := c.writeAll(data)
		putScratch(scratch)
		if err != nil {
			c.abort(CloseReason{Code: CloseAbnormal, Text: "write: " + err.Error()})
		}
	}
}

// writeAll writes data, and notes each progress: a large message may take a slow
// client longer than Limits.Write.
func (c *Conn) writeAll(data []byte) error {
	for {
		n := min(len(data), chunk)
		if _, err := c.net.Write(data[:n]); err != nil || n == len(data) {
			return err
		}
		data = data[n:]
		c.mu.Lock()
		c.writeSince = c.h.now()
		c.mu.Unlock()
	}
}

// nextLocked takes what is to be written next from the queue. Nil: it is empty. The
// lock is held.
func (c *Conn) nextLocked() (data []byte, scratch *[]byte) {
	for c.head < len(c.queue) {
		e := c.queue[c.head]
		if e.n == 0 && e.of != nil {
			e.data = e.of.lostFrameLocked(c)
		}
		switch {
		case data == nil:
			data = e.data
		case len(data)+len(e.data) > chunk:
			return data, scratch
		default:
			if scratch == nil {
				scratch = chunks.Get().(*[]byte)
				*scratch = append((*scratch)[:0], data...)
			}
			*scratch = append(*scratch, e.data...)
			data = *scratch
		}
		if e.n == 0 && e.of != nil {
			e.of.lost, e.of.lossQueued = 0, false
		}
		c.bytes -= c.queue[c.head].size()
		c.count -= e.n
		if e.answer {
			c.answers--
		}
		c.queue[c.head] = entry{}
		c.head++
	}
	c.queue, c.head = c.queue[:0], 0
	if cap(c.queue) > 64 {
		c.queue = nil
	}
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
	return data, scratch
}

// closeWith is closeLocked without the lock.
func (c *Conn) closeWith(reason CloseReason, afterQueue bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(reason, afterQueue)
}

// answerClose answers a close frame of the client with one, and closes the socket.
func (c *Conn) answerClose(reason CloseReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remoteClosed = true
	c.closeLocked(reason, true)
	if !c.writing {
		_ = c.net.Close()
	}
}

// closeLocked begins to close the connection, once: a close frame is queued, after
// what is queued or in place of it. The lock is held.
func (c *Conn) closeLocked(reason CloseReason, afterQueue bool) {
	if c.state != open {
		return
	}
	c.state, c.reason, c.closedAt = closing, reason, c.h.now()
	if c.cancel != nil {
		c.cancel()
	}
	if !afterQueue {
		waiting := c.queue[c.head:]
		c.queue, c.head, c.bytes, c.count, c.answers = nil, 0, 0, 0, 0
		if len(waiting) > 0 && waiting[0].rest { // or the close frame would be inside another
			c.addLocked(waiting[0])
		}
	}
	c.addLocked(entry{data: reason.frame()})
	c.wakeLocked()
}

// closeSocket closes the socket, or only our half of it if the client has not sent a
// close frame: a reset could destroy ours before the client reads it.
func (c *Conn) closeSocket(remoteClosed bool) {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && !remoteClosed {
		_ = half.CloseWrite()
		return
	}
	_ = c.net.Close()
}

// abort closes the socket without a close frame.
func (c *Conn) abort(reason CloseReason) {
	c.mu.Lock()
	if c.state == open {
		c.reason, c.closedAt = reason, c.h.now()
		if c.cancel != nil {
			c.cancel()
		}
	}
	c.state = ended
	c.queue, c.head, c.bytes, c.count, c.answers = nil, 0, 0, 0, 0
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
	c.mu.Unlock()
	_ = c.net.Close()
}
