package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// A worker that dies tells nobody. Calls that it has held for a while were
// announced, and end with its lease. For all others their client looks at the
// queue, which is first in, first out: what was pushed before the request that
// is at its head now has been taken by somebody.
const (
	missedLooks = 3                      // that find a call taken and not announced: it is lost
	deadLooks   = 2                      // that find nothing of the worker that holds it
	skewTime    = 100 * time.Millisecond // by which two clients' clocks may differ
	silentTime  = 4 * announceTime       // after which a worker that lives does not hold a call any more
)

// look ends the calls that have waited for more than a second for somebody who
// is not there any more, and forgets routes that nobody uses.
func (c *Client) look(ctx context.Context, client redis.UniversalClient) {
	now := time.Now()
	held := map[string][]*call{}   // by worker
	queued := map[*route][]*call{} // not announced
	var silent []*call
	c.mu.Lock()
	for _, w := range c.calls {
		switch {
		case w.lost || now.Sub(w.since) < tickTime:
		case w.worker == "":
			queued[w.route] = append(queued[w.route], w)
		case now.Sub(w.heard) > silentTime:
			silent = append(silent, w)
		default:
			held[w.worker] = append(held[w.worker], w)
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
	if !c.link.settled(returnTime) {
		return
	}
	for _, w := range silent {
		c.lose(w)
	}
	c.lookFor(ctx, client, held)
	for r, calls := range queued {
		c.lookAt(ctx, client, r, calls)
	}
}

// lookFor ends the calls that dead workers hold.
func (c *Client) lookFor(ctx context.Context, client redis.UniversalClient, held map[string][]*call) {
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
		for _, w := range held[worker] {
			c.miss(w, worker, n.Val() == 0, deadLooks)
		}
	}
}

// miss notes whether a look found a call missing where it should be, with the
// worker that was last heard of it ("": in its queue), and ends it when so many
// did in a row. One alone proves nothing: a worker that stops may have given it
// back or answered it, and the word of that is still on its way.
func (c *Client) miss(w *call, worker string, missing bool, looks int) {
	c.mu.Lock()
	switch {
	case w.worker != worker: // somebody has spoken since
		missing = false
	case missing:
		w.missed++
	default:
		w.missed = 0
	}
	lost := missing && w.missed >= looks
	c.mu.Unlock()
	if lost {
		c.lose(w)
	}
}

// lookAt ends the calls of a route that are taken to be lost.
func (c *Client) lookAt(ctx context.Context, client redis.UniversalClient, r *route, calls []*call) {
	command, key, args := r.census()
	switch n, err := client.Do(ctx, append([]any{command, key}, args...)...).Int64(); {
	case err != nil:
		return
	case n == 0:
		for _, w := range calls {
			// Still in the queue: nobody took it, and now nobody will.
			switch removed, err := client.LRem(ctx, r.queue, 1, w.frame).Result(); {
			case err != nil:
			case removed > 0:
				c.settle(w, nil, ErrNoWorkers)
			default: // who took it may have left, and not yet ended it
				c.miss(w, "", w.written.Load(), missedLooks)
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
		return // taken soon, and then answered for
	}
	now := c.clock.Now().UnixMilli()
	for _, w := range calls {
		c.mu.Lock()
		if w.before == 0 && w.written.Load() {
			w.before = now
		}
		before, first := w.before, w.missed == 0
		c.mu.Unlock()
		taken := before > 0 && (empty || oldest.sent > before+skewTime.Milliseconds())
		if taken && first && !empty {
			// What two stopping workers gave back may lie in another order.
			err := client.LPos(ctx, r.queue, string(w.frame), redis.LPosArgs{}).Err()
			taken = errors.Is(err, redis.Nil)
		}
		c.miss(w, "", taken, missedLooks)
	}
}
