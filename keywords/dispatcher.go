package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

var (
	// ErrServed is the error of what can't be done while a dispatcher lives.
	ErrServed = errors.New("keywords: a dispatcher of that name is running")
	// ErrQueueFull is the error of what was not done because too much waits.
	ErrQueueFull = errors.New("keywords: queue full")
	// ErrNoValue is the error of reading a keyword that has no value yet.
	ErrNoValue = errors.New("keywords: no value")
)

// DispatcherConfig configures a [Dispatcher]. Service is required.
type DispatcherConfig struct {
	// Service and Name identify the dispatcher: each keyword of a service belongs to
	// one of the service's dispatchers, by its Spec.Dispatcher. Name defaults to "main".
	Service string
	Name    string

	// Lease is how long the dispatcher owns its keywords after the last time it could
	// say so to Redis, which it does three times a lease. It ends the context of its
	// hooks a tenth of the lease before another dispatcher can take over. Defaults to
	// 5 s; at least 300 ms.
	Lease time.Duration

	// Refuse makes Run return ErrServed where another dispatcher lives. Otherwise
	// it waits, to take over.
	Refuse bool

	// MaxStaged and MaxStagedBytes are how many values may wait to be committed while
	// Redis is away, and how many bytes of them, those of modifies and of Set together.
	// Above it Set and Modify return ErrQueueFull. They default to 4,096 and 64 MiB.
	MaxStaged      int
	MaxStagedBytes int

	// Drain is how long Run, when it ends, waits for a hook that runs. 0: 10 s.
	Drain time.Duration

	// Status and Heartbeat name keywords of the dispatcher's own, which it
	// defines: a string that is "ready" or "stopped", and an integer that counts
	// the seconds. Empty: none.
	Status, Heartbeat string

	// ExternalWrites is what happens to values that others write into Redis. ExternalAccept and
	// ExternalRevert turn keyspace notifications on, in addition to those that are.
	ExternalWrites ExternalWrites

	// Allow is asked before a modify, and refuses it with an error. Nil: all may.
	Allow func(ctx context.Context, by Origin, keyword string) error
}

func (c DispatcherConfig) complete() (DispatcherConfig, error) {
	c.Name = cmp.Or(c.Name, defaultDispatcher)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.MaxStaged = cmp.Or(c.MaxStaged, 4096)
	c.MaxStagedBytes = cmp.Or(c.MaxStagedBytes, 64<<20)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	if err := checkServiceName(c.Service); err != nil {
		return c, fmt.Errorf("keywords: DispatcherConfig.Service: %w", err)
	}
	if err := checkServiceName(c.Name); err != nil {
		return c, fmt.Errorf("keywords: DispatcherConfig.Name: %w", err)
	}
	switch {
	case c.Lease < 300*time.Millisecond:
		return c, fmt.Errorf("keywords: DispatcherConfig.Lease: %v is less than 300ms", c.Lease)
	case c.ExternalWrites > ExternalRevert:
		return c, fmt.Errorf("keywords: DispatcherConfig.ExternalWrites: no %d", c.ExternalWrites)
	case c.MaxStaged < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.MaxStaged: %d is negative", c.MaxStaged)
	case c.MaxStagedBytes < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.MaxStagedBytes: %d is negative", c.MaxStagedBytes)
	case c.Drain < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.Drain: %v is negative", c.Drain)
	case c.Status != "" && c.Status == c.Heartbeat:
		return c, fmt.Errorf("keywords: DispatcherConfig.Heartbeat: %s is Status too", c.Heartbeat)
	}
	for _, own := range [][2]string{{"Status", c.Status}, {"Heartbeat", c.Heartbeat}} {
		field, name := own[0], own[1]
		if err := checkKeywordName(name); name != "" && err != nil {
			return c, fmt.Errorf("keywords: DispatcherConfig.%s: %w", field, err)
		}
	}
	return c, nil
}

// Dispatcher carries out what is asked of the keywords of a service. Give it its
// keywords with [Serve], then Run it.
type Dispatcher struct {
	pool    *storage.Pool
	cfg     DispatcherConfig
	service service
	channel string // with the pool's prefix
	clock   *redisio.Clock
	worker  *bus.Worker
	log     *slog.Logger
	begun   atomic.Bool
	ready   chan struct{}
	stats   dispatcherStats
	trouble lastError // why the dispatcher waits for Redis

	served map[string]*served // by name; fixed once Run has begun
	turn   chan struct{}      // holds a token; its holder runs hooks

	lease       *lease
	definitions *publisher
	commits     *committer
	external    *external

	loaded   chan struct{} // closed: the lease was acquired, and what persists was read
	stopping chan struct{} // closed: Run ends
	runEnded chan struct{} // closed: Run has ended

	refreshers sync.WaitGroup // goroutines that refresh keywords
	mu         sync.Mutex
	refreshing context.Context // of polling; nil: not begun, or ended
}

