package bus

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Reply is the reply of one worker to a [Gather].
type Reply[R any] struct {
	From  WorkerInfo `json:"from"`
	Value R          `json:"value"`
}

// Gather runs a method in every living worker of an audience, and yields their
// replies as they arrive. It reads the registry, sends one request to each worker, and
// yields each worker once: with its result, or with an error as of [Call]. A worker
// that died has [ErrWorkerLost], or [ErrNoWorkers] if it did not take the request; one
// that did not answer in time has [context.DeadlineExceeded]. Gather ends after the
// last worker. An audience without workers yields nothing. Gather waits while the
// audience can't be known because Redis is unreachable or full, or has lost its data
// within the last 3 seconds. An error with an empty From is about the
// whole Gather, and is its last item.
func Gather[A, R any](ctx context.Context, c *Client, to Audience, m Method[A, R], args A, opts ...CallOptions) iter.Seq2[Reply[R], error] {
	return func(yield func(Reply[R], error) bool) {
		body, err := encode(m.codec, args)
		if err != nil {
			yield(Reply[R]{}, redisio.Wrap(fmt.Sprintf("bus: gather %s", m.name), err))
			return
		}
		for raw, err := range c.gather(ctx, to, &request{method: m.name, body: body}, opts) {
			rep := Reply[R]{From: raw.From}
			if err == nil {
				if err = raw.Value.decode(&rep.Value); err != nil {
					rep, err = Reply[R]{From: raw.From}, redisio.Wrap(fmt.Sprintf("bus: gather %s: result of %s", m.name, raw.From.ID), err)
				}
			}
			if !yield(rep, err) {
				return
			}
		}
	}
}

// GatherRaw is [Gather] with encoded arguments and results.
func GatherRaw(ctx context.Context, c *Client, to Audience, method string, args Body, opts ...CallOptions) iter.Seq2[Reply[Body], error] {
	return func(yield func(Reply[Body], error) bool) {
		if err := checkRaw("gather", method, args); err != nil {
			yield(Reply[Body]{}, err)
			return
		}
		c.gather(ctx, to, &request{method: method, body: args}, opts)(yield)
	}
}

// gather implements Gather and GatherRaw.
func (c *Client) gather(ctx context.Context, to Audience, req *request, opts []CallOptions) iter.Seq2[Reply[Body], error] {
	return func(yield func(Reply[Body], error) bool) {
		left := false // by the caller
		o, err := optional(opts)
		if err == nil {
			err = o.checkOnce()
		}
		if err == nil {
			req.header = o.Header
			_, err = c.through(ctx, to, req, false, func(ctx context.Context, req *request) (*reply, error) {
				return &reply{}, c.collect(ctx, to, req, func(rep Reply[Body], err error) bool {
					left = !yield(rep, err)
					return !left
				})
			})
		}
		if err != nil && !left {
			yield(Reply[Body]{}, failed("gather", req, to, err))
		}
	}
}

// collect calls every worker of an audience and passes each result to take, until
// that returns false.
func (c *Client) collect(ctx context.Context, to Audience, req *request, take func(Reply[Body], error) bool) error {
	now := time.Now()
	end := c.deadline(ctx, now)
	ctx, cancel := withEnd(ctx, end)
	defer cancel()
	members, err := c.members(ctx, to)
	if err != nil {
		return err
	}
	results := make(chan result, len(members))
	calls := make([]*pendingCall, len(members))
	waiting := make(map[int]bool, len(members))
	ended := context.Canceled // of the calls that are left
	defer func() {
		c.abandon(calls...)
		for i := range waiting {
			calls[i].note(ended)
		}
	}()
	sending := newSendWindow(c.pool, len(req.body.Data), len(members))
	for i, m := range members {
		call := &pendingCall{id: c.lastID.Add(1), index: i, since: now, result: results, sent: sending.leave}
		calls[i], waiting[i] = call, true
		err := sending.enter(ctx)
		if err != nil {
			err = c.because(err)
		} else if err = c.launch(ctx, call, Direct(m.ID), req, true, time.Now(), end); err != nil {
			sending.leave()
		}
		if err != nil {
			results <- result{call, nil, err}
		}
	}
	for len(waiting) > 0 {
		var res result
		select {
		case res = <-results: // also when ctx has ended since
		default:
			select {
			case res = <-results:
			case <-ctx.Done():
			}
		}
		switch {
		case res.call != nil:
			i, rep := res.call.index, Reply[Body]{From: members[res.call.index]}
			delete(waiting, i)
			err := res.err
			if err == nil {
				if err = res.rep.remote(req.method); err == nil {
					rep.Value = res.rep.body
				}
			}
			res.call.note(err)
			if err != nil {
				err = failed("gather", req, Direct(rep.From.ID), err)
			}
			if !take(rep, err) {
				return nil
			}
		default:
			ended = ctx.Err()
			for i, m := range members {
				if waiting[i] && !take(Reply[Body]{From: m}, failed("gather", req, Direct(m.ID), c.because(ctx.Err()))) {
					break
				}
			}
			return nil
		}
	}
	return nil
}
