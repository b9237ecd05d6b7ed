package gateway

// Close sends a close frame after what is queued for the client, or the event close, then
// closes the connection. text is cut to 123 bytes. A code that may not be sent, such as
// CloseAbnormal, and its text are left out of the frame. Close does not block.
func (c *Conn) Close(code CloseCode, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(CloseReason{Code: code, Text: text}, true)
}

// closeSlowLocked closes the connection of a client that reads too slowly. The lock is
// held.
func (c *Conn) closeSlowLocked() {
	if c.state == open {
		c.h.count.slow.Add(1)
	}
	c.closeLocked(CloseReason{Code: CloseSlow, Text: "too slow"}, false)
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

// closeLocked begins to close the connection, once: a close frame is queued, after what is
// waiting or in place of it. The lock is held.
func (c *Conn) closeLocked(reason CloseReason, afterQueue bool) {
	if c.state != open {
		return
	}
	c.state, c.reason, c.closedAt = closing, reason, c.h.now()
	c.cancelRunningLocked()
	if !afterQueue {
		c.clearLocked() // but rest, or the close frame would be inside another
	}
	c.queueLocked(entry{data: c.v.closeFrame(reason), kept: true, last: true})
	c.wakeLocked()
}

// clearLocked forgets what is to be written. The lock is held.
func (c *Conn) clearLocked() {
	c.queue, c.bytes, c.answers, c.sends, c.news = nil, 0, 0, 0, nil
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
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
		c.cancelRunningLocked()
	}
	c.state = ended
	c.clearLocked()
	c.rest = nil
	c.mu.Unlock()
	_ = c.net.Close()
}
