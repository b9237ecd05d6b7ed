package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// CallOptions are the options of [Call], [CallRaw], [Gather], [GatherRaw] and
// [Send].
type CallOptions struct {
	// Header is sent beside the arguments. The handler gets it with [HeaderFrom].
	Header Header

	// Retry replaces ClientConfig.Retry in this Call or CallRaw. Gather and Send
	// make each call once and refuse it. Defaults to nil, ClientConfig.Retry.
	Retry *Retry
}

// checkOnce refuses a Retry in the options of what makes each call once.
func (o CallOptions) checkOnce() error {
	if o.Retry != nil {
		return errors.New("CallOptions.Retry: Gather and Send make each call once")
	}
	return nil
}

// Call runs a method in one worker and returns its result. Its errors are
//
//   - an [*Error], which the worker answered in place of a result;
//   - [ErrNoWorkers], [ErrWorkerLost], [ErrQueueFull], [ErrTooLarge] or
//     [ErrBreakerOpen];
//   - [context.DeadlineExceeded] or [context.Canceled] when ctx, or
//     ClientConfig.Timeout, has ended: the method may have run. The context of a
//     handler that still runs is cancelled.
func Call[A, R any](ctx context.Context, c *Client, to Address, m Method[A, R], args A, opts ...CallOptions) (R, error) {
	var result R
	body, err := encode(m.codec, args)
	if err != nil {
		return result, redisio.Wrap(fmt.Sprintf("bus: call %s", m.name), err)
	}
	rep, err := c.call(ctx, to, &request{method: m.name, body: body}, m.idempotent, opts)
	if err != nil {
		return result, err
	}
	if err := rep.body.decode(&result); err != nil {
		var zero R
		return zero, redisio.Wrap(fmt.Sprintf("bus: call %s: result of %s", m.name, rep.from), err)
	}
	return result, nil
}

// CallRaw is [Call] with encoded arguments and result, for callers that do not know
// the Go types. The handler's types may be any: a struct is decoded from JSON, too.
func CallRaw(ctx context.Context, c *Client, to Address, method string, args Body, opts ...CallOptions) (Body, error) {
	if err := checkRaw("call", method, args); err != nil {
		return Body{}, err
	}
	rep, err := c.call(ctx, to, &request{method: method, body: args}, false, opts)
	if err != nil {
		return Body{}, err
	}
	return rep.body, nil
}

func checkRaw(verb, method string, args Body) error {
	if err := checkName("method", method); err != nil {
		return err
	}
	if !args.Codec.Valid() {
		return fmt.Errorf("bus: %s %s: unknown %v", verb, method, args.Codec)
	}
	return nil
}

// optional returns the value of opts, which may hold at most one.
func optional[T any](opts []T) (o T, err error) {
	switch {
	case len(opts) > 1:
		return o, fmt.Errorf("more than one %T", o)
	case len(opts) == 1:
		o = opts[0]
	}
	return o, nil
}

// call implements Call and CallRaw.
func (c *Client) call(ctx context.Context, to Address, req *request, idempotent bool, opts []CallOptions) (rep *reply, err error) {
	o, err := optional(opts)
	retry := c.cfg.Retry
	if err == nil && o.Retry != nil {
		retry, err = o.Retry.complete("CallOptions")
	}
	switch {
	case err != nil:
	case len(c.cfg.Middleware) == 0:
		req.header = o.Header
		rep, err = c.attempts(ctx, to, req, idempotent, retry)
	default:
		req.header = o.Header
		rep, err = c.through(ctx, to, req, false, func(ctx context.Context, req *request) (*reply, error) {
			return c.attempts(ctx, to, req, idempotent, retry)
		})
	}
	if err != nil {
		return nil, failed("call", req, to, err)
	}
	return rep, nil
}

