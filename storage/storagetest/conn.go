package storagetest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// streamLimit is the number of bytes that a stream holds before a write waits.
const streamLimit = 1 << 20

// stream carries bytes from one end of a connection in memory to the other. Unlike
// net.Pipe it has a buffer, as a socket has: both ends may write before either
// reads. What waits in it waits durably, in the sense of package synctest.
type stream struct {
	mu      sync.Mutex
	changed sync.Cond // a field below has changed
	data    []byte
	ready   time.Time     // when data may be read
	delay   time.Duration // of data that no other waits before
	lossy   bool          // what is written is lost

	readErr  error     // of reads, at once
	endErr   error     // of reads that find no data
	writeErr error     // of writes
	readBy   time.Time // zero: reads wait as long as they must
	writeBy  time.Time // the same of writes
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case over(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(s.data) > 0 && !over(s.ready):
			s.waitLocked(earlier(s.readBy, s.ready))
			continue
		case len(s.data) > 0:
			n := copy(p, s.data)
			s.data = s.data[n:]
			s.changed.Broadcast()
			return n, nil
		case s.endErr != nil:
			return 0, s.endErr
		}
		s.waitLocked(s.readBy)
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writeErr != nil:
			return n, s.writeErr
		case over(s.writeBy):
			return n, os.ErrDeadlineExceeded
		case s.lossy:
			return len(p), nil
		}
		room := min(streamLimit-len(s.data), len(p)-n)
		if room > 0 {
			if len(s.data) == 0 {
				s.ready = time.Now().Add(s.delay)
			}
			s.data = append(s.data, p[n:n+room]...)
			n += room
			s.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		s.waitLocked(s.writeBy)
	}
}

// earlier returns the earlier of a deadline, which may be zero, and a time.
func earlier(deadline, t time.Time) time.Time {
	if !deadline.IsZero() && deadline.Before(t) {
		return deadline
	}
	return t
}

// over reports whether a deadline has passed.
func over(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

// waitLocked waits for a change, until deadline at the longest. The lock is held.
func (s *stream) waitLocked(deadline time.Time) {
	if !deadline.IsZero() {
		timer := time.AfterFunc(time.Until(deadline), func() { s.set(func() {}) })
		defer timer.Stop()
	}
	s.changed.Wait()
}

// set changes fields under the lock and wakes what waits for a change.
func (s *stream) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// memoryConn is one end of a connection in memory.
type memoryConn struct {
	in, out *stream
	closed  func()      // called by each Close; nil: nothing
	lost    func() bool // called by each Write: whether it is lost, with the connection; nil: never
	link    *Link       // from which the connection was made; nil: none
}

// newConns returns both ends of a connection.
func newConns() (a, b *memoryConn) {
	there, back := newStream(), newStream()
	return &memoryConn{in: back, out: there}, &memoryConn{in: there, out: back}
}

func (c *memoryConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, opError("read", err)
}

func (c *memoryConn) Write(p []byte) (int, error) {
	if c.lost != nil && c.lost() {
		return len(p), nil
	}
	n, err := c.out.write(p)
	return n, opError("write", err)
}

// opError wraps an error as package net does, but for io.EOF.
func opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "memory", Addr: memoryAddr{}, Err: err}
}

// Close ends both directions. The other end reads what was written before, and
// then io.EOF.
func (c *memoryConn) Close() error {
	c.in.set(func() {
		c.in.readErr = firstOf(c.in.readErr, net.ErrClosed)
		c.in.writeErr = firstOf(c.in.writeErr, syscall.EPIPE)
	})
	c.out.set(func() {
		c.out.writeErr = firstOf(c.out.writeErr, net.ErrClosed)
		c.out.endErr = firstOf(c.out.endErr, io.EOF)
	})
	if c.closed != nil {
		c.closed()
	}
	return nil
}

// reset ends both directions for both ends. What is on its way is lost.
func (c *memoryConn) reset() {
	for _, s := range []*stream{c.in, c.out} {
		s.set(func() {
			s.data = nil
			s.readErr = firstOf(s.readErr, syscall.ECONNRESET)
			s.writeErr = firstOf(s.writeErr, syscall.ECONNRESET)
		})
	}
}

func firstOf(was, is error) error {
	if was != nil {
		return was
	}
	return is
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.writeBy = t })
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

// memoryAddr is the address of everything in a [Network].
type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return networkAddr }
