package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// CallOptions are the options of [Call], [CallRaw] and [Send].
type CallOptions struct {
	// Header goes to the handler beside the arguments, which gets it with
	// [HeaderFrom].
	Header Header
}

// Call has one worker run a method and returns its result. It returns a zero R
// and
//
//   - an [*Error] for what the worker answered in place of a result;
//   - [ErrNoWorkers], [ErrWorkerLost], [ErrQueueFull] or [ErrTooLarge];
//   - [context.DeadlineExceeded] or [context.Canceled] when ctx, or
//     ClientConfig.Timeout, has ended: the method may have been run.
func Call[A, R any](ctx context.Context, c *Client, to Address, m Method[A, R], args A, opts ...CallOptions) (R, error) {
	var result R
	body, err := encode(m.codec, args)
	if err != nil {
		return result, fmt.Errorf("bus: call %s: %w", m.name, err)
	}
	rep, err := c.call(ctx, to, m.name, body, opts)
	if err != nil {
		return result, err
	}
	if err := rep.body.decode(&result); err != nil {
		var zero R
		return zero, fmt.Errorf("bus: call %s: result of %s: %w", m.name, rep.from, err)
	}
	return result, nil
}

// CallRaw is [Call] on encoded values, for callers that do not know the types:
// JSON from a shell reaches a handler's struct as it would with Call.
func CallRaw(ctx context.Context, c *Client, to Address, method string, args Body, opts ...CallOptions) (Body, error) {
	if err := checkRaw(method, args); err != nil {
		return Body{}, err
	}
	rep, err := c.call(ctx, to, method, args, opts)
	if err != nil {
		return Body{}, err
	}
	return rep.body, nil
}

func checkRaw(method string, args Body) error {
	if err := checkName("method", method); err != nil {
		return err
	}
	if !args.Codec.Valid() {
		return fmt.Errorf("bus: call %s: unknown %v", method, args.Codec)
	}
	return nil
}

// Send has one worker run a method and wants no reply. It returns when Redis
// has the call. Its errors are those of [Call], but for what only a reply could
// tell, and [storage.ErrIndeterminate]: Redis may or may not have it.
func Send[A, R any](ctx context.Context, c *Client, to Address, m Method[A, R], args A, opts ...CallOptions) error {
	body, err := encode(m.codec, args)
	if err != nil {
		return fmt.Errorf("bus: send %s: %w", m.name, err)
	}
	ctx, cancel := until(ctx, c.end(ctx, time.Now()))
	defer cancel()
	if err = c.send(ctx, to, m.name, body, opts); err != nil {
		return fmt.Errorf("bus: send %s to %s: %w", m.name, to, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, to Address, method string, body Body, opts []CallOptions) error {
	end, _ := ctx.Deadline()
	r, frame, err := c.prepare(ctx, to, &request{method: []byte(method), body: body}, opts, time.Now(), end)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	c.pool.Writer().Push(ctx, r.queue, frame, func(length int64, err error) {
		r.pushed(length, err)
		written <- err
	})
	select {
	case err = <-written:
		return local(err)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return ErrClosed
	}
}

// call is a call that waits for its reply.
type call struct {
	route  *route
	frame  []byte
	since  time.Time
	over   atomic.Bool
	result chan result // holds one; the first counts
}

type result struct {
	rep *reply
	err error
}

// Err tells the writer whether anybody still waits.
func (w *call) Err() error {
	if w.over.Load() {
		return context.Canceled
	}
	return nil
}

func (w *call) finish(rep *reply, err error) {
	select {
	case w.result <- result{rep, err}:
	default:
	}
}

// written is what the writer tells. What may have been written may be answered.
func (w *call) written(length int64, err error) {
	w.route.pushed(length, err)
	if err != nil && !errors.Is(err, storage.ErrIndeterminate) {
		w.finish(nil, local(err))
	}
}

// call is the untyped core of Call.
func (c *Client) call(ctx context.Context, to Address, method string, body Body, opts []CallOptions) (*reply, error) {
	rep, err := c.roundTrip(ctx, to, &request{method: []byte(method), body: body}, opts)
	if err != nil {
		return nil, fmt.Errorf("bus: call %s at %s: %w", method, to, err)
	}
	if rep.code != "" {
		return nil, &Error{Code: rep.code, Text: rep.text, Method: method, Worker: string(rep.from)}
	}
	return rep, nil
}

func (c *Client) roundTrip(ctx context.Context, to Address, req *request, opts []CallOptions) (*reply, error) {
	now := time.Now()
	end := c.end(ctx, now)
	req.id = c.lastID.Add(1)
	r, frame, err := c.prepare(ctx, to, req, opts, now, end)
	if err != nil {
		return nil, err
	}
	w := &call{route: r, frame: frame, since: now, result: make(chan result, 1)}
	if err := c.remember(req.id, w); err != nil {
		return nil, err
	}
	defer w.over.Store(true)
	c.pool.Writer().Push(w, r.queue, frame, w.written)

	var expired <-chan time.Time
	if !end.IsZero() {
		t := timers.Get().(*time.Timer)
		t.Reset(end.Sub(now))
		defer timers.Put(t)
		defer t.Stop()
		expired = t.C
	}
	select {
	case res := <-w.result:
		if res.rep == nil {
			c.forget(req.id)
		}
		return res.rep, res.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-expired:
		err = context.DeadlineExceeded
	}
	c.forget(req.id)
	return nil, err
}

// timers holds timers that are stopped.
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// remember registers a call before it is sent.
func (c *Client) remember(id uint64, w *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if closed(c.closed) {
		return ErrClosed
	}
	if len(c.calls) >= c.cfg.MaxPending {
		return fmt.Errorf("%w: ClientConfig.MaxPending is %d", ErrQueueFull, c.cfg.MaxPending)
	}
	c.calls[id] = w
	return nil
}

// forget removes a call, and returns it if it was there.
func (c *Client) forget(id uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.calls[id]
	delete(c.calls, id)
	return w
}

// prepare does all that comes before the write: it finds where the request goes
// and that somebody is there to take it, and packs it. Once the inbox is open
// and the route known it neither waits nor asks anybody.
func (c *Client) prepare(ctx context.Context, to Address, req *request, opts []CallOptions, now, end time.Time) (*route, []byte, error) {
	switch {
	case len(opts) > 1:
		return nil, nil, errors.New("more than one CallOptions")
	case len(opts) == 1:
		req.header = opts[0].Header
	}
	if n := len(req.body.Data); n > c.cfg.MaxMessage {
		return nil, nil, fmt.Errorf("%w: %d bytes, ClientConfig.MaxMessage is %d", ErrTooLarge, n, c.cfg.MaxMessage)
	}
	r, err := c.route(to, now)
	if err != nil {
		return nil, nil, err
	}
	ready := c.opened.Load()
	if ready {
		wait, err := r.open(now)
		if err != nil {
			return nil, nil, err
		}
		ready = wait == nil
	}
	if !ready {
		ctx, cancel := until(ctx, end)
		defer cancel()
		if err := c.ready(ctx); err != nil {
			return nil, nil, err
		}
		if err := r.admit(ctx); err != nil {
			return nil, nil, err
		}
		now = time.Now()
	}
	if closed(c.closed) {
		return nil, nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	sent := c.clock.Now()
	req.client, req.sent = c.id, sent.UnixMilli()
	if !end.IsZero() {
		req.deadline = sent.Add(end.Sub(now)).UnixMilli()
	}
	return r, req.pack(), nil
}