// failed returns the error that ended a call, with the method and the address in its
// text. An *Error has them already.
func failed(verb string, req *request, to Destination, err error) error {
	var answered *Error
	if errors.As(err, &answered) {
		return err
	}
	return redisio.Wrap(fmt.Sprintf("bus: %s %s at %s", verb, req.method, to), err)
}

// remote returns the error that a reply carries, or nil.
func (r *reply) remote(method string) error {
	if r.code == "" {
		return nil
	}
	return &Error{Code: r.code, Text: r.text, Method: method, Worker: r.from}
}

// attempts makes a call, again where the policy allows it, until one attempt is
// answered. An attempt that was taken to be lost may still be answered: the first
// reply counts.
func (c *Client) attempts(ctx context.Context, to Address, req *request, idempotent bool, retry Retry) (*reply, error) {
	now := time.Now()
	end := c.deadline(ctx, now)
	expired, stop := c.timers.until(now, end)
	defer stop()
	again := retry.begin(idempotent && to.id == "")
	results := make(chan result, again.results())
	var earlier []*pendingCall
	for {
		call, err := c.begin(ctx, to, req, idempotent, now, end, results)
		if err == nil {
			var res result
			for again := true; again; {
				res = result{}
				select {
				case res = <-results:
					if err = res.err; err == nil {
						err = res.rep.remote(req.method)
					}
				case <-ctx.Done():
					err = c.because(ctx.Err())
				case <-expired:
					err = c.because(context.DeadlineExceeded)
				}
				again = res.call != nil && res.call != call && isLoss(err) // this attempt was made for it
			}
			call.note(err)
			if res.call != call || err != nil {
				earlier = append(earlier, call)
			}
			if err == nil {
				c.abandon(earlier...)
				return res.rep, nil
			}
		}
		pause, ok := again.after(&err)
		if ok && pause > 0 {
			ok = c.waitForRetry(ctx, end, pause)
		}
		if !ok {
			c.abandon(earlier...)
			return nil, err
		}
		if n := len(earlier) - maxLate; n > 0 {
			c.abandon(earlier[:n]...)
			earlier = earlier[n:]
		}
		for len(results) > 0 { // of earlier attempts; there must be room for those to come
			if res := <-results; res.err == nil && res.rep.code == "" {
				c.abandon(earlier...)
				return res.rep, nil
			}
		}
		c.stats.retries.Add(1)
		now = time.Now()
	}
}

// waitForRetry waits before another attempt. It reports false if the call ends
// first.
func (c *Client) waitForRetry(ctx context.Context, end time.Time, pause time.Duration) bool {
	ctx, cancel := withEnd(ctx, end)
	defer cancel()
	return c.pause(ctx, nil, time.After(pause)) == nil
}

