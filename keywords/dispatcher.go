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
	// ErrServed is the error of what can't be done while a dispatcher of that name
	// lives: running another one, or Client.Clear.
	ErrServed = errors.New("keywords: a dispatcher of that name is running")
	// ErrQueueFull refuses a value or request because too many wait: see
	// DispatcherConfig.MaxStaged. Nothing has changed.
	ErrQueueFull = errors.New("keywords: queue full")
	// ErrNoValue is the error of reading a keyword that has no value.
	ErrNoValue = errors.New("keywords: no value")
)

// DispatcherConfig configures a [Dispatcher]. Service is required.
type DispatcherConfig struct {
	// Service and Name identify the dispatcher: each keyword of a service belongs to
	// one of the service's dispatchers, by its Spec.Dispatcher. Name defaults to "main".
	Service string
	Name    string

	// Lease is how long the dispatcher owns its keywords after it last renewed its
	// lease in Redis, which it does three times in this time. It ends the context of its
	// hooks a tenth of the lease before another dispatcher can take over. At least 300 ms.
	// Defaults to 5 seconds.
	Lease time.Duration

	// Refuse makes Run return ErrServed if another dispatcher of that name lives. By
	// default Run waits to take over.
	Refuse bool

	// MaxStaged and MaxStagedBytes are the maximum number of values that wait to be
	// committed, such as while Redis is unreachable, and the maximum of their bytes.
	// Above either, modifies and Set return ErrQueueFull. They default to 4,096 and
	// 64 MiB.
	MaxStaged      int
	MaxStagedBytes int

	// MaxMoves is the maximum number of moves (see Hooks.Move) that run or wait to
	// supersede another at a time. Above it, modifies that would begin one are refused
	// with CodeBusy. At most 128. Defaults to 32.
	MaxMoves int

	// Drain is how long Run waits for a running hook when it ends. It is also the
	// time limit of Postwrite and of a refresh by Schedule. Defaults to 10 seconds.
	Drain time.Duration

	// Status and Heartbeat are the names of two read-only keywords that the dispatcher
	// defines and sets itself: a string, "ready" or "stopped", and an integer that
	// counts the seconds since the start. Empty: there is no such keyword.
	Status, Heartbeat string

	// ExternalWrites says what happens when another program writes or deletes a value
	// in Redis. Defaults to ExternalIgnore. ExternalAccept and ExternalRevert enable
	// keyspace notifications, in addition to those that are enabled already.
	ExternalWrites ExternalWrites

	// Allow is called before each modify. Its error refuses the modify with
	// CodeNotAllowed. By is who the client says it is. Nil: all modifies are allowed.
	Allow func(ctx context.Context, by Origin, keyword string) error
}

func (c DispatcherConfig) complete() (DispatcherConfig, error) {
	c.Name = cmp.Or(c.Name, defaultDispatcher)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.MaxStaged = cmp.Or(c.MaxStaged, 4096)
	c.MaxStagedBytes = cmp.Or(c.MaxStagedBytes, 64<<20)
	c.MaxMoves = cmp.Or(c.MaxMoves, 32)
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
		return c, fmt.Errorf("keywords: DispatcherConfig.ExternalWrites: %d is not one of the constants", c.ExternalWrites)
	case c.MaxStaged < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.MaxStaged: %d is negative", c.MaxStaged)
	case c.MaxStagedBytes < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.MaxStagedBytes: %d is negative", c.MaxStagedBytes)
	case c.MaxMoves < 0 || c.MaxMoves > prefetch/2:
		return c, fmt.Errorf("keywords: DispatcherConfig.MaxMoves: %d is not 1 to %d", c.MaxMoves, prefetch/2)
	case c.Drain < 0:
		return c, fmt.Errorf("keywords: DispatcherConfig.Drain: %v is negative", c.Drain)
	case c.Status != "" && c.Status == c.Heartbeat:
		return c, fmt.Errorf("keywords: DispatcherConfig.Heartbeat: %s is the name of Status too", c.Heartbeat)
	}
	for _, own := range [][2]string{{"Status", c.Status}, {"Heartbeat", c.Heartbeat}} {
		field, name := own[0], own[1]
		if err := checkKeywordName(name); name != "" && err != nil {
			return c, fmt.Errorf("keywords: DispatcherConfig.%s: %w", field, err)
		}
	}
	return c, nil
}

