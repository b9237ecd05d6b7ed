package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Times of a route.
const (
	trustTime   = time.Second            // that a worker is believed to be alive
	refreshTime = trustTime / 2          // after which the registry is read again, in the background
	fullTime    = 100 * time.Millisecond // that a full queue gets no further calls
)

// route is what a client knows of an address.
type route struct {
	c       *Client
	to      Address
	keys    keys
	shard   *shard // that has the keys
	queue   string // key
	breaker breaker

	// In ns since the client was made:
	used  atomic.Int64
	alive atomic.Int64 // until when a worker is believed to be alive
	full  atomic.Int64 // until when calls are refused

	result atomic.Int64 // size of recent results, in bytes

	lease atomic.Int64 // of the worker that last announced a call, in ns; 0: unknown

	mu      sync.Mutex
	query   *aliveQuery // under way
	backlog backlog
}

// trustAlive notes that a worker was alive just now.
func (r *route) trustAlive() { r.alive.Store(int64(r.c.age(time.Now()) + trustTime)) }

// aliveQuery is one read of the registry, for which many calls may wait.
type aliveQuery struct {
	done  chan struct{}
	alive int64
	err   error
}

// routeKey is an address; control says that the worker's control list is meant.
type routeKey struct {
	Address
	control bool
}

// route returns the route to an address.
func (c *Client) route(to Address, control bool, now time.Time) (*route, error) {
	id := routeKey{to, control}
	if known, ok := c.routes.Load(id); ok {
		r := known.(*route)
		r.used.Store(int64(c.age(now)))
		return r, nil
	}
	if err := to.check(); err != nil {
		return nil, err
	}
	k, err := typeKeys(c.pool, c.cfg.Site, to.typ)
	if err != nil {
		return nil, err
	}
	r := &route{c: c, to: to, keys: k, shard: c.shardOf(k.base), queue: k.queueOf(to)}
	if control {
		r.queue = k.control(to.id)
	}
	r.used.Store(int64(c.age(now)))
	known, _ := c.routes.LoadOrStore(id, r)
	return known.(*route), nil
}

// age returns a time as routes keep it.
func (c *Client) age(now time.Time) time.Duration { return now.Sub(c.created) }