// Send runs a method in one worker, or in every worker of an [Audience], without a
// reply. It returns once Redis has the requests. Its errors are those of [Call] that
// do not need a reply, and [storage.ErrIndeterminate] if Redis may or may not have a
// request. An audience without workers is [ErrNoWorkers].
func Send[A, R any](ctx context.Context, c *Client, to Destination, m Method[A, R], args A, opts ...CallOptions) error {
	if err := checkDestination(to); err != nil {
		return redisio.Wrap(fmt.Sprintf("bus: send %s", m.name), err)
	}
	body, err := encode(m.codec, args)
	if err != nil {
		return redisio.Wrap(fmt.Sprintf("bus: send %s", m.name), err)
	}
	req := &request{method: m.name, body: body}
	o, err := optional(opts)
	if err == nil {
		err = o.checkOnce()
	}
	if err == nil {
		req.header = o.Header
		_, err = c.through(ctx, to, req, false, func(ctx context.Context, req *request) (*reply, error) {
			return &reply{}, c.send(ctx, to, req)
		})
	}
	if err != nil {
		return failed("send", req, to, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, to Destination, req *request) error {
	now := time.Now()
	end := c.deadline(ctx, now)
	ctx, cancel := withEnd(ctx, end)
	defer cancel()
	addresses, known, err := c.resolve(ctx, to)
	if err != nil {
		return err
	}
	written := make(chan error, len(addresses))
	var errs []error
	sending := newSendWindow(c.pool, len(req.body.Data), len(addresses))
	for _, address := range addresses {
		if err := sending.enter(ctx); err != nil {
			return c.because(err)
		}
		r, frame, err := c.prepare(ctx, address, *req, known, time.Now(), end)
		if err != nil {
			sending.leave()
			c.stats.refused.Add(1)
			errs = append(errs, err)
			continue
		}
		c.stats.calls.Add(1)
		redisio.Of(c.pool).Writer().PushExpiring(ctx, r.queue, frame, queueTTL, func(length int64, err error) {
			sending.leave()
			r.onPushed(len(frame), length, err)
			written <- err
		})
	}
	for range len(addresses) - len(errs) {
		select {
		case err := <-written:
			errs = append(errs, local(err))
		case <-ctx.Done():
			return c.because(ctx.Err())
		case <-c.closed:
			return ErrClosed
		}
	}
	return errors.Join(errs...)
}

// resolve returns the addresses of a destination, and whether they are known to be
// alive.
func (c *Client) resolve(ctx context.Context, to Destination) (addresses []Address, known bool, err error) {
	if one, ok := to.(Address); ok {
		return []Address{one}, false, nil
	}
	members, err := c.members(ctx, to.(Audience))
	if err != nil {
		return nil, false, err
	}
	if len(members) == 0 {
		return nil, false, ErrNoWorkers
	}
	for _, m := range members {
		addresses = append(addresses, Direct(m.ID))
	}
	return addresses, true, nil
}

// prepare finds the queue of a request, makes sure that a worker is alive, unless
// that is known, and packs the request. It does not block once the inbox is open and
// the route is known to lead to a living worker.
func (c *Client) prepare(ctx context.Context, to Address, req request, known bool, now, end time.Time) (*route, []byte, error) {
	if req.method == "" {
		return nil, nil, errors.New("bus: zero Method: use NewMethod or NewStream")
	}
	if n := len(req.body.Data); n > c.cfg.MaxMessage {
		return nil, nil, fmt.Errorf("%w: %d bytes, ClientConfig.MaxMessage is %d", ErrTooLarge, n, c.cfg.MaxMessage)
	}
	r, err := c.route(to, to.id != "" && isBuiltin(req.method), now)
	if err != nil {
		return nil, nil, err
	}
	replied := req.id != 0
	if err := r.breaker.admit(c.cfg.Breaker, now, replied); err != nil {
		return nil, nil, err
	}
	if err := c.makeReady(ctx, r, known, &now, end); err != nil {
		if replied {
			r.breaker.release(c.cfg.Breaker)
		}
		return nil, nil, err
	}
	sent := c.clock.At(now)
	req.client, req.sent = c.id, sent.UnixMilli()
	if !end.IsZero() {
		req.deadline = sent.Add(end.Sub(now)).UnixMilli()
	}
	if !req.beginBy.IsZero() {
		req.begin = sent.Add(req.beginBy.Sub(now)).UnixMilli()
	}
	return r, req.pack(), nil
}

// makeReady returns once a request may be sent on a route, and sets now if that took
// time.
func (c *Client) makeReady(ctx context.Context, r *route, known bool, now *time.Time, end time.Time) error {
	if known {
		r.trustAlive()
	}
	ready := c.opened.Load()
	if ready {
		wait, err := r.check(*now)
		if err != nil {
			return err
		}
		ready = wait == nil
	}
	if !ready {
		ctx, cancel := withEnd(ctx, end)
		defer cancel()
		if err := c.open(ctx); err != nil {
			return err
		}
		if err := r.waitUntilOpen(ctx); err != nil {
			return err
		}
		*now = time.Now()
	}
	if closed(c.closed) {
		return ErrClosed
	}
	return ctx.Err()
}
