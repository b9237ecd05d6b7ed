package gateway

import (
	"sync"
	"time"
)

// The writer of a connection is whoever has set Conn.writing: a goroutine, or for a moment
// one that has queued something. It alone writes to the socket, and alternates between two
// kinds of input until there is neither:
//
//   - the queue: answers, statuses, control frames and what Conn.Send sends, in order. They
//     are never dropped: answers wait for room, and a client whose queue is full is closed;
//   - the followers with news, in turn: it reads their logs, filters and compiles.
//
// While nothing is to be written there is no writer, and the fan-out writes to the socket
// itself. What a socket does not take is kept as references to the compiled messages, which
// all connections share.

// entry is a part of a connection's queue.
type entry struct {
	data   []byte    // a compiled frame
	live   *follower // goes live behind data
	offset string    // all messages of live after it follow

	kept   bool // small and rare: limits don't apply
	answer bool // answers a command
	last   bool // the close frame: nothing follows
}

// entryBytes is what an entry counts beside its data.
const entryBytes = 64

// size returns what an entry counts in Limits.QueueBytes.
func (e entry) size() int { return len(e.data) + entryBytes }

// push queues an entry and writes it as far as the socket takes it, without blocking. If
// the queue is full, it closes the connection.
func (c *Conn) push(e entry) {
	c.mu.Lock()
	l := &c.h.cfg.Limits
	switch {
	case c.state != open, len(e.data) == 0 && e.live == nil:
	case !e.kept && c.bytes > 0 && (c.bytes+e.size() > l.QueueBytes || c.sends >= l.QueueMessages):
		c.closeSlowLocked()
	default:
		c.queueLocked(e)
	}
	c.mu.Unlock()
	c.flush()
}

// queueLocked appends to the queue. The lock is held.
func (c *Conn) queueLocked(e entry) {
	c.queue = append(c.queue, e)
	c.bytes += e.size()
	c.countLocked(e, 1)
}

func (c *Conn) countLocked(e entry, n int) {
	switch {
	case e.answer:
		c.answers += n
	case !e.kept:
		c.sends += n
	}
}

