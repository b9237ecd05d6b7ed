package pubsub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Config configures a [Client]. The zero value is ready to use.
type Config struct {
	// Timeout bounds calls whose context has no deadline. A negative Timeout sets
	// no bound. Defaults to 30 seconds.
	Timeout time.Duration

	// Probe is how long a connection may be silent before the client publishes a
	// message to itself. If that message does not arrive within the same time, the
	// connection is replaced. A negative Probe disables probes. Defaults to 5
	// seconds.
	Probe time.Duration

	// Linger is how long a channel stays subscribed to after its last subscription
	// was closed. With a negative Linger it is unsubscribed at once. Defaults to 1
	// second.
	Linger time.Duration

	// MaxMessage is the size of the largest message that may be published, in
	// encoded bytes. Larger messages are refused with ErrTooLarge. Defaults to 1
	// MiB.
	MaxMessage int

	// MaxSubscriptions is the number of subscriptions and listeners that may be
	// open. More are refused with ErrTooMany. Defaults to 100,000.
	MaxSubscriptions int

	// MaxOverflow is the number of bytes by which all queues with [OverflowBlock]
	// together may exceed their own limits. Defaults to 64 MiB.
	MaxOverflow int

	// Publishing and Receiving are wrapped around the publishing and the delivery
	// of every message. The first is the outermost.
	Publishing, Receiving []Middleware

	// OnEvent is called when a subscribing connection is made or lost. The
	// connection waits until it returns.
	OnEvent func(Event)
}

const defaultProbe = 5 * time.Second

func (c Config) complete() (Config, error) {
	for _, limit := range []struct {
		name string
		n    int
	}{{"MaxMessage", c.MaxMessage}, {"MaxSubscriptions", c.MaxSubscriptions}, {"MaxOverflow", c.MaxOverflow}} {
		if limit.n < 0 {
			return c, fmt.Errorf("pubsub: Config.%s: %d is negative", limit.name, limit.n)
		}
	}
	for _, list := range []struct {
		name  string
		wraps []Middleware
	}{{"Publishing", c.Publishing}, {"Receiving", c.Receiving}} {
		if slices.ContainsFunc(list.wraps, func(m Middleware) bool { return m == nil }) {
			return c, fmt.Errorf("pubsub: Config.%s: one is nil", list.name)
		}
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.Probe = cmp.Or(c.Probe, defaultProbe)
	c.Linger = cmp.Or(c.Linger, time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	c.MaxSubscriptions = cmp.Or(c.MaxSubscriptions, 100_000)
	c.MaxOverflow = cmp.Or(c.MaxOverflow, 64<<20)
	c.Publishing, c.Receiving = slices.Clone(c.Publishing), slices.Clone(c.Receiving)
	return c, nil
}

var (
	// ErrClosed is the error of calls after [Client.Close] or the Close of the
	// pool.
	ErrClosed = errors.New("pubsub: client is closed")
	// ErrTooLarge refuses a message above Config.MaxMessage.
	ErrTooLarge  = errors.New("pubsub: message too large")
	errNilClient = errors.New("client is nil")
	// ErrTooMany refuses a subscription above Config.MaxSubscriptions.
	ErrTooMany = errors.New("pubsub: too many subscriptions")
)

// Client publishes and subscribes. It may be used by several goroutines at once.
// One client per process is best, since its subscriptions share a connection. It
// starts nothing until the first subscription.
type Client struct {
	pool   *storage.Pool
	cfg    Config
	prefix string // of the pool
	id     string
	disown func()

	publishing Handler // the middleware around the writer; nil: there is none

	workers  workers
	lateness lateness
	tokens   tokens
	overflow atomic.Int64 // bytes that the queues of OverflowBlock have borrowed
	stats    clientStats
	logs     logs

	mu     sync.Mutex
	hub    *hub // nil until there is a queue, and then never changed
	closed bool
	done   chan struct{}        // Close has ended
	err    error                // what it returned
	queues map[*queue]*Listener // nil: a Subscription
	past   counts               // of queues that were removed
}

// NewClient returns a client. It does not access Redis. [storage.Pool.Close] closes
// the client if it is still open.
func NewClient(pool *storage.Pool, cfg Config) (*Client, error) {
	if pool == nil {
		return nil, errors.New("pubsub: NewClient: pool is nil")
	}
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	c := &Client{
		pool: pool, cfg: cfg, prefix: pool.Config().Prefix, id: rand.Text(),
		done: make(chan struct{}), queues: make(map[*queue]*Listener),
	}
	c.logs.log = redisio.Of(pool).Logger()
	if len(cfg.Publishing) > 0 {
		c.publishing = wrap(cfg.Publishing, pass)
	}
	if c.disown, err = redisio.Of(pool).Own(c.Close); err != nil {
		return nil, fmt.Errorf("pubsub: NewClient: %w", err)
	}
	return c, nil
}

// Pool returns the pool that the client was made with.
func (c *Client) Pool() *storage.Pool { return c.pool }

// deadline is ctx with the client's Timeout, if it has no deadline.
func (c *Client) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || c.cfg.Timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// remember registers a queue before it joins a route.
func (c *Client) remember(q *queue, l *Listener) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if len(c.queues) >= c.cfg.MaxSubscriptions {
		return fmt.Errorf("%w: Config.MaxSubscriptions is %d", ErrTooMany, c.cfg.MaxSubscriptions)
	}
	if c.hub == nil {
		c.hub = newHub(c)
	}
	c.queues[q] = l
	return nil
}

// forget takes a closed queue off its routes.
func (c *Client) forget(q *queue) {
	c.hub.leave(q)
	c.remove(q)
}

// remove removes a queue and adds its counts to those of past queues.
func (c *Client) remove(q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.queues[q]; ok {
		delete(c.queues, q)
		q.mu.Lock()
		c.past.add(q.counts)
		q.mu.Unlock()
	}
}

// Unlisten closes all listeners to a topic with this name or a pattern with this
// glob, and returns their number. It does not wait for running handlers.
func (c *Client) Unlisten(name string) int {
	c.mu.Lock()
	var named []*Listener
	for q, l := range c.queues {
		if l != nil && q.spec.name == name {
			named = append(named, l)
		}
	}
	c.mu.Unlock()
	for _, l := range named {
		_ = l.Close()
	}
	return len(named)
}

// Close ends all subscriptions and listeners, and returns when no handler,
// goroutine or connection of the client is left. A handler must not call Close: it
// would wait for itself. Further calls wait for the first and return its error.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.done
		return c.err
	}
	c.closed = true
	queues := make([]*queue, 0, len(c.queues))
	for q := range c.queues {
		queues = append(queues, q)
	}
	c.mu.Unlock()
	c.disown()
	for _, q := range queues {
		q.close(ErrClosed)
	}
	for _, q := range queues {
		<-q.done
	}
	c.workers.close()
	if c.hub != nil {
		c.err = c.hub.close()
	}
	close(c.done)
	return c.err
}
