package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// ClientConfig configures a [Client]. The zero value is ready to use.
type ClientConfig struct {
	// Timeout bounds calls whose context has no deadline, except Watch, WatchText,
	// WaitFor and WaitForExpr. Defaults to 30 seconds. Negative: no bound.
	Timeout time.Duration

	// Origin says who the client is. A dispatcher's Allow function gets it, and it is
	// the Value.Source of what the client sets. Defaults to the user, host, process
	// number and program of this process.
	Origin Origin

	// MaxCached is the maximum number of keywords that are followed for reads with
	// ReadOptions.Cached. Such reads of further keywords ask Redis. Defaults to 1,024.
	MaxCached int

	// PubSub carries watches and listeners, and Bus carries modifies and refreshes. Both
	// must be clients of the pool that NewClient gets, and Bus of bus.DefaultSite. Close
	// leaves them open. Each saves the connections of a client of its own: one for PubSub,
	// two for Bus. The limits of Bus, such as MaxQueue, and its middleware apply, but each
	// modify is made once, and Timeout applies first. Defaults to clients of the Client's
	// own.
	PubSub *pubsub.Client
	Bus    *bus.Client
}

// checkShared returns an error if a shared client can't be used.
func (c ClientConfig) checkShared(pool *storage.Pool) error {
	switch {
	case c.PubSub != nil && c.PubSub.Pool() != pool:
		return errors.New("keywords: ClientConfig.PubSub: a client of another pool")
	case c.Bus != nil && c.Bus.Pool() != pool:
		return errors.New("keywords: ClientConfig.Bus: a client of another pool")
	case c.Bus != nil && c.Bus.Site() != bus.DefaultSite:
		return fmt.Errorf("keywords: ClientConfig.Bus: a client of site %s, dispatchers are in site %s", c.Bus.Site(), bus.DefaultSite)
	}
	return nil
}

// Client reads, sets and watches keywords. It may be used by any number of
// goroutines. It starts nothing until it is used.
type Client struct {
	pool    *storage.Pool
	cfg     ClientConfig
	origin  string // of cfg.Origin
	bus     *bus.Client
	ps      *pubsub.Client
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	disown  func()
	stats   clientStats
	cache   cache
	line    line
	trouble lastError // why watches wait for Redis

	mu     sync.Mutex
	closed bool
	feeds  map[string]*feed // by service

	listening map[string]*listeners // by service.NAME

	kinds sync.Map // service.NAME → Kind, as it was published when it was used first
}