// reply queues an answer to a command, once answers take less than half of the queue: the
// rest is for the host. Only the goroutines of commands call it: a client that does not read
// its answers can't ask for more than Limits.Running at a time. The answers are written when
// the command is done, or when they have to wait for room.
func (c *Conn) reply(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	l, e := &c.h.cfg.Limits, entry{data: data, answer: true}
	for {
		c.mu.Lock()
		switch {
		case c.state != open:
			c.mu.Unlock()
			return ErrClosed
		case c.bytes == 0 || c.bytes+e.size() <= l.QueueBytes/2 && c.answers < max(l.QueueMessages/2, 1):
			c.queueLocked(e)
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

// newsLocked puts a follower on the list of those with news. The lock is held.
func (c *Conn) newsLocked(f *follower) {
	if !f.news {
		f.news = true
		c.news = append(c.news, f)
	}
	c.wakeLocked()
}

// wakeLocked starts a writer, unless there is one or nothing to write. The lock is held.
func (c *Conn) wakeLocked() {
	if !c.writing && (len(c.rest) > 0 || len(c.queue) > 0 || len(c.news) > 0) {
		c.writing, c.took = true, time.Now()
		c.h.tasks.Go(func() { c.write(true) })
	}
}

// flush writes the queue: at once as far as the socket takes it, which saves a goroutine
// switch, and the rest by a goroutine.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.direct == nil || c.writing || len(c.queue) == 0 {
		c.wakeLocked()
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	c.write(false)
}

// idleLocked reports whether the fan-out may write to the socket itself. The lock is held.
func (c *Conn) idleLocked() bool {
	return c.direct != nil && !c.writing && len(c.rest) == 0 && len(c.queue) == 0 && len(c.news) == 0 && c.filters.Load() == nil
}

// writeIdleLocked writes to an idle socket. The lock is held.
func (c *Conn) writeIdleLocked(data []byte) {
	if len(data) == 0 {
		return
	}
	if n, err := c.direct.write(data); n < len(data) || err != nil { // the writer will see the error again
		c.rest, c.full = append(c.rest, data[n:]), true
		c.wakeLocked()
	}
}

// stall is how long a write may take before the socket counts as full, where that does not
// show otherwise.
const stall = 20 * time.Millisecond

// stalledLocked reports whether the client, or a filter, keeps the writer from reading
// logs. The lock is held.
func (c *Conn) stalledLocked() bool {
	return c.full || !c.began.IsZero() && time.Since(c.began) > stall || time.Since(c.took) > 50*stall
}

// write writes until there is nothing to be written. Unless it may block, it leaves what
// would block, and all news, to a goroutine.
func (c *Conn) write(block bool) {
	var frames [][]byte
	var news []*Message
	for {
		c.mu.Lock()
		frames = c.takeLocked(frames[:0])
		if block {
			news = c.takeNewsLocked(news[:0], frames)
		}
		if len(frames)+len(news) == 0 {
			c.writing, c.full = false, false
			c.wakeLocked()
			done, remoteClosed := c.state == closing && !c.writing, c.remoteClosed
			c.mu.Unlock()
			if done {
				c.closeSocket(remoteClosed)
			}
			return
		}
		c.took = time.Now()
		c.mu.Unlock()
		frames = c.compile(frames, news)
		clear(news)
		rest, err := c.send(frames, block)
		switch {
		case err != nil:
			c.abort(CloseReason{Code: CloseAbnormal, Text: "write: " + err.Error()})
		case len(rest) > 0:
			c.mu.Lock()
			c.rest, c.writing = rest, false
			c.wakeLocked()
			c.mu.Unlock()
			return
		}
		clear(frames)
	}
}

// chunk is how much is written at once. A write costs as much as fifteen small messages.
const chunk = 16 << 10

// takeLocked takes what is to be written first from the queue, or what the socket did not
// take before. The lock is held.
func (c *Conn) takeLocked(frames [][]byte) [][]byte {
	if len(c.rest) > 0 {
		rest := c.rest
		c.rest = nil
		return rest
	}
	size, n := 0, 0
	for ; n < len(c.queue) && size < chunk/2; n++ {
		e := c.queue[n]
		if e.last && len(c.news) > 0 {
			break
		}
		c.bytes -= e.size()
		c.countLocked(e, -1)
		if e.live != nil {
			if e.live.live = true; !e.live.left {
				c.newsLocked(e.live)
			}
			frames = c.appendID(frames, e.live.ch.name, e.offset)
		}
		if len(e.data) > 0 {
			frames = append(frames, e.data)
		}
		size += len(e.data)
	}
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
		if c.drained != nil {
			close(c.drained)
			c.drained = nil
		}
	}
	return frames
}

// takeNewsLocked reads the logs of followers with news, as much as can be written with
// frames. The lock is held.
func (c *Conn) takeNewsLocked(news []*Message, frames [][]byte) []*Message {
	room := chunk
	for _, data := range frames {
		room -= len(data)
	}
	for len(c.news) > 0 && room > 0 {
		f := c.news[0]
		c.news[0] = nil
		c.news = c.news[1:]
		f.news = false
		if f.left {
			continue
		}
		n := len(news)
		var more bool
		if news, more = f.readLocked(news, room); more && c.state == open {
			f.news = true
			c.news = append(c.news, f) // in turn
		}
		for _, m := range news[n:] {
			room -= len(m.Content)
		}
	}
	if len(c.news) == 0 {
		c.news = nil
	}
	return news
}

// compile filters messages, and appends their frames to a list.
func (c *Conn) compile(frames [][]byte, news []*Message) [][]byte {
	delivered := int64(0)
	for _, m := range news {
		if m.kind != KindStatus {
			m = c.filter(m)
			if m == nil {
				continue
			}
		}
		data := m.compiled(c.v)
		if len(data) == 0 {
			continue
		}
		frames = append(c.appendID(frames, m.Name, m.Offset), data)
		if m.kind != KindStatus {
			delivered++
		}
	}
	if delivered > 0 {
		c.h.count.delivered.Add(delivered)
	}
	return frames
}

// appendID appends the id of the next event of an event stream, if it has one.
func (c *Conn) appendID(frames [][]byte, channel, offset string) [][]byte {
	if c.ids == nil {
		return frames
	}
	if id := c.ids.line(channel, offset); id != nil {
		return append(frames, id)
	}
	return frames
}

// send writes frames. It returns what the socket does not take without blocking, unless it
// may block.
func (c *Conn) send(frames [][]byte, block bool) (rest [][]byte, err error) {
	for len(frames) > 0 && err == nil {
		if c.direct != nil {
			var all bool
			if frames, all = c.sendDirectly(frames); all {
				continue
			}
			if !block {
				return frames, nil
			}
		}
		frames, err = c.sendBlocking(frames)
	}
	return nil, err
}

var chunks = sync.Pool{New: func() any { return new(make([]byte, 0, chunk)) }}

// join returns the first frames as one piece of at most a chunk, or a longer first one,
// and their number. scratch belongs to chunks if it isn't nil.
func join(frames [][]byte) (data []byte, n int, scratch *[]byte) {
	data, n = frames[0], 1
	for ; n < len(frames) && len(data)+len(frames[n]) <= chunk; n++ {
		if scratch == nil {
			scratch = chunks.Get().(*[]byte)
			data = append((*scratch)[:0], data...)
		}
		data = append(data, frames[n]...)
	}
	return data, n, scratch
}

// sendDirectly writes once without blocking. It returns what is left, and whether the
// socket took all that it was given.
func (c *Conn) sendDirectly(frames [][]byte) (rest [][]byte, all bool) {
	data, _, scratch := join(frames)
	n, err := c.direct.write(data)
	all = n == len(data) && err == nil // sendBlocking will see the error again
	if scratch != nil {
		chunks.Put(scratch) // not kept by a socket that is full
	}
	for len(frames) > 0 && n >= len(frames[0]) {
		n -= len(frames[0])
		frames = frames[1:]
	}
	if n > 0 {
		frames[0] = frames[0][n:]
	}
	return frames, all
}

// sendBlocking writes the first frames, and notes each progress: a large message may take
// a slow client longer than Limits.Write.
func (c *Conn) sendBlocking(frames [][]byte) (rest [][]byte, err error) {
	const step = 64 << 10
	data, n, scratch := frames[0], 1, (*[]byte)(nil)
	if c.direct == nil {
		data, n, scratch = join(frames)
	}
	for len(data) > 0 && err == nil {
		c.progress(time.Now())
		k := min(len(data), step)
		_, err = c.net.Write(data[:k])
		data = data[k:]
	}
	c.progress(time.Time{})
	if scratch != nil {
		chunks.Put(scratch)
	}
	return frames[n:], err
}

// progress notes when the current write began; zero: there is none.
func (c *Conn) progress(began time.Time) {
	c.mu.Lock()
	c.full = c.full || c.direct != nil || !c.began.IsZero() && time.Since(c.began) > stall
	c.began = began
	c.mu.Unlock()
}