// NewDispatcher returns a dispatcher without keywords, but for its own. It does
// not touch Redis.
func NewDispatcher(pool *storage.Pool, cfg DispatcherConfig) (*Dispatcher, error) {
	if pool == nil {
		return nil, errors.New("keywords: NewDispatcher: nil pool")
	}
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := checkOpen(pool); err != nil {
		return nil, fmt.Errorf("keywords: NewDispatcher: %w", err)
	}
	d := &Dispatcher{
		pool: pool, cfg: cfg, clock: redisio.NewClock(nil), served: make(map[string]*served),
		ready: make(chan struct{}), turn: make(chan struct{}, 1),
		loaded: make(chan struct{}), stopping: make(chan struct{}), runEnded: make(chan struct{}),
	}
	d.turn <- struct{}{}
	if d.service, err = newService(pool, cfg.Service); err != nil {
		return nil, err
	}
	if d.channel, err = pool.Key(d.service.channel); err != nil {
		return nil, err
	}
	worker, err := busio.NewWorker(pool, bus.WorkerConfig{
		Type: workerType(cfg.Service, cfg.Name), Serial: true, Prefetch: prefetch, Lease: cfg.Lease, Drain: cfg.Drain,
	}, d.handle)
	if err != nil {
		return nil, err
	}
	d.worker = worker.(*bus.Worker)
	d.log = redisio.Of(pool).Logger().With("dispatcher", cfg.Service+"."+cfg.Name)
	services, err := servicesKey(pool)
	if err != nil {
		return nil, err
	}
	d.lease = newLease(d)
	d.definitions = &publisher{lease: d.lease, served: d.served, channel: d.channel, services: services}
	d.external = &external{
		policy: cfg.ExternalWrites, pool: pool, service: d.service, served: d.served,
		definitions: d.definitions, value: d.newValue, log: d.log, stats: &d.stats,
	}
	d.commits = newCommitter(d)
	d.external.commits = d.commits
	for _, own := range []Definition{
		{Name: cfg.Status, Kind: KindString, Help: "ready or stopped"},
		{Name: cfg.Heartbeat, Kind: KindInteger64, Help: "counts the seconds that the dispatcher has run"},
	} {
		if own.Name == "" {
			continue
		}
		own.Service, own.Dispatcher, own.ReadOnly = cfg.Service, cfg.Name, true
		if own, err = own.Complete(); err != nil {
			return nil, err
		}
		d.serve(own, Hooks[any]{})
	}
	return d, nil
}

// prefetch is how many modifies the dispatcher holds.
const prefetch = 256

// serve adds a keyword.
func (d *Dispatcher) serve(def Definition, h Hooks[any]) {
	switch {
	case d.begun.Load():
		panic(fmt.Sprintf("keywords: Serve: %v: the dispatcher was run already", def))
	case def.Service != d.service.name || def.Dispatcher != d.cfg.Name:
		panic(fmt.Sprintf("keywords: Serve: %v belongs to dispatcher %s of %s, not to %s of %s", def, def.Dispatcher, def.Service, d.cfg.Name, d.service.name))
	case d.served[def.Name] != nil:
		panic(fmt.Sprintf("keywords: Serve: %v is served already", def))
	}
	if h.Period == 0 && h.Read != nil {
		h.Period = def.Period
	}
	d.served[def.Name] = &served{def: def, hooks: h, key: d.service.value(def.Name)}
}

// newValue is a keyword with a new value, to be staged, where it had was.
func (d *Dispatcher) newValue(s *served, v any, was record, by string) staged {
	return staged{served: s, canonical: v, write: true, rec: record{
		name: s.def.Name, text: s.def.Text(v), at: d.clock.Now().UnixMicro(), severity: s.def.Severity(v, was.severity), source: by,
	}}
}

// label returns "keywords: dispatcher main of stage", for errors.
func (d *Dispatcher) label() string {
	return fmt.Sprintf("keywords: dispatcher %s of %s", d.cfg.Name, d.service.name)
}

// Ready returns a channel that is closed when the dispatcher has its lease and
// answers.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }
