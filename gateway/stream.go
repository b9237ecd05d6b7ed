package gateway

import (
	"net/http"
	"sync"
	"time"
)

// stream is the response of an event stream, in place of a socket. What is written before
// begin is held back up to maxHeld bytes, so that a request whose commands are refused gets
// a status.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration // Limits.Write
	closed  chan struct{} // closed by Close

	writing sync.Mutex // held while w is used
	held    []byte
	begun   bool
	refused bool // the response is that of refuse: nothing else is written

	mu   sync.Mutex // taken after writing
	over bool       // closed is closed
	busy bool       // w is used, and may block
}

const maxHeld = 64 << 10

// newStream fails if a write to w can't be given up.
func newStream(w http.ResponseWriter, r *http.Request, limit time.Duration) (*stream, error) {
	s := &stream{w: w, control: http.NewResponseController(w), limit: limit, closed: make(chan struct{})}
	if err := s.control.SetWriteDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if err := s.control.SetReadDeadline(time.Time{}); err != nil { // http.Server.ReadTimeout would end r's context
		return nil, err
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // nginx would wait for more
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin) // which originAllowed has accepted
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	if r.ProtoMajor == 1 {
		header.Set("Connection", "close") // the next request must not find the deadlines
	}
	return s, nil
}

// enter is called before w is used, and exit afterwards. The deadline is beyond
// Limits.Write, by which the sweeper ends the connection: that has a reason and a counter.
// Once the stream is closed, only serveEvents may use w, until it returns.
func (s *stream) enter(serving bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over && !serving {
		return false
	}
	s.busy = true
	_ = s.control.SetWriteDeadline(time.Now().Add(2 * s.limit))
	return true
}

func (s *stream) exit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if !s.over {
		_ = s.control.SetWriteDeadline(time.Time{}) // or HTTP/2 would reset an idle stream
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.refused {
		return 0, ErrClosed
	}
	if !s.begun && len(s.held)+len(p) <= maxHeld {
		s.held = append(s.held, p...)
		return len(p), nil
	}
	if !s.enter(false) {
		return 0, ErrClosed
	}
	defer s.exit()
	return len(p), s.sendLocked(p)
}

// begin sends what was held back. From then on all is sent at once.
func (s *stream) begin() {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.begun {
		return
	}
	s.enter(true)
	defer s.exit()
	_ = s.sendLocked(nil) // the next write will see the error again
}

// sendLocked writes to the client. writing is held.
func (s *stream) sendLocked(p []byte) error {
	if !s.begun {
		s.begun = true
		s.w.WriteHeader(http.StatusOK)
		p, s.held = append(s.held, p...), nil
	}
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.control.Flush()
}

// refuse answers with a status in place of the stream, unless that has begun.
func (s *stream) refuse(status int, text string) bool {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.begun {
		return false
	}
	s.begun, s.refused, s.held = true, true, nil
	s.enter(true)
	defer s.exit()
	http.Error(s.w, text, status)
	return true
}

// Close ends the response, and a write that blocks. It does not wait for either.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.over = true
	deadline := time.Now()
	if !s.busy { // the server has to write the end of the response
		deadline = deadline.Add(s.limit)
	}
	_ = s.control.SetWriteDeadline(deadline)
	close(s.closed)
	return nil
}

// wait returns when nothing is written to a closed stream any more.
func (s *stream) wait() {
	s.writing.Lock()
	defer s.writing.Unlock()
}

// serveEvents serves an event stream until it ends. It reports false if it has refused the
// request.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, address string, p *Principal, begun int64) bool {
	q, err := h.parseQuery(r)
	if err != nil {
		h.count.request.Add(1)
		http.Error(w, err.line(), err.status())
		return false
	}
	s, failed := newStream(w, r, h.cfg.Limits.Write)
	if failed != nil {
		h.count.request.Add(1)
		h.log.Error("gateway: an event stream needs a ResponseWriter with deadlines; what wraps it must have a method Unwrap", "error", failed)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return false
	}
	c := &Conn{h: h, id: h.next.Add(1), remote: r.RemoteAddr, address: address, connectedAt: begun, net: s, v: &h.variants[q.variant], ids: &q.ids}
	c.principal.Store(p)
	if !h.start(c, r) {
		s.refuse(http.StatusServiceUnavailable, "closed")
		return false
	}
	c.runQuery(s, q.requests)
	select {
	case <-s.closed:
	case <-r.Context().Done():
	}
	c.abort(CloseReason{Code: CloseAbnormal, Text: "the response was closed"})
	s.wait()
	h.unregister(c)
	return true
}

// runQuery runs the commands of an event stream up to the first that fails, and begins the
// response. What a client should not try again is answered with a status, as far as the
// response has not begun: pages stop at that. Anything else is an event.
func (c *Conn) runQuery(s *stream, requests []Request) {
	var err error
	var failed Request
	for _, r := range requests {
		c.h.count.commands.Add(1)
		if failed = r; !c.Charge(1) {
			err = c.tooFastError()
		} else {
			err = c.run(&r)
		}
		if err != nil {
			break
		}
	}
	c.flush()
	c.mu.Lock()
	reason, isOpen := c.reason, c.state == open
	c.mu.Unlock()
	switch {
	case !isOpen && reason.Code.final():
		s.refuse(http.StatusForbidden, reason.Text)
	case isOpen && err != nil:
		c.refuseQuery(s, failed, c.errorFor(failed, err))
	}
	s.begin()
}

// refuseQuery ends an event stream after an error.
func (c *Conn) refuseQuery(s *stream, r Request, e *Error) {
	if e.status() >= http.StatusInternalServerError || e.status() == http.StatusTooManyRequests {
		c.sendError(r, e)
		c.Close(CloseTryAgain, "not available now")
		return
	}
	if s.refuse(e.status(), e.line()) {
		c.h.count.errors.Add(1)
		c.abort(CloseReason{Code: CloseRefused, Text: e.line()})
		return
	}
	c.sendError(r, e)
	c.Close(CloseRefused, "refused")
}
