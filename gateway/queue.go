package gateway

import (
	"slices"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// entry is what waits for a client: compiled frames.
type entry struct {
	data   []byte
	n      int     // messages in data; 0: it is of the connection itself, or an answer
	of     *member // whose they are, where they may be dropped; nil: they may not
	key    string  // of Conflate
	kept   bool    // no limit is for it: it is small, and there are few
	rest   bool    // the socket has taken the beginning of it
	answer bool    // to a command
}

// entryBytes is what an entry takes beside its data.
const entryBytes = 64

// size is what an entry counts for in Limits.QueueBytes.
func (e entry) size() int { return len(e.data) + entryBytes }

// push adds entries to the queue, for whoever may not wait, and has them written.
func (c *Conn) push(entries ...entry) {
	c.mu.Lock()
	c.enqueueLocked(entries)
	c.mu.Unlock()
	c.flush()
}

// enqueue adds entries to the queue. Where that is full, what may be dropped makes
// room; if there is nothing, the connection is over. The lock is held.
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

// add appends to the queue. The lock is held.
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

// conflate puts e in the place of what waits about the same. The lock is held.
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

// drop makes room by what may be dropped. The lock is held.
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
		if e.of.lossQueued { // and it is said further ahead
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

// tooSlow ends the connection of a client who does not read. The lock is held.
func (c *Conn) closeSlowLocked() {
	c.h.count.slow.Add(1)
	c.closeLocked(CloseReason{Code: CloseSlow, Text: "too slow"}, false)
}

// reply adds what answers a command, having waited for room: answers take half the
// queue, or the next that is published would end who asks for much. Only the
// goroutine that reads calls it, so that who does not take his answers asks for no
// more. It is written when the command is done, or there is no more room.
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
		<-drained // a write that gets nowhere ends the connection
	}
}

// flush has the queue written: at once as far as the socket takes it, which saves a
// goroutine and its way to a processor, and the rest by a goroutine.
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

// through writes data past the queue, if that is empty and the socket can be asked.
// What the socket does not take is queued. The lock is held.
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

// wake has a goroutine write the queue. The lock is held.
func (c *Conn) wakeLocked() {
	if !c.writing && c.head < len(c.queue) {
		c.writing = true
		c.h.tasks.Go(c.writeQueue)
	}
}

// chunk is how much is written at once.
const chunk = 64 << 10

var chunks = sync.Pool{New: func() any { return new(make([]byte, 0, chunk)) }}

func putScratch(scratch *[]byte) {
	if scratch != nil {
		chunks.Put(scratch)
	}
}

// write writes until the queue is empty: all that waits together, as a write costs
// as much as fifteen more messages in it.
func (c *Conn) writeQueue() {
	for {
		c.mu.Lock()
		data, scratch := c.nextLocked()
		if data == nil {
			c.writing, c.writeSince = false, 0
			said, bye := c.state == closing, c.remoteClosed
			c.mu.Unlock()
			if said {
				c.closeSocket(bye)
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

// put writes data, noting as it goes on that it does: a large message may take a
// slow client longer than Limits.Write.
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

// next takes what is to be written next. The lock is held. Nil: nothing.
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
	if c.queue, c.head = c.queue[:0], 0; cap(c.queue) > 64 {
		c.queue = nil
	}
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
	return data, scratch
}

// close is goodbye without the lock.
func (c *Conn) closeWith(reason CloseReason, behind bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(reason, behind)
}

// farewell notes that the client has said goodbye. He gets one as well, and then
// the socket is closed.
func (c *Conn) answerClose(reason CloseReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remoteClosed = true
	c.closeLocked(reason, true)
	if !c.writing {
		_ = c.net.Close()
	}
}

// goodbye begins to close, once: the last frame is queued, behind the others or in
// their place. The lock is held.
func (c *Conn) closeLocked(reason CloseReason, behind bool) {
	if c.state != open {
		return
	}
	c.state, c.reason, c.closedAt = closing, reason, c.h.now()
	if c.cancel != nil {
		c.cancel()
	}
	if !behind {
		waits := c.queue[c.head:]
		c.queue, c.head, c.bytes, c.count, c.answers = nil, 0, 0, 0, 0
		if len(waits) > 0 && waits[0].rest { // or the goodbye would be inside a frame
			c.addLocked(waits[0])
		}
	}
	text := strings.ToValidUTF8(reason.Text[:min(len(reason.Text), ws.MaxControlFramePayloadSize-2)], "")
	c.addLocked(entry{data: ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(reason.Code), text)))})
	c.wakeLocked()
}

// hangUp ends the socket, of which only our half is closed where the client has not
// said goodbye: a reset would take ours from him.
func (c *Conn) closeSocket(bye bool) {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && !bye {
		_ = half.CloseWrite()
		return
	}
	_ = c.net.Close()
}

// abort closes the socket without a goodbye.
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
