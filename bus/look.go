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
		if n.Err() != nil || n.Val() > 0 {
			continue
		}
		for _, w := range held[worker] {
			c.lose(w)
		}
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
			case removed == 0:
				c.lose(w)
			default:
				c.settle(w, nil, ErrNoWorkers)
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
		taken := w.before > 0 && (empty || oldest.sent > w.before+skewTime.Milliseconds())
		if !taken {
			w.missed = 0
		} else if w.worker == "" {
			w.missed++
		}
		lost := w.missed >= missedLooks
		c.mu.Unlock()
		if lost {
			c.lose(w)
		}
	}
}