// NewClient returns a client. It does not access Redis. [storage.Pool.Close] closes
// the client if it is still open.
func NewClient(pool *storage.Pool, cfg ClientConfig) (*Client, error) {
	if pool == nil {
		return nil, errors.New("keywords: NewClient: nil pool")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	cfg.MaxCached = cmp.Or(cfg.MaxCached, 1024)
	if cfg.MaxCached < 0 {
		return nil, fmt.Errorf("keywords: ClientConfig.MaxCached: %d is negative", cfg.MaxCached)
	}
	if cfg.Origin == (Origin{}) {
		cfg.Origin = thisProcess()
	}
	if err := cfg.Origin.check("ClientConfig"); err != nil {
		return nil, err
	}
	if err := checkOpen(pool); err != nil {
		return nil, fmt.Errorf("keywords: NewClient: %w", err)
	}
	if err := cfg.checkShared(pool); err != nil {
		return nil, err
	}
	c := &Client{
		pool: pool, cfg: cfg, origin: cfg.Origin.String(), bus: cfg.Bus, ps: cfg.PubSub,
		feeds: make(map[string]*feed), listening: make(map[string]*listeners), line: newLine(),
		cache: cache{all: make(map[string]*cachedKeyword)},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var err error
	if c.bus == nil {
		if c.bus, err = bus.NewClient(pool, bus.ClientConfig{Timeout: cfg.Timeout}); err != nil {
			return nil, err
		}
	}
	if c.ps == nil {
		if c.ps, err = pubsub.NewClient(pool, pubsub.Config{OnEvent: func(e pubsub.Event) { c.trouble.set(e.Err) }}); err != nil {
			return nil, err
		}
	}
	if c.disown, err = redisio.Of(pool).Own(c.Close); err != nil {
		return nil, fmt.Errorf("keywords: NewClient: %w", err)
	}
	return c, nil
}

// checkOpen returns an error if the pool is closed.
func checkOpen(pool *storage.Pool) error {
	disown, err := redisio.Of(pool).Own(func() error { return nil })
	if err == nil {
		disown()
	}
	return err
}

// Close ends the client's calls, watches and listeners with [ErrClosed]. It returns
// once they have ended. ClientConfig.PubSub and Bus stay open.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	feeds, listening := c.feeds, c.listening
	c.feeds, c.listening = nil, nil
	c.mu.Unlock()
	c.cache.close()
	for _, g := range listening {
		g.cancel()
		<-g.done
	}
	for _, f := range feeds {
		f.close(ErrClosed)
	}
	c.cancel()
	var errs []error
	if c.cfg.Bus == nil {
		errs = append(errs, c.bus.Close())
	}
	if c.cfg.PubSub == nil {
		errs = append(errs, c.ps.Close())
	}
	c.disown()
	return errors.Join(errs...)
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// bounded returns ctx with the client's Timeout, if ctx has no deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || c.cfg.Timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// Services returns the names of the services that have been served and not cleared,
// sorted.
func (c *Client) Services(ctx context.Context) ([]string, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	key, err := servicesKey(c.pool)
	if err != nil {
		return nil, err
	}
	var names []string
	err = c.persist(ctx, func() (err error) { names, err = c.pool.Redis().SMembers(ctx, key).Result(); return err })
	if err != nil {
		return nil, redisio.Wrap("keywords: list services", err)
	}
	slices.Sort(names)
	return names, nil
}

// Keywords returns the definitions of a service, sorted by name. A service without
// definitions is [CodeUnknownService]. A definition written by an incompatible version
// is skipped; [Client.Describe] returns its error.
func (c *Client) Keywords(ctx context.Context, service string) ([]Definition, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return nil, err
	}
	var defs []Definition
	err = c.persist(ctx, func() (err error) { defs, err = c.definitions(ctx, s); return err })
	if err != nil {
		return nil, redisio.Wrap(fmt.Sprintf("keywords: definitions of %s", service), err)
	}
	return defs, nil
}

// definitions reads the definitions of a service, sorted by name. It makes one try.
func (c *Client) definitions(ctx context.Context, s service) ([]Definition, error) {
	all, err := scanDefinitions(ctx, c.pool.Redis(), s)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, &Error{Code: CodeUnknownService, Service: s.name}
	}
	defs := make([]Definition, 0, len(all))
	for name, text := range all {
		if def, err := readDefinition(s.name, name, text); err == nil {
			defs = append(defs, def)
		}
	}
	slices.SortFunc(defs, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
	return defs, nil
}

func readDefinition(service, name, text string) (def Definition, err error) {
	if err := storage.JSON.Unmarshal([]byte(text), &def); err != nil {
		return Definition{}, redisio.Wrap(fmt.Sprintf("keywords: definition of %s.%s", service, name), err)
	}
	return def, nil
}

// Describe returns the definition of a keyword.
func (c *Client) Describe(ctx context.Context, service, name string) (Definition, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return Definition{}, err
	}
	return c.describe(ctx, s, name)
}

func (c *Client) describe(ctx context.Context, s service, name string) (Definition, error) {
	var text string
	err := c.persist(ctx, func() (err error) { text, err = c.pool.Redis().HGet(ctx, s.definitions(), name).Result(); return err })
	if errors.Is(err, redis.Nil) {
		var n int64
		err = c.persist(ctx, func() (err error) { n, err = c.pool.Redis().Exists(ctx, s.definitions()).Result(); return err })
		switch {
		case err != nil:
		case n == 0:
			return Definition{}, &Error{Code: CodeUnknownService, Service: s.name}
		default:
			return Definition{}, &Error{Code: CodeUnknownKeyword, Service: s.name, Keyword: name}
		}
	}
	if err != nil {
		return Definition{}, redisio.Wrap(fmt.Sprintf("keywords: definition of %s.%s", s.name, name), err)
	}
	return readDefinition(s.name, name, text)
}

func isCluster(client redis.UniversalClient) bool {
	_, ok := client.(*redis.ClusterClient)
	return ok
}
