package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// ClientConfig configures a [Client]. The zero value is ready to use.
type ClientConfig struct {
	// Site is the site whose workers are called. Defaults to DefaultSite.
	Site string

	// Timeout limits a call whose context has no deadline. Negative: no limit.
	// Defaults to 30 seconds.
	Timeout time.Duration

	// MaxQueue is the length of a worker's or group's queue above which further
	// calls to it end with ErrQueueFull for 100 ms. The client learns the length
	// when it sends. Defaults to 10,000.
	MaxQueue int

	// MaxQueueBytes is the size of this client's requests that may wait in one queue,
	// in bytes. Above it further calls end with ErrQueueFull, as above MaxQueue.
	// Requests smaller than MaxQueueBytes / MaxQueue are not counted. Defaults to 256 MiB.
	MaxQueueBytes int

	// MaxPending is the number of calls that may wait for their replies in this
	// client. Further calls end with ErrQueueFull. Defaults to 65,536.
	MaxPending int

	// MaxPendingBytes is the size of the calls that may wait for their replies, in
	// bytes: of their requests and of their results, which are taken to be as large as
	// recent results of the same worker or group. Such results are in Redis's memory
	// until the client has read them. Further calls end with ErrQueueFull. The items of
	// streams are limited by StreamOptions instead. Defaults to 256 MiB.
	MaxPendingBytes int

	// MaxMessage is the size limit of arguments, in encoded bytes. A call with
	// larger ones ends with ErrTooLarge. Defaults to 1 MiB.
	MaxMessage int

	// Retry says when a call is made again. Defaults as its fields say.
	Retry Retry

	// Breaker says when calls to an address are refused. Defaults to never.
	Breaker Breaker

	// Middleware wraps every call; the first is the outermost.
	Middleware []Middleware
}

func (c ClientConfig) complete() (ClientConfig, error) {
	c.Site = cmp.Or(c.Site, DefaultSite)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.MaxQueue = cmp.Or(c.MaxQueue, 10_000)
	c.MaxQueueBytes = cmp.Or(c.MaxQueueBytes, 256<<20)
	c.MaxPending = cmp.Or(c.MaxPending, 65_536)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 256<<20)
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	if err := checkName("ClientConfig.Site", c.Site); err != nil {
		return c, err
	}
	var err error
	if c.Retry, err = c.Retry.complete("ClientConfig"); err != nil {
		return c, err
	}
	if c.Breaker, err = c.Breaker.complete(); err != nil {
		return c, err
	}
	c.Middleware = slices.Clone(c.Middleware)
	for i, m := range c.Middleware {
		if m == nil {
			return c, fmt.Errorf("bus: ClientConfig.Middleware[%d] is nil", i)
		}
	}
	for _, limit := range []struct {
		name string
		n    int
	}{
		{"MaxQueue", c.MaxQueue}, {"MaxQueueBytes", c.MaxQueueBytes}, {"MaxPending", c.MaxPending},
		{"MaxPendingBytes", c.MaxPendingBytes}, {"MaxMessage", c.MaxMessage},
	} {
		if limit.n < 0 {
			return c, fmt.Errorf("bus: ClientConfig.%s: %d is negative", limit.name, limit.n)
		}
	}
	return c, nil
}

// Client calls workers. It is safe for concurrent use. From its first call until
// Close it has two goroutines and two connections of its own.
type Client struct {
	pool     *storage.Pool
	cfg      ClientConfig
	chain    Next   // the middleware, of carryOut; nil: none
	id       string // host:pid:uid
	inbox    inbox
	clock    *redisio.Clock
	link     connection
	stats    clientStats
	throttle redisio.Throttle

	created time.Time
	opening chan struct{} // holds a token; the goroutine that takes it may open the inbox
	opened  atomic.Bool   // the inbox exists
	closed  chan struct{}
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	disown  func()

	clustered bool
	home      *shard   // of the inbox
	shards    sync.Map // base of keys → *shard, on a cluster

	routes    sync.Map // routeKey → *route
	lastID    atomic.Uint64
	timers    timers
	mu        sync.Mutex
	plain     redis.UniversalClient   // see primary; nil until used
	calls     map[uint64]*pendingCall // that wait for their replies, by id
	callBytes int                     // the sum of their sizes
}

// NewClient returns a client. It does not connect to Redis.
func NewClient(pool *storage.Pool, cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.complete()
	if err == nil && pool == nil {
		err = errors.New("bus: NewClient: nil pool")
	}
	if err != nil {
		return nil, err
	}
	id, _, _ := newID()
	c := &Client{
		pool: pool, cfg: cfg, id: id, clock: redisio.NewClock(nil),
		opening: make(chan struct{}, 1), closed: make(chan struct{}),
		created: time.Now(), calls: make(map[uint64]*pendingCall),
	}
	if c.chain, err = wrap("ClientConfig.Middleware", cfg.Middleware, carryOut); err != nil {
		return nil, err
	}
	c.opening <- struct{}{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.link.log, c.link.back = redisio.Of(pool).Logger().With("client", id), c.resume
	key, err := inboxKey(pool, cfg.Site, id)
	if err != nil {
		return nil, err
	}
	c.inbox = inbox{c: c, key: key}
	c.home = newShard(c, &c.link, "")
	_, c.clustered = pool.Redis().(*redis.ClusterClient)
	return c, nil
}

// Pool returns the pool that the client was made with.
func (c *Client) Pool() *storage.Pool { return c.pool }

// Site returns the site whose workers the client calls.
func (c *Client) Site() string { return c.cfg.Site }

// deadline returns when a call that begins now ends; zero: never.
func (c *Client) deadline(ctx context.Context, now time.Time) time.Time {
	if at, ok := ctx.Deadline(); ok {
		return at
	}
	if c.cfg.Timeout < 0 {
		return time.Time{}
	}
	return now.Add(c.cfg.Timeout)
}

// withEnd returns ctx with the deadline of a call; zero: none.
func withEnd(ctx context.Context, end time.Time) (context.Context, context.CancelFunc) {
	if end.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end)
}

