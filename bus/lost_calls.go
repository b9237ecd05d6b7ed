package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// A worker that dies sends nothing. Calls that it had held for 250 ms were announced,
// and are lost when its lease has ended. For other calls the client compares them
// with the head of their queue, which is first in, first out: a request that was
// queued before the one at the head has been taken.
const (
	queueMisses   = 3                      // searches that find a call neither queued nor announced: it is lost
	workerMisses  = 2                      // searches that find no lease of the worker that holds a call: it is lost
	skewTime      = 100 * time.Millisecond // by which the clocks of two clients may differ
	announceLimit = 4 * announceTime       // without an announcement, after which a living worker does not hold a call
)

// findLostCalls ends calls, older than a second, whose worker is lost, and forgets
// unused routes.
func (c *Client) findLostCalls(ctx context.Context, client redis.UniversalClient) {
	now := time.Now()
	held := map[string][]*pendingCall{}   // by worker
	queued := map[*route][]*pendingCall{} // not announced
	var silent []*pendingCall
	c.mu.Lock()
	for _, call := range c.calls {
		switch {
		case call.lost || now.Sub(call.since) < tickTime:
		case call.worker == "":
			queued[call.route] = append(queued[call.route], call)
		case now.Sub(call.heard) > announceLimit:
			silent = append(silent, call)
		default:
			held[call.worker] = append(held[call.worker], call)
		}
	}
	c.mu.Unlock()
	c.routes.Range(func(key, known any) bool {
		r := known.(*route)
		if c.age(now)-time.Duration(r.used.Load()) > routeIdle && len(queued[r]) == 0 {
			c.routes.Delete(key)
		}
		return true
	})
	if !c.link.upFor(returnTime) {
		return
	}
	for _, call := range silent {
		c.lose(call)
	}
	c.checkWorkers(ctx, client, held)
	for r, calls := range queued {
		c.checkQueue(ctx, client, r, calls)
	}
}

// checkWorkers ends the calls that dead workers hold.
func (c *Client) checkWorkers(ctx context.Context, client redis.UniversalClient, held map[string][]*pendingCall) {
	alive := make(map[string]*redis.IntCmd, len(held))
	_, _ = client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for worker := range held {
			if k, err := typeKeys(c.pool, c.cfg.Site, Direct(worker).typ); err == nil {
				alive[worker] = pipe.Exists(ctx, k.info(worker), k.leaving(worker))
			}
		}
		return nil
	})
	for worker, n := range alive {
		if n.Err() != nil {
			continue
		}
		for _, call := range held[worker] {
			c.noteMissing(call, worker, n.Val() == 0, workerMisses)
		}
	}
}

// noteMissing notes whether a search found a call missing where it should be: with the
// worker that announced it, or in its queue (worker ""). After the given number of
// misses in a row the call is lost. One miss proves nothing: a stopping worker may
// have returned or answered the call, and the news is still on its way.
func (c *Client) noteMissing(call *pendingCall, worker string, missing bool, looks int) {
	c.mu.Lock()
	switch {
	case call.worker != worker: // it was announced or returned since
		missing = false
	case missing:
		call.missed++
	default:
		call.missed = 0
	}
	lost := missing && call.missed >= looks
	c.mu.Unlock()
	if lost {
		c.lose(call)
	}
}

// checkQueue ends the calls of a route that are lost.
func (c *Client) checkQueue(ctx context.Context, client redis.UniversalClient, r *route, calls []*pendingCall) {
	command, key, args := r.aliveCommand()
	switch n, err := client.Do(ctx, append([]any{command, key}, args...)...).Int64(); {
	case err != nil:
		return
	case n == 0:
		for _, call := range calls {
			// A call that is still queued was not taken, and will not be.
			switch removed, err := r.remove(ctx, client, call); {
			case err != nil:
			case removed:
				c.settle(call, nil, ErrNoWorkers)
			default: // the worker that took it may be stopping, and still end it
				c.noteMissing(call, "", call.written.Load(), queueMisses)
			}
		}
		return
	}
	head, err := client.LIndex(ctx, r.queue, 0).Result()
	empty := errors.Is(err, redis.Nil)
	if err != nil && !empty {
		return
	}
	var oldest request
	if !empty && oldest.unpack(head) != nil {
		return // a worker takes it soon, and answers that it is malformed
	}
	now := c.clock.Now().UnixMilli()
	for _, call := range calls {
		c.mu.Lock()
		if call.before == 0 && call.written.Load() {
			call.before = now
		}
		before, first := call.before, call.missed == 0
		c.mu.Unlock()
		taken := before > 0 && (empty || oldest.sent > before+skewTime.Milliseconds())
		if taken && first && !empty {
			// Calls that two stopping workers returned may be out of order.
			err := client.LPos(ctx, r.queue, string(call.frame), redis.LPosArgs{}).Err()
			taken = errors.Is(err, redis.Nil)
		}
		if taken {
			overflowed, err := r.overflowed(ctx, client, call, before)
			if err != nil {
				return
			}
			taken = !overflowed
		}
		c.noteMissing(call, "", taken, queueMisses)
	}
}

// overflowKeys returns the lists in which a call may wait because its method has a
// limit: that of the method, and that of all methods that HandleAny serves.
func (r *route) overflowKeys(method string) []string {
	if r.to.id != "" {
		return []string{r.keys.ownOverflow(method, r.to.id), r.keys.ownOverflow(anyName, r.to.id)}
	}
	return []string{r.keys.overflow(method), r.keys.overflow(anyName)}
}

// overflowed reports whether a call that was in its queue at before waits in an
// overflow list. If the head of the list is older it does, as far as can be told
// without reading all of the list.
func (r *route) overflowed(ctx context.Context, client redis.UniversalClient, call *pendingCall, before int64) (bool, error) {
	for _, key := range r.overflowKeys(call.method) {
		head, err := client.LIndex(ctx, key, 0).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return false, err
		}
		var oldest request
		if oldest.unpack(head) == nil && oldest.sent <= before+skewTime.Milliseconds() {
			return true, nil
		}
		err = client.LPos(ctx, key, string(call.frame), redis.LPosArgs{}).Err()
		if !errors.Is(err, redis.Nil) {
			return err == nil, err
		}
	}
	return false, nil
}

// remove takes a call out of its queue or overflow list, and reports whether it
// was there.
func (r *route) remove(ctx context.Context, client redis.UniversalClient, call *pendingCall) (bool, error) {
	for _, key := range append([]string{r.queue}, r.overflowKeys(call.method)...) {
		if removed, err := client.LRem(ctx, key, 1, call.frame).Result(); removed > 0 || err != nil {
			return removed > 0, err
		}
	}
	return false, nil
}
