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
	// Timeout bounds what is asked with a context that has no deadline. 0: 30 s.
	// Negative: nothing does. Watch and WaitFor are not bounded by it.
	Timeout time.Duration

	// Origin says who the client is, to the dispatcher's Allow and in
	// Value.Source. Zero: the user, host, process and program.
	Origin Origin
}

// Client reads, sets and watches keywords. It may be used by any number of
// goroutines, and starts nothing until it is used.
type Client struct {
	pool   *storage.Pool
	cfg    ClientConfig
	origin string // cfg.Origin
	bus    *bus.Client
	ps     *pubsub.Client

	mu     sync.Mutex
	closed bool
	feeds  map[string]*feed // by service

	listening map[string]*listeners // by service.NAME
}

// NewClient returns a client. It does not touch Redis.
func NewClient(pool *storage.Pool, cfg ClientConfig) (*Client, error) {
	if pool == nil {
		return nil, errors.New("keywords: NewClient: nil pool")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	if cfg.Origin == (Origin{}) {
		cfg.Origin = whoami()
	}
	if err := cfg.Origin.check(); err != nil {
		return nil, err
	}
	b, err := bus.NewClient(pool, bus.ClientConfig{Timeout: cfg.Timeout})
	if err != nil {
		return nil, err
	}
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	if err != nil {
		return nil, err
	}
	return &Client{pool: pool, cfg: cfg, origin: cfg.Origin.String(), bus: b, ps: ps, feeds: make(map[string]*feed), listening: make(map[string]*listeners)}, nil
}

// Close ends what the client does, with [ErrClosed], and returns when nothing of
// it runs.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	feeds, listening := c.feeds, c.listening
	c.feeds, c.listening = nil, nil
	c.mu.Unlock()
	for _, g := range listening {
		g.cancel()
		<-g.done
	}
	for _, f := range feeds {
		f.close(ErrClosed)
	}
	return errors.Join(c.bus.Close(), c.ps.Close())
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// bounded is ctx with the client's Timeout, if it has no deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || c.cfg.Timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// Services returns the names of the services that there are, or were.
func (c *Client) Services(ctx context.Context) ([]string, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	key, err := servicesKey(c.pool)
	if err != nil {
		return nil, err
	}
	names, err := c.pool.Redis().SMembers(ctx, key).Result()
	slices.Sort(names)
	return names, redisio.Normalize(ctx, err)
}

// Keywords returns the definitions of a service, by name. None at all is
// [CodeUnknownService].
func (c *Client) Keywords(ctx context.Context, service string) ([]Definition, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return nil, err
	}
	return c.definitions(ctx, s)
}

func (c *Client) definitions(ctx context.Context, s service) ([]Definition, error) {
	all, err := c.pool.Redis().HGetAll(ctx, s.definitions()).Result()
	if err != nil {
		return nil, redisio.Normalize(ctx, err)
	}
	if len(all) == 0 {
		return nil, &Error{Code: CodeUnknownService, Service: s.name}
	}
	defs := make([]Definition, 0, len(all))
	for name, text := range all {
		// One that can't be read, by a program of another time, says so when it is
		// asked for by name. The others are none the worse.
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
	text, err := c.pool.Redis().HGet(ctx, s.definitions(), name).Result()
	if errors.Is(err, redis.Nil) {
		n, err := c.pool.Redis().Exists(ctx, s.definitions()).Result()
		if err == nil && n == 0 {
			return Definition{}, &Error{Code: CodeUnknownService, Service: s.name}
		}
		return Definition{}, &Error{Code: CodeUnknownKeyword, Service: s.name, Keyword: name}
	}
	if err != nil {
		return Definition{}, redisio.Normalize(ctx, err)
	}
	return readDefinition(s.name, name, text)
}

// fenceTime is how long Clear leaves the fencing numbers behind: no dispatcher
// sleeps longer.
const fenceTime = 24 * time.Hour

// Clear removes a service: definitions, values, history and revisions. A
// dispatcher of it that lives is [ErrServed]; one that only slept finds
// its lease lost.
func (c *Client) Clear(ctx context.Context, service string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return err
	}
	rdb := c.pool.Redis()
	fences, err := rdb.HKeys(ctx, s.fence()).Result()
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	for _, disp := range fences {
		if n, err := rdb.Exists(ctx, s.owner(disp)).Result(); err != nil {
			return redisio.Normalize(ctx, err)
		} else if n > 0 {
			return redisio.Wrap(fmt.Sprintf("keywords: %s.%s", service, disp), ErrServed)
		}
	}
	names, err := rdb.HKeys(ctx, s.definitions()).Result()
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	_, err = rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, name := range names {
			tx.Del(ctx, s.value(name), s.log(name))
		}
		for _, disp := range fences {
			tx.Del(ctx, s.meta(disp))
			tx.HIncrBy(ctx, s.fence(), disp, 1) // one that sleeps is not to write it all again
		}
		tx.Expire(ctx, s.fence(), fenceTime)
		tx.Del(ctx, s.definitions())
		return nil
	})
	if err == nil {
		var key string
		if key, err = servicesKey(c.pool); err == nil {
			err = rdb.SRem(ctx, key, service).Err()
		}
	}
	return redisio.Normalize(ctx, err)
}

func isCluster(client redis.UniversalClient) bool {
	_, ok := client.(*redis.ClusterClient)
	return ok
}
