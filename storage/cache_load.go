package storage

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// flight is a load that callers of this process wait for together.
// (golang.org/x/sync/singleflight can't tell when no caller waits any more.)
type flight[T any] struct {
	cancel  context.CancelFunc
	waiters int           // guarded by Cache.mu
	done    chan struct{} // closed when the fields below are set
	v       T
	err     error
	panic   *loadPanic
}

// loadPanic is the panic of load, with which its callers panic too.
type loadPanic struct {
	value any
	stack []byte
}

func (p *loadPanic) Error() string {
	return fmt.Sprintf("storage: cache: load panicked: %v\n\n%s", p.value, p.stack)
}

func (p *loadPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// join waits for the load of a key, and starts it if none is under way.
func (c *Cache[T]) join(ctx context.Context, at cached, load func(context.Context) (T, error), away bool) (T, error) {
	var zero T
	c.mu.Lock()
	if c.closed.Load() {
		c.mu.Unlock()
		return zero, ErrClosed
	}
	f := c.flights[at.key]
	if f == nil {
		inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight[T]{cancel: cancel, done: make(chan struct{})}
		c.flights[at.key], c.loading[f] = f, struct{}{}
		c.running.Go(func() { c.fly(inner, at, f, load, away) })
	} else {
		c.stats.joined.Add(1)
	}
	f.waiters++
	c.mu.Unlock()

	var err error
	select {
	case <-f.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	f.waiters--
	if f.waiters == 0 {
		f.cancel()
		c.landLocked(at, f) // later callers must not wait for a load that was cancelled
	}
	c.mu.Unlock()
	if err != nil {
		return zero, err
	}
	if f.panic != nil {
		panic(f.panic)
	}
	return f.v, f.err
}

// landLocked lets no further caller join a flight.
func (c *Cache[T]) landLocked(at cached, f *flight[T]) {
	if c.flights[at.key] == f {
		delete(c.flights, at.key)
	}
}

func (c *Cache[T]) fly(ctx context.Context, at cached, f *flight[T], load func(context.Context) (T, error), away bool) {
	f.err = errors.New("storage: cache: load ended its goroutine") // unless it returns or panics
	defer func() {
		if v := recover(); v != nil {
			c.stats.loadErrors.Add(1)
			f.panic = &loadPanic{v, debug.Stack()}
		}
		if c.closed.Load() && errors.Is(f.err, context.Canceled) {
			f.err = ErrClosed
		}
		c.mu.Lock()
		c.landLocked(at, f)
		delete(c.loading, f)
		if f.panic != nil && f.waiters == 0 {
			c.pool.cfg.Logger.Error("storage: cache: load panicked after its last caller gave up", "cache", c.name, "panic", f.panic)
		}
		c.mu.Unlock()
		close(f.done)
		f.cancel()
	}()
	f.v, f.err = c.fetch(ctx, at, load, away)
}

// cacheClaim returns the value, or 1 if the lock was free and is now ours, or 0 if
// another process is loading. A value that is known to be damaged counts as absent.
var cacheClaim = redisio.NewScript(`
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[3] then return v end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0`)

// A Get that waits for another process asks again after this time, doubled with each
// try.
const (
	minClaimPause = 5 * time.Millisecond
	maxClaimPause = 100 * time.Millisecond
)

// lockSlack is how much longer the lock is held than a load may take: the time to store
// a value that was loaded at the last moment.
const lockSlack = 2 * time.Second

// fetch waits for the value, or loads it. Away reports that Redis is unreachable.
func (c *Cache[T]) fetch(ctx context.Context, at cached, load func(context.Context) (T, error), away bool) (v T, err error) {
	var zero T
	token, keep := crand.Text(), false
	if !away {
		var how claim
		if v, how, err = c.claim(ctx, at, token); how == answered {
			return v, err
		} else if how == ours {
			keep = true
		}
	}
	if !keep {
		c.stats.unlocked.Add(1)
	}
	defer func() {
		if keep { // nothing was loaded, perhaps because of a panic
			c.release(ctx, at, token)
		}
	}()
	inner, cancel := context.WithTimeout(ctx, c.opts.LoadTimeout)
	defer cancel()
	c.stats.loads.Add(1)
	v, err = load(inner)

	var data []byte
	ttl := c.opts.TTL
	switch {
	case err == nil:
		var bad error
		if data, bad = c.encode(v); bad != nil {
			return zero, bad
		}
		if len(data)-1 > c.opts.MaxValue {
			c.stats.tooLarge.Add(1)
			return v, nil
		}
	case errors.Is(err, ErrNotFound):
		if v, ttl = zero, c.opts.NegativeTTL; ttl == 0 {
			return zero, err
		}
		data = []byte{cachedAbsent}
	default:
		c.stats.loadErrors.Add(1)
		return zero, err
	}
	if keep {
		c.keep(ctx, at, token, data, ttl)
		keep = false
	}
	return v, err
}

// claim is the result of asking for the lock.
type claim int

const (
	answered claim = iota // there is a value now, or no use in loading
	ours                  // the lock is ours, or may be
	unlocked              // load without it
)

func (c *Cache[T]) claim(ctx context.Context, at cached, token string) (v T, how claim, err error) {
	lease := (c.opts.LoadTimeout + lockSlack).Milliseconds()
	known := "" // to be damaged
	for begin, try := time.Now(), 0; ; try++ {
		answer, err := at.run(ctx, cacheClaim, []string{at.key, at.lock}, token, lease, known)
		if err != nil {
			if c.final(ctx, err) {
				return v, answered, err
			}
			c.trouble(err)
			if errors.Is(err, ErrIndeterminate) {
				return v, ours, nil
			}
			return v, unlocked, nil
		}
		if data, there := answer.(string); there {
			v, err := c.decode(data)
			var bad *damaged
			if errors.As(err, &bad) {
				known = bad.data
				continue
			}
			c.stats.waited.Add(1)
			return v, answered, err
		}
		if answer == int64(1) {
			return v, ours, nil
		}
		if time.Since(begin) > c.opts.LoadTimeout {
			return v, unlocked, nil
		}
		d := min(minClaimPause<<min(try, 10), maxClaimPause)
		if !redisio.Sleep(ctx, d/2+rand.N(d/2)) {
			return v, answered, ctx.Err()
		}
	}
}

var (
	cacheKeep = redisio.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`)
	cacheRelease = redisio.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// keepTime bounds the time to store a value after a load: its callers wait for that
// too, and their contexts don't end it.
const keepTime = 2 * time.Second

// keep stores the loaded value if the lock is still ours, and releases the lock.
func (c *Cache[T]) keep(ctx context.Context, at cached, token string, data []byte, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	kept, err := flag(at.run(ctx, cacheKeep, []string{at.key, at.lock}, token, data, c.life(ttl)))
	c.local.drop(at.key) // it may hold that there is no value
	switch {
	case err != nil:
		c.trouble(err)
	case !kept:
		c.stats.overtaken.Add(1)
	}
}

// release releases the lock, so that other processes need not wait for its end.
func (c *Cache[T]) release(ctx context.Context, at cached, token string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	if _, err := at.run(ctx, cacheRelease, []string{at.lock}, token); err != nil {
		c.trouble(err)
	}
}