// check returns nil twice if a call may be sent at once: the queue is not full and a
// worker was alive within the last second. If it returns a query, the call must wait
// for its answer.
func (r *route) check(now time.Time) (wait *aliveQuery, err error) {
	age := int64(r.c.age(now))
	if age < r.full.Load() {
		return nil, fmt.Errorf("%w: more than ClientConfig.MaxQueue, %d calls, or MaxQueueBytes, %d bytes, wait", ErrQueueFull, r.c.cfg.MaxQueue, r.c.cfg.MaxQueueBytes)
	}
	left := r.alive.Load() - age
	if left > int64(trustTime-refreshTime) {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.query == nil {
		r.askLocked()
	}
	if left > 0 {
		return nil, nil
	}
	return r.query, nil
}

// waitUntilOpen waits until a call may be sent, or returns why it may not. That no
// worker is alive is never remembered.
func (r *route) waitUntilOpen(ctx context.Context) error {
	var none time.Time // since when no worker is alive; zero: unknown
	for {
		q, err := r.check(time.Now())
		if q == nil {
			return err
		}
		if err := r.c.pause(ctx, q.done, nil); err != nil {
			return r.shard.because(err)
		}
		var reply redis.Error
		switch {
		case errors.As(q.err, &reply):
			return q.err
		case q.err != nil:
			none = time.Time{}
		case q.alive > 0:
			continue
		case r.noneLives(ctx, &none):
			return ErrNoWorkers
		}
		// Redis is unreachable, or has just returned and workers may not have
		// registered yet.
		if err := r.c.pause(ctx, nil, time.After(redisio.Backoff(1))); err != nil {
			if q.err != nil && ctx.Err() != nil {
				return redisio.Because(err, q.err)
			}
			return r.shard.because(err)
		}
	}
}

// noneLives reports whether it can be relied on that no worker is alive, since the registry
// says so. None is since when it has.
func (r *route) noneLives(ctx context.Context, none *time.Time) bool {
	s := r.shard
	if s.mark != "" {
		if plain, err := r.c.primary(); err != nil || s.renew(ctx, plain) != nil {
			return false
		}
	}
	if none.IsZero() {
		*none = time.Now()
	}
	// The longer wait ends where the connection is cut again and again.
	return s.link.reason() == nil && (s.link.steady() || time.Since(*none) > defaultLease+returnTime)
}

// because returns the end of a context with the reason why Redis can't be
// reached, if it can't.
func (c *Client) because(end error) error {
	if end == ErrClosed {
		return end
	}
	return redisio.Because(end, cmp.Or(c.link.reason(), redisio.Of(c.pool).Writer().Trouble()))
}

// pause waits for one of two channels. It returns an error if ctx ends or the client
// is closed first.
func (c *Client) pause(ctx context.Context, done <-chan struct{}, after <-chan time.Time) error {
	select {
	case <-done:
	case <-after:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return ErrClosed
	}
	return nil
}

// askLocked starts a query.
func (r *route) askLocked() {
	q := &aliveQuery{done: make(chan struct{})}
	r.query = q
	answered := func(n int64, err error) {
		q.alive, q.err = n, err
		if err == nil && n > 0 {
			r.trustAlive()
		}
		r.mu.Lock()
		r.query = nil
		r.mu.Unlock()
		close(q.done)
	}
	command, key, args := r.aliveCommand()
	go redisio.Of(r.c.pool).Writer().Do(lasting(redisio.BlockTime), answered, command, key, args...)
}

// lasting returns a [redisio.Wanted] that ends after d.
func lasting(d time.Duration) redisio.Wanted { return expiry(time.Now().Add(d)) }

type expiry time.Time

func (e expiry) Err() error {
	if time.Now().After(time.Time(e)) {
		return context.DeadlineExceeded
	}
	return nil
}

// aliveCommand returns the command that counts the living workers of the address.
func (r *route) aliveCommand() (command, key string, args []any) {
	if r.to.id != "" {
		return "exists", r.keys.info(r.to.id), nil // lives as long as the lease
	}
	now := strconv.FormatInt(r.c.clock.Now().UnixMilli(), 10)
	return "zcount", r.keys.alive(), []any{now, "+inf"}
}

// onPushed learns from the length of the queue after a request was pushed.
func (r *route) onPushed(size int, length int64, err error) {
	if err != nil {
		return
	}
	bytes, cfg := 0, &r.c.cfg
	if size > cfg.MaxQueueBytes/max(cfg.MaxQueue, 1) { // MaxQueue limits smaller ones
		r.mu.Lock()
		bytes = r.backlog.push(size, length)
		r.mu.Unlock()
	}
	if length > int64(cfg.MaxQueue) || bytes > cfg.MaxQueueBytes {
		r.full.Store(int64(r.c.age(time.Now()) + fullTime))
	}
}

// learnResult notes the size of a result. Large ones count for some time.
func (r *route) learnResult(size int) {
	known := r.result.Load()
	if now := max(int64(size), known-known/8); now != known {
		r.result.Store(now)
	}
}

// backlog has the sizes of a client's large requests that may still be in a queue: no more
// of them than the queue is long, and the newest, since it is first in, first out.
type backlog struct {
	sizes []int
	bytes int
}

// push adds a request, after which the queue has this length, and returns how many bytes
// of the client may be in the queue.
func (b *backlog) push(size int, length int64) int {
	b.sizes = append(b.sizes, size)
	b.bytes += size
	gone := max(0, len(b.sizes)-int(length))
	for _, size := range b.sizes[:gone] {
		b.bytes -= size
	}
	b.sizes = b.sizes[gone:]
	return b.bytes
}