// open makes the inbox and starts the client's goroutines, unless that was done. It
// tries until ctx ends.
func (c *Client) open(ctx context.Context) error {
	if c.opened.Load() {
		return nil
	}
	select {
	case <-c.opening:
	case <-ctx.Done():
		return c.because(ctx.Err())
	case <-c.closed:
		return ErrClosed
	}
	defer func() { c.opening <- struct{}{} }()
	if c.opened.Load() {
		return nil
	}
	if closed(c.closed) {
		return ErrClosed
	}
	plain, err := c.primary()
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		if err = c.syncClock(ctx, plain); err == nil {
			if _, err = c.inbox.create(ctx, plain); err == nil {
				break
			}
		}
		if ctx.Err() != nil || isPermanent(err) {
			break
		}
		c.link.markDown(err)
		select {
		case <-ctx.Done():
		case <-c.closed:
			err = ErrClosed
		case <-time.After(redisio.Backoff(try)):
			continue
		}
		break
	}
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	c.link.markUp()
	c.tasks.Go(func() { c.housekeep(plain) })
	c.tasks.Go(c.inbox.read)
	c.opened.Store(true)
	return nil
}

// primary returns the client's own connections. They lead to primaries alone: what a
// replica says may be of before, and decides nothing.
func (c *Client) primary() (redis.UniversalClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if closed(c.closed) {
		return nil, ErrClosed
	}
	if c.plain == nil {
		disown, err := redisio.Of(c.pool).Own(c.Close)
		if err != nil {
			return nil, local(err)
		}
		c.plain, c.disown = redisio.Of(c.pool).Dedicated(), disown
	}
	return c.plain, nil
}

// ask carries out a read by the client's own connections. While Redis can't be reached,
// or refuses the read for some time, it tries again, until ctx ends.
func (c *Client) ask(ctx context.Context, read func(ctx context.Context, from redis.UniversalClient) error) error {
	from, err := c.primary()
	if err != nil {
		return err
	}
	var reason error // of the wait
	for try := 0; ; try++ {
		err := read(ctx, from)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return redisio.Because(ctx.Err(), cmp.Or(redisio.Reason(err), reason, c.link.reason()))
		case !mayPass(err):
			return local(err)
		}
		reason = err
		if end := c.pause(ctx, nil, time.After(redisio.Backoff(try))); end != nil {
			if end == ErrClosed {
				return end
			}
			return redisio.Because(end, reason)
		}
	}
}

// mayPass reports whether a command that failed may succeed a little later.
func mayPass(err error) bool {
	fate := redisio.FateOf(err)
	return fate == redisio.Unsent || fate == redisio.Unknown
}

// syncClock asks the server of the inbox for its time: another one of a cluster may be
// unreachable.
func (c *Client) syncClock(ctx context.Context, plain redis.UniversalClient) error {
	server, err := redisio.PrimaryOf(ctx, plain, c.inbox.key)
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	return c.clock.Sync(ctx, server)
}

// Close ends the client's calls with [ErrClosed] and returns once its goroutines
// have ended. Further calls do nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !closed(c.closed)
	if first {
		close(c.closed)
	}
	waiting := slices.Collect(maps.Values(c.calls))
	c.mu.Unlock()
	for _, call := range waiting {
		c.settle(call, nil, ErrClosed)
	}
	<-c.opening // the inbox is not opened any more
	defer func() { c.opening <- struct{}{} }()
	c.cancel()
	c.tasks.Wait()
	if first && c.plain != nil {
		c.disown()
		_ = c.plain.Close()
	}
	return nil
}

const (
	inboxTTL   = 30 * time.Second
	tickTime   = time.Second     // between two renewals of the inbox, and two searches for lost calls
	routeIdle  = time.Minute     // after which an unused route is forgotten
	returnTime = 3 * time.Second // that workers need to renew their leases after Redis has returned
)

// housekeep renews the inbox and searches for lost calls until the client is closed.
func (c *Client) housekeep(plain redis.UniversalClient) {
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			if c.link.reachable() {
				_ = plain.Del(ctx, c.inbox.key).Err()
			}
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(c.ctx, redisio.BlockTime)
		err := c.syncClock(ctx, plain)
		if err == nil {
			err = c.renew(ctx, plain)
		}
		if c.link.markRenewed(err); err == nil {
			c.findLostCalls(ctx, plain)
		}
		cancel()
	}
}

// resume is called when Redis can be reached again.
func (c *Client) resume() {
	// A connection that has broken is found by a command that does no harm: of a request
	// written to it, it would be unknown whether Redis has it.
	redisio.Of(c.pool).Writer().Do(lasting(redisio.BlockTime), func(int64, error) {}, "pexpire", c.inbox.key, inboxTTL.Milliseconds())
	c.repeatCredits()
}

// renew keeps the inbox alive. If the inbox is gone, Redis has lost its data: no
// worker is taken to be lost until workers had time to register again, and streams
// are broken, since their items may have been in the inbox.
func (c *Client) renew(ctx context.Context, client redis.UniversalClient) error {
	made, err := c.inbox.create(ctx, client)
	if made {
		c.link.markReset()
		c.doubtAnnouncements()
		c.breakStreams()
	}
	return err
}
