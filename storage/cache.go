package storage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// ErrNotFound is returned, or wrapped, by the load function of a [Cache] if there is
// nothing to load. The cache keeps this result for CacheOptions.NegativeTTL.
var ErrNotFound = errors.New("storage: not found")

// CacheOptions are the options of a [Cache].
type CacheOptions struct {
	// Codec encodes the values in Redis. Defaults to MsgPack.
	Codec Codec
	// TTL is how long a value is kept. Defaults to 5 minutes.
	TTL time.Duration
	// Jitter is the largest part of TTL, below 1, by which the life of a value is
	// shortened at random, so that values loaded at the same time don't expire at the
	// same time. Defaults to 0.1; negative means none.
	Jitter float64
	// NegativeTTL is how long ErrNotFound is kept. Defaults to 10 seconds, or TTL if
	// that is less; negative means that it is not kept.
	NegativeTTL time.Duration
	// LoadTimeout is how long a load may take, and how long a process waits for the
	// load of another process before it loads by itself. Defaults to 10 seconds.
	LoadTimeout time.Duration
	// MaxValue is the largest size of an encoded value that is kept, in bytes. Larger
	// values are returned and not kept. Defaults to 1 MiB.
	MaxValue int

	// MaxLocal is the number of values that are also kept in the process. Defaults to
	// none. This local layer uses a client of its own, which Redis notifies of
	// changes. It needs a standalone server, database 0 and RESP3; without them there
	// is no local layer, and CacheStats.NoLocal says why.
	MaxLocal int
	// MaxLocalBytes is the approximate size of the values in the local layer, in
	// bytes. Defaults to 64 MiB. One value may have a 16th of it.
	MaxLocalBytes int
	// LocalTTL is how long a value stays in the local layer before Redis is asked
	// again. A value may outlive its TTL by as much, since Redis reports that a key
	// has expired only when it deletes the key. Defaults to 10 seconds.
	LocalTTL time.Duration
}

func (o CacheOptions) complete() (CacheOptions, error) {
	if !o.Codec.Valid() {
		return o, fmt.Errorf("storage: CacheOptions.Codec: no %v", o.Codec)
	}
	for field, n := range map[string]int{"MaxValue": o.MaxValue, "MaxLocal": o.MaxLocal, "MaxLocalBytes": o.MaxLocalBytes} {
		if n < 0 {
			return o, fmt.Errorf("storage: CacheOptions.%s: %d is negative", field, n)
		}
	}
	o.TTL = cmp.Or(o.TTL, 5*time.Minute)
	o.NegativeTTL = max(cmp.Or(o.NegativeTTL, min(10*time.Second, o.TTL)), 0)
	o.LoadTimeout = cmp.Or(o.LoadTimeout, 10*time.Second)
	o.LocalTTL = cmp.Or(o.LocalTTL, 10*time.Second)
	for field, ttl := range map[string]time.Duration{"TTL": o.TTL, "NegativeTTL": o.NegativeTTL, "LoadTimeout": o.LoadTimeout, "LocalTTL": o.LocalTTL} {
		if err := checkTTL("CacheOptions."+field, ttl); err != nil {
			return o, err
		}
	}
	o.Jitter = max(cmp.Or(o.Jitter, 0.1), 0)
	if !(o.Jitter < 1) {
		return o, fmt.Errorf("storage: CacheOptions.Jitter: %v is not less than 1", o.Jitter)
	}
	o.MaxValue = cmp.Or(o.MaxValue, 1<<20)
	o.MaxLocalBytes = cmp.Or(o.MaxLocalBytes, 64<<20)
	return o, nil
}

// Cache keeps values that are expensive to load, by key: in Redis for all processes
// and, with CacheOptions.MaxLocal, in this process too. A key is any string.
//
// A value that many callers ask for at the same time is loaded once. Callers in one
// process wait for one load; between processes a lock with a lease lets one process
// load while the others wait for the value.
type Cache[T any] struct {
	pool   *Pool
	name   string
	opts   CacheOptions
	local  *localLayer // nil if MaxLocal is 0
	disown func()
	stats  cacheStats
	noise  redisio.Throttle

	mu      sync.Mutex
	flights map[string]*flight[T]   // loads that a Get may join, by Redis key
	loading map[*flight[T]]struct{} // all loads under way
	closed  atomic.Bool             // set under mu
	running sync.WaitGroup          // one for each of loading
}