// Dispatcher carries out modifies of the keywords of a service. Add the keywords with
// [Serve], then call Run or [Start].
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
	turn   chan struct{}      // holds one token; whoever has taken it may run hooks
	turns  turns              // of clients, whose modifies are carried out in order

	lease       *lease
	definitions *publisher
	commits     *committer
	external    *external
	moves       *mover

	loaded   chan struct{} // closed once the lease is held and persistent values were read
	stopping chan struct{} // closed when Run begins to end
	runEnded chan struct{} // closed when Run has ended

	refreshers sync.WaitGroup // goroutines that refresh keywords
	mu         sync.Mutex
	refreshing context.Context // of refreshers; nil before they start and after they end
}

// NewDispatcher returns a dispatcher that serves no keywords yet, except Status and
// Heartbeat. It does not access Redis.
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
		ready: make(chan struct{}), turn: make(chan struct{}, 1), turns: make(turns),
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
	d.moves = newMover(cfg.MaxMoves)
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

// prefetch is how many requests the dispatcher reads ahead. Moves hold half of them at
// most.
const prefetch = 256

// serve adds a keyword. It panics as [Serve] does.
func (d *Dispatcher) serve(def Definition, h Hooks[any]) {
	switch {
	case d.begun.Load():
		panic(fmt.Sprintf("keywords: Serve: %v: the dispatcher was run already", def))
	case def.Service != d.service.name || def.Dispatcher != d.cfg.Name:
		panic(fmt.Sprintf("keywords: Serve: %v belongs to dispatcher %s of %s, not to %s of %s", def, def.Dispatcher, def.Service, d.cfg.Name, d.service.name))
	case d.served[def.Name] != nil:
		panic(fmt.Sprintf("keywords: Serve: %v is served already", def))
	case h.Move != nil && h.Write != nil:
		panic(fmt.Sprintf("keywords: Serve: %v: Hooks.Move takes the place of Write, and both are set", def))
	case h.Supersede && h.Move == nil:
		panic(fmt.Sprintf("keywords: Serve: %v: Hooks.Supersede is set, and there is no Move hook", def))
	}
	if h.Period == 0 && h.Read != nil {
		h.Period = def.Period
	}
	s := &served{def: def, hooks: h, key: d.service.value(def.Name)}
	d.served[def.Name] = s
	if h.Move == nil {
		return
	}
	moves, err := moveDefinition(&def)
	if err != nil { // the name is too long for the suffix
		panic(fmt.Sprintf("keywords: Serve: %v: the keyword of its moves: %v", def, err))
	}
	d.serve(moves, Hooks[any]{})
	s.moves = d.served[moves.Name]
	s.moves.shows = true
}

// newValue returns v as the value to stage after that of the record now, which is the Go
// value was.
func (d *Dispatcher) newValue(s *served, v any, now record, was any, by string) staged {
	prev := now.severity
	if prev > SeverityNone { // it may be one of SetOptions, on which hysteresis does not depend
		prev = s.def.Severity(was, prev)
	}
	return staged{served: s, canonical: v, write: true, rec: record{
		name: s.def.Name, text: s.def.Text(v), at: d.clock.Now().UnixMicro(), severity: s.def.Severity(v, prev), source: by,
	}}
}

// label returns "keywords: dispatcher main of stage", for errors.
func (d *Dispatcher) label() string {
	return fmt.Sprintf("keywords: dispatcher %s of %s", d.cfg.Name, d.service.name)
}

// Ready returns a channel that is closed once the dispatcher has its lease and answers
// requests.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }
