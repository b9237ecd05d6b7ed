package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Pool holds the connections to a Redis. Any number of goroutines and packages may use
// it at once.
type Pool struct {
	cfg    Config // completed
	origin origin
	hosted bool      // the base client is the host's
	topo   *topology // nil: there is one server

	mu      sync.Mutex
	base    redis.UniversalClient // nil until used
	async   redis.Cmdable         // nil until used
	asyncOn redis.UniversalClient // what async runs on
	writer  *redisio.Writer       // nil until used
	object  redis.UniversalClient // of the objects; nil until used
	owned   []*func() error       // close what is built on the pool, oldest first
	closing bool
	closed  chan struct{} // Close has ended
	err     error         // what Close returned
}

// Open returns a pool on the Redis that cfg names. It validates cfg and does not dial:
// the first command does.
func Open(cfg Config) (*Pool, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	redisLog.add(cfg.Logger)
	from := configured(cfg)
	return &Pool{cfg: cfg, origin: from, topo: newTopology(from, nil), closed: make(chan struct{})}, nil
}

// New returns a pool on the Redis of the host's client, which must be a [*redis.Client],
// also one of Sentinel, or a [*redis.ClusterClient]. The host may go on using client and
// closes it after the pool. The URL and Redis of cfg must be empty.
func New(client redis.UniversalClient, cfg Config) (*Pool, error) {
	if cfg.URL != "" || !reflect.ValueOf(cfg.Redis).IsZero() {
		return nil, errors.New("storage: New: Config.URL and Config.Redis must be empty: the client has both")
	}
	if client == nil {
		return nil, errors.New("storage: New: client is nil: want a *redis.Client or *redis.ClusterClient")
	}
	from, err := hosted(client)
	if err != nil {
		return nil, err
	}
	if cfg, err = cfg.completeOurs(); err != nil {
		return nil, err
	}
	return &Pool{cfg: cfg, origin: from, hosted: true, topo: newTopology(from, client), closed: make(chan struct{})}, nil
}

// derive makes a client for the pool itself.
func (p *Pool) derive(t tuning) redis.UniversalClient {
	client := p.origin.derive(t)
	p.equip(client)
	return client
}

// equip adds to a client of the pool the hooks that each has.
func (p *Pool) equip(client redis.UniversalClient) {
	for _, h := range p.cfg.Hooks {
		client.AddHook(h)
	}
	p.topo.watch(client)
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// Redis returns the client for all commands of Redis. It is the host's own if the pool
// was made by [New]. After Close its commands return [redis.ErrClosed].
func (p *Pool) Redis() redis.UniversalClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.base == nil {
		p.base = p.origin.base()
		if !p.hosted {
			p.equip(p.base)
		}
		if p.closing && !p.hosted {
			_ = p.base.Close()
		}
	}
	return p.base
}

// Async returns a client whose commands return at once and wait for their results when
// these are read. Commands of many goroutines are sent together, in the order of each
// goroutine. It is go-redis's AsyncAutoPipeline on a client of its own, with
// Config.Redis.AutoPipelineOptions; its MaxQueuedCommands defaults to Config.MaxQueued.
func (p *Pool) Async() redis.Cmdable {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.async != nil {
		return p.async
	}
	p.asyncOn = p.derive(tuning{})
	if p.closing {
		_ = p.asyncOn.Close()
	}
	opts := redis.DefaultAutoPipelineOptions()
	if own := p.cfg.Redis.AutoPipelineOptions; own != nil {
		o := *own
		opts = &o
	}
	if opts.MaxQueuedCommands == 0 {
		opts.MaxQueuedCommands = p.cfg.MaxQueued
	}
	async, err := p.asyncOn.AsyncAutoPipelineWithOptions(opts)
	if err != nil { // closed: every command of the plain client returns that
		p.async = p.asyncOn
	} else {
		p.async = async
	}
	return p.async
}

// objects returns the client of the objects.
func (p *Pool) objects() redis.UniversalClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.object == nil {
		p.object = p.derive(tuning{})
		redisio.MarkDials(p.object)
		if p.closing {
			_ = p.object.Close()
		}
	}
	return p.object
}

// Ping returns nil if Redis answers.
func (p *Pool) Ping(ctx context.Context) error {
	return redisio.Normalize(ctx, p.Redis().Ping(ctx).Err())
}

// Config returns the completed configuration of the pool, without passwords and
// providers of credentials. Its Redis is empty if the pool was made by [New].
func (p *Pool) Config() Config { return p.cfg.withheld() }

// Stats is a snapshot of a pool.
type Stats struct {
	Connections ConnStats   `json:"connections"` // of the client that Pool.Redis returns, also if it is the host's
	Writes      WriterStats `json:"writes"`      // writes of the packages built on the pool
	Owned       int         `json:"owned"`       // clients, workers and long reads that Close closes
}

// ConnStats counts the connections of a client. Open and Idle are current numbers;
// the others count since the client was made.
type ConnStats struct {
	Open     int64 `json:"open"`     // connections, idle ones included
	Idle     int64 `json:"idle"`     // connections not in use
	Hits     int64 `json:"hits"`     // commands that found an idle connection
	Misses   int64 `json:"misses"`   // commands that did not
	Timeouts int64 `json:"timeouts"` // commands that waited for a connection in vain
	Stale    int64 `json:"stale"`    // connections closed because they were old or broken
}

// WriterStats counts the writes that the packages built on a pool make through it.
type WriterStats = redisio.WriterStats

// Stats returns a snapshot of the pool.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Owned: len(p.owned)}
	if p.base != nil {
		c := p.base.PoolStats()
		s.Connections = ConnStats{
			Open: int64(c.TotalConns), Idle: int64(c.IdleConns), Hits: int64(c.Hits),
			Misses: int64(c.Misses), Timeouts: int64(c.Timeouts), Stale: int64(c.StaleConns),
		}
	}
	if p.writer != nil {
		s.Writes = p.writer.Stats()
	}
	return s
}

// Close closes what was built on the pool, newest first, then the pool's connections,
// and returns when no goroutine of the module is left. The host's client stays open.
// Further calls wait for the first and return the same error.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		<-p.closed
		return p.err
	}
	p.closing = true
	built := slices.Clone(p.owned)
	p.mu.Unlock()

	var errs []error
	for _, end := range slices.Backward(built) {
		errs = append(errs, (*end)())
	}
	// A client that is made from here on is closed at once.
	p.mu.Lock()
	writer, object, asyncOn, base := p.writer, p.object, p.asyncOn, p.base
	p.mu.Unlock()
	if writer != nil {
		errs = append(errs, writer.Close())
	}
	if object != nil {
		errs = append(errs, object.Close())
	}
	if asyncOn != nil {
		errs = append(errs, asyncOn.Close())
	}
	if base != nil && !p.hosted {
		errs = append(errs, base.Close())
	}
	errs = append(errs, p.topo.close())
	if p.err = errors.Join(errs...); p.err != nil {
		p.err = fmt.Errorf("storage: close: %w", p.err)
	}
	if !p.hosted {
		redisLog.remove(p.cfg.Logger)
	}
	close(p.closed)
	return p.err
}