// NewCache returns the cache with a name. It does not access Redis.
func NewCache[T any](pool *Pool, name string, opts ...CacheOptions) (*Cache[T], error) {
	o, err := only(opts)
	if err == nil {
		o, err = o.complete()
	}
	if err != nil {
		return nil, err
	}
	if _, err := newObject(pool, "string", name); err != nil {
		return nil, err
	}
	c := &Cache[T]{pool: pool, name: name, opts: o, flights: make(map[string]*flight[T]), loading: make(map[*flight[T]]struct{})}
	if o.MaxLocal > 0 {
		c.local = newLocalLayer(pool, o)
	}
	if c.disown, err = (plumbing{pool}).Own(c.Close); err != nil {
		return nil, err
	}
	return c, nil
}

// cached is the place of a value: its object, and the key of its lock.
type cached struct {
	object
	lock string
}

// at returns the place of a key. A key that is no valid name, or that looks like a
// hash, is replaced by its SHA-256.
func (c *Cache[T]) at(key string) (cached, error) {
	switch {
	case c.closed.Load():
		return cached{}, ErrClosed
	case key == "":
		return cached{}, fmt.Errorf("storage: cache %q: empty key", c.name)
	}
	if redisio.CheckName(key) != nil || key[0] == '#' {
		sum := sha256.Sum256([]byte(key))
		key = "#" + hex.EncodeToString(sum[:])
	}
	obj, err := objectAt(c.pool, "string", c.name, redisio.HashTag(key))
	return cached{obj, obj.key + ":lock"}, err
}

// Get returns the value of key, and loads it if it is not there. Load runs on a
// goroutine of its own, with the values of ctx and an end after
// CacheOptions.LoadTimeout: the end of one caller's ctx ends only that
// caller's wait, and the load ends when no caller waits for it any more.
//
//   - An error of load is returned to all who waited, and not kept, save
//     [ErrNotFound]. A panic in load goes on in all who waited.
//   - Callers that waited together get the same value: pointers in it are shared.
//   - Where Redis is away, load is called all the same, by one at a time in this
//     process, and nothing is kept.
func (c *Cache[T]) Get(ctx context.Context, key string, load func(ctx context.Context) (T, error)) (T, error) {
	var zero T
	if load == nil {
		return zero, fmt.Errorf("storage: cache %q: nil load", c.name)
	}
	at, err := c.at(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return zero, err
	}
	v, err := c.lookup(ctx, at)
	var bad *damaged
	switch {
	case err == nil:
		c.stats.hits.Add(1)
		return v, nil
	case errors.Is(err, ErrNotFound):
		c.stats.hits.Add(1)
		c.stats.negative.Add(1)
		return zero, err
	case errors.Is(err, redis.Nil), errors.As(err, &bad):
		c.stats.misses.Add(1)
		return c.join(ctx, at, load, false)
	case c.final(ctx, err):
		return zero, err
	}
	c.trouble(err)
	c.stats.misses.Add(1)
	return c.join(ctx, at, load, true)
}

// final reports whether an error of Redis ends a Get: loading would not mend it.
func (c *Cache[T]) final(ctx context.Context, err error) bool {
	var wrong *WrongTypeError
	return redisio.Ended(ctx) || errors.Is(err, ErrClosed) || errors.As(err, &wrong)
}

// lookup asks for a value, once: with Redis away loading must not wait.
func (c *Cache[T]) lookup(ctx context.Context, at cached) (v T, err error) {
	var data string
	if local := c.local.client(ctx); local != nil {
		data, err = local.Get(ctx, at.key).Result()
	} else {
		cmd := redisio.Once(ctx, "get", at.key)
		_ = c.pool.objects().Process(ctx, cmd)
		data, err = cmd.Text()
	}
	if err != nil {
		return v, at.explain(ctx, err)
	}
	return c.decode(data)
}

// The first byte of what is kept says what it is.
const (
	cachedValue  = 'v' // and the encoded value behind it
	cachedAbsent = 'n' // ErrNotFound
)

// damaged is the error of content that is no value of this cache: another
// version of the program wrote it. It counts as absent.
type damaged struct{ data string }

func (*damaged) Error() string { return "storage: cache: damaged" }

func (c *Cache[T]) decode(data string) (v T, err error) {
	switch {
	case data == string(cachedAbsent):
		return v, ErrNotFound
	case data != "" && data[0] == cachedValue && c.opts.Codec.Unmarshal([]byte(data[1:]), &v) == nil:
		return v, nil
	}
	c.stats.damaged.Add(1)
	var zero T
	return zero, &damaged{data}
}

func (c *Cache[T]) encode(v T) ([]byte, error) {
	data, err := c.opts.Codec.Append([]byte{cachedValue}, v)
	if err != nil {
		return nil, fmt.Errorf("cache %q: %w", c.name, err)
	}
	return data, nil
}

// life returns a time to live in milliseconds, with jitter.
func (c *Cache[T]) life(ttl time.Duration) int64 {
	return max(1, (ttl - time.Duration(rand.Float64()*c.opts.Jitter*float64(ttl))).Milliseconds())
}

