package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// ClientConfig configures a [Client]. The zero value is ready to use.
type ClientConfig struct {
	// Site is the site of the queues. Defaults to bus.DefaultSite.
	Site string

	// Timeout limits a use of the client whose context has no deadline. Negative: no
	// limit. Defaults to 30 seconds.
	Timeout time.Duration

	// MaxQueue is the number of jobs in a queue, waiting, running and due later, above
	// which a Submit ends with ErrQueueFull. The client looks at it ten times a second
	// at most. Defaults to 10 million.
	MaxQueue int

	// MaxMessage is the size limit of a job's arguments, in encoded bytes. Defaults to
	// 1 MiB, the default of bus.WorkerConfig.MaxMessage.
	MaxMessage int
}

// Client submits jobs, looks at them and steers them. It is safe for concurrent use. It
// has a goroutine while jobs are being submitted, and from the first on a connection.
type Client struct {
	pool   *storage.Pool
	cfg    ClientConfig
	closed atomic.Bool
	sender sender
	clock  *redisio.Clock

	mu      sync.Mutex
	lengths map[string]queueLength // by queue
	synced  time.Time              // when the clock was set last
}

// queueLength is what a client knows of a queue's length.
type queueLength struct {
	jobs int64
	at   time.Time
}

// NewClient returns a client. It does not connect to Redis.
func NewClient(pool *storage.Pool, cfg ClientConfig) (*Client, error) {
	cfg.Site = cmp.Or(cfg.Site, bus.DefaultSite)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	cfg.MaxQueue = cmp.Or(cfg.MaxQueue, 10_000_000)
	cfg.MaxMessage = cmp.Or(cfg.MaxMessage, 1<<20)
	switch {
	case pool == nil:
		return nil, errors.New("jobs: NewClient: nil pool")
	case cfg.MaxQueue < 0:
		return nil, invalid("ClientConfig.MaxQueue: %d is negative", cfg.MaxQueue)
	case cfg.MaxMessage < 0:
		return nil, invalid("ClientConfig.MaxMessage: %d is negative", cfg.MaxMessage)
	}
	if err := checkName("ClientConfig.Site", cfg.Site); err != nil {
		return nil, err
	}
	c := &Client{pool: pool, cfg: cfg, clock: redisio.NewClock(nil), lengths: make(map[string]queueLength)}
	c.sender.pool, c.sender.end = pool, c.Close
	return c, nil
}

// Close waits for what is on its way to Redis, and ends everything that begins later
// with [ErrClosed]. Further calls do nothing. The pool stays open.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.sender.close()
	return nil
}

// begin returns the context of a use of the client.
func (c *Client) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if c.closed.Load() {
		return nil, nil, ErrClosed
	}
	if _, ok := ctx.Deadline(); ok || c.cfg.Timeout < 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	return ctx, cancel, nil
}

// job returns the queue of a job's id, and its id in that queue.
func (c *Client) job(id string) (queue, string, error) {
	name, local, ok := strings.Cut(id, ":")
	if !ok {
		return queue{}, "", invalid("id %.300q: not of the form queue:id", id)
	}
	if err := checkName("id", local); err != nil {
		return queue{}, "", err
	}
	q, err := openQueue(c.pool, c.cfg.Site, name)
	return q, local, err
}

// admit refuses more jobs to a queue that has too many.
func (c *Client) admit(ctx context.Context, q queue) error {
	c.mu.Lock()
	known, ok := c.lengths[q.name]
	fresh := ok && time.Since(known.at) < lengthTime
	if !fresh {
		c.lengths[q.name] = queueLength{known.jobs, time.Now()} // others don't ask meanwhile
	}
	c.mu.Unlock()
	if !ok {
		_ = announce(ctx, c.pool, c.pool.Redis(), q) // workers do so too
	}
	if !fresh {
		n, err := c.length(ctx, q)
		if err != nil {
			return nil // the write will say what is wrong
		}
		known.jobs = n
		c.mu.Lock()
		if len(c.lengths) >= maxLengths {
			clear(c.lengths)
		}
		c.lengths[q.name] = queueLength{n, time.Now()}
		c.mu.Unlock()
	}
	if known.jobs >= int64(c.cfg.MaxQueue) {
		return ErrQueueFull
	}
	return nil
}

const (
	lengthTime = 100 * time.Millisecond // how long the length of a queue is believed
	maxLengths = 1024                   // queues whose lengths a client knows
)

// now returns the time of Redis, which it asks once a minute at most.
func (c *Client) now(ctx context.Context) time.Time {
	c.mu.Lock()
	stale := c.synced.IsZero() || time.Since(c.synced) > time.Minute
	c.mu.Unlock()
	if stale && c.clock.Sync(ctx, c.pool.Redis()) == nil {
		c.mu.Lock()
		c.synced = time.Now()
		c.mu.Unlock()
	}
	return c.clock.Now()
}

func (c *Client) length(ctx context.Context, q queue) (n int64, err error) {
	cmds, err := c.pool.Redis().Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range q.streams() {
			p.XLen(ctx, key)
		}
		p.ZCard(ctx, q.later())
		p.ZCard(ctx, q.grouped())
		return nil
	})
	for _, cmd := range cmds {
		n += cmd.(*redis.IntCmd).Val()
	}
	return n, err
}

// untilTaken calls write until Redis has taken it or refused it for good, or ctx ends.
// A write that may be repeated is also tried again when it is unknown what became of it.
func (c *Client) untilTaken(ctx context.Context, repeatable bool, write func() error) error {
	var last error
	for try := 0; ; try++ {
		err := write()
		fate := redisio.FateOf(err)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errUnsettled):
			return indeterminate(redisio.Because(ctx.Err(), last))
		case err == ctx.Err():
			return redisio.Because(err, last)
		case redisio.IsUnknownScript(err): // write sends its text next
			continue
		case errors.Is(err, ErrClosed), fate == redisio.Settled, fate == redisio.Finished:
			return local(err)
		case fate == redisio.Unknown && !repeatable:
			return indeterminate(redisio.Normalize(ctx, err))
		}
		last = err
		if redisio.Sleep(ctx, redisio.Backoff(try)) {
			continue
		}
		if fate == redisio.Unknown {
			return indeterminate(redisio.Because(ctx.Err(), last))
		}
		return redisio.Because(ctx.Err(), last)
	}
}

func indeterminate(err error) error { return fmt.Errorf("%w: %w", ErrIndeterminate, err) }