// Both take the lock from who is loading: what was read before is not kept.
var (
	cachePut = redisio.NewScript(`
redis.call('STRLEN', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1`)
	cacheDelete = redisio.NewScript(`
redis.call('STRLEN', KEYS[1])
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])`)
)

// Put sets the value of key. A Get that begins afterwards in this process
// returns it or a later one, and no load that began before replaces it.
func (c *Cache[T]) Put(ctx context.Context, key string, v T) error {
	data, err := c.encode(v)
	if err != nil {
		return err
	}
	if len(data)-1 > c.opts.MaxValue {
		return fmt.Errorf("storage: cache %q: the value has %d bytes, CacheOptions.MaxValue is %d", c.name, len(data)-1, c.opts.MaxValue)
	}
	_, err = c.change(ctx, key, cachePut, data, c.life(c.opts.TTL))
	return err
}

// Delete forgets the value of key, or that there is none, and reports whether
// there was anything. A Get that begins afterwards in this process loads anew,
// and no load that began before is kept. In another process a Get may still
// join a load that is under way there.
func (c *Cache[T]) Delete(ctx context.Context, key string) (bool, error) {
	return c.change(ctx, key, cacheDelete)
}

func (c *Cache[T]) change(ctx context.Context, key string, s redisio.Script, args ...any) (bool, error) {
	at, err := c.at(key)
	if err != nil {
		return false, err
	}
	done, err := flag(at.run(ctx, s, []string{at.key, at.lock}, args...))
	c.local.drop(at.key)
	c.mu.Lock()
	delete(c.flights, at.key)
	c.mu.Unlock()
	return done, err
}

// trouble notes that Redis could not be asked, which no caller is told.
func (c *Cache[T]) trouble(err error) {
	c.stats.redisErrors.Add(1)
	c.noise.Warn(c.pool.cfg.Logger, "storage: cache without Redis", "cache", c.name, "error", err)
}

// Close ends the loads under way, waits for them and closes the local layer.
// The pool does it too, when it is closed.
func (c *Cache[T]) Close() error {
	c.mu.Lock()
	c.closed.Store(true)
	for f := range c.loading {
		f.cancel()
	}
	c.mu.Unlock()
	c.running.Wait()
	c.disown()
	return c.local.close()
}

// CacheStats counts what a cache did in this process.
type CacheStats struct {
	Hits        int64 `json:"hits"`         // of Get, ErrNotFound included
	Negative    int64 `json:"negative"`     // hits that were ErrNotFound
	Misses      int64 `json:"misses"`       // of Get
	Joined      int64 `json:"joined"`       // misses that waited for a load already under way here
	Waited      int64 `json:"waited"`       // loads avoided, since another process had the value in time
	Loads       int64 `json:"loads"`        // calls of load
	LoadErrors  int64 `json:"load_errors"`  // loads that returned an error other than ErrNotFound, or panicked
	Unlocked    int64 `json:"unlocked"`     // loads without the lock: Redis was unreachable, or the lock's holder took too long
	Damaged     int64 `json:"damaged"`      // values of Redis that could not be decoded
	TooLarge    int64 `json:"too_large"`    // values not kept because of MaxValue
	Overtaken   int64 `json:"overtaken"`    // values not kept because of a Put, a Delete or the end of the lease
	RedisErrors int64 `json:"redis_errors"` // failed commands
	Loading     int   `json:"loading"`      // loads under way

	LocalHits   int64  `json:"local_hits"`         // hits of the local layer
	LocalValues int    `json:"local_values"`       // values in the local layer
	LocalBytes  int64  `json:"local_bytes"`        // their approximate size
	NoLocal     string `json:"no_local,omitempty"` // why there is no local layer; empty if there is one, or before the first Get
}

type cacheStats struct {
	hits, negative, misses, joined, waited, loads, loadErrors, unlocked atomic.Int64
	damaged, tooLarge, overtaken, redisErrors                           atomic.Int64
}

// Stats returns the counts of the cache.
func (c *Cache[T]) Stats() CacheStats {
	n := &c.stats
	s := CacheStats{
		Hits: n.hits.Load(), Negative: n.negative.Load(), Misses: n.misses.Load(),
		Joined: n.joined.Load(), Waited: n.waited.Load(),
		Loads: n.loads.Load(), LoadErrors: n.loadErrors.Load(), Unlocked: n.unlocked.Load(),
		Damaged: n.damaged.Load(), TooLarge: n.tooLarge.Load(), Overtaken: n.overtaken.Load(),
		RedisErrors: n.redisErrors.Load(),
	}
	c.local.stats(&s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Loading = len(c.loading)
	return s
}
