package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// reservedPrefix begins the types of package keywords.
const reservedPrefix = "kw."

// WorkerConfig configures a [Worker]. Type is required.
type WorkerConfig struct {
	// Site is the site that the worker belongs to; only clients of that site see
	// it. Defaults to DefaultSite.
	Site string

	// Type is the group that the worker belongs to. Required.
	Type string

	// Version and Description are shown to callers by [Info]. Labels select
	// workers in [Audience.WithLabels]; a label's name and value have at most 255
	// bytes each.
	Version     string
	Description string
	Labels      map[string]string

	// Concurrency is the number of calls that the worker runs at a time. Defaults
	// to 64.
	Concurrency int

	// MaxHeldBytes is the size of the requests that the worker may hold, in bytes, those
	// that wait for their turn included. It then reads no further calls. Since a
	// read takes several calls at once, going by the largest of recent ones, larger ones
	// may exceed the limit by one read. Defaults to 64 MiB.
	MaxHeldBytes int

	// Serial makes the handlers run one at a time, in the order in which the calls
	// arrived. The worker then holds up to Prefetch calls (default 64), and
	// Concurrency is ignored.
	Serial   bool
	Prefetch int

	// Lease is how long callers take the worker to be alive after its last
	// heartbeat. It sends three in that time, and at least three a minute. At least
	// 300 ms. Defaults to 5 seconds.
	Lease time.Duration

	// Drain is how long a stopping worker waits for its handlers before it
	// cancels their contexts. Negative: it cancels them at once. Defaults to 10
	// seconds.
	Drain time.Duration

	// MaxMessage is the size limit, in encoded bytes, of arguments, of a result and
	// of an item of a stream. Larger arguments are answered with CodeBadArguments,
	// larger results and items with CodeBadResult. Defaults to 1 MiB.
	MaxMessage int

	// Middleware wraps every handler; the first is the outermost. Defaults to none.
	Middleware []Middleware

	// OnStart runs before callers know the worker; its error ends Run. Its context
	// ends when the worker is to stop.
	OnStart func(context.Context) error

	// OnStop runs when the worker has answered its last call. Its context ends
	// after Drain.
	OnStop func(context.Context)

	// OnTick runs every TickInterval (default 1 second). A tick is skipped while
	// the previous one runs. In a Serial worker, OnTick never overlaps a handler.
	// Its context ends when the contexts of the handlers do.
	OnTick       func(context.Context)
	TickInterval time.Duration

	// OnLease runs with an [ErrLeaseLapsed] when the worker's lease has lapsed, since
	// Redis could not be reached to renew it, and with nil when it is held again. It
	// must not block.
	OnLease func(error)

	// Path is the path of the program, and Spawner names what started it; both are
	// shown by [Info], and [UpdateSpawner] changes Spawner. Path defaults to that
	// of the executable.
	Path, Spawner string

	// Extra returns what [Info] adds to its answer. It is called for each answer
	// and must not block.
	Extra func() map[string]any

	// AllowStop lets every client of the site stop the worker with [Stop].
	AllowStop bool

	// KeepLog is the number of log records that [Worker.LogHandler] keeps in Redis
	// (default 1,000), KeepLogBytes their size in bytes (default 4 MiB), and KeepLogFor
	// how long it keeps them after the last one (default 1 hour).
	KeepLog      int
	KeepLogBytes int
	KeepLogFor   time.Duration
}

func (c WorkerConfig) complete(hidden bool) (WorkerConfig, error) {
	c.Site = cmp.Or(c.Site, DefaultSite)
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.Prefetch = cmp.Or(c.Prefetch, 64)
	c.Lease = cmp.Or(c.Lease, defaultLease)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	c.TickInterval = cmp.Or(c.TickInterval, time.Second)
	c.MaxHeldBytes = cmp.Or(c.MaxHeldBytes, 64<<20)
	c.KeepLog = cmp.Or(c.KeepLog, 1000)
	c.KeepLogBytes = cmp.Or(c.KeepLogBytes, 4<<20)
	c.KeepLogFor = cmp.Or(c.KeepLogFor, time.Hour)
	c.Labels, c.Middleware = maps.Clone(c.Labels), slices.Clone(c.Middleware)
	if c.Path == "" {
		c.Path, _ = os.Executable()
	}
	for name, value := range c.Labels {
		if name == "" || len(name) > redisio.MaxName || len(value) > redisio.MaxName {
			return c, fmt.Errorf("bus: WorkerConfig.Labels: %.32q=%.32q: a name must have 1 to %d bytes, and a value at most as many", name, value, redisio.MaxName)
		}
	}
	if i := slices.IndexFunc(c.Middleware, func(m Middleware) bool { return m == nil }); i >= 0 {
		return c, fmt.Errorf("bus: WorkerConfig.Middleware[%d] is nil", i)
	}
	if err := checkName("WorkerConfig.Site", c.Site); err != nil {
		return c, err
	}
	if err := checkName("WorkerConfig.Type", c.Type); err != nil {
		return c, err
	}
	switch {
	case strings.HasPrefix(c.Type, reservedPrefix) && !hidden:
		return c, fmt.Errorf("bus: WorkerConfig.Type: %q: types that begin with %q belong to package keywords", c.Type, reservedPrefix)
	case c.Concurrency < 0:
		return c, fmt.Errorf("bus: WorkerConfig.Concurrency: %d is negative", c.Concurrency)
	case c.Prefetch < 0:
		return c, fmt.Errorf("bus: WorkerConfig.Prefetch: %d is negative", c.Prefetch)
	case c.Lease < 300*time.Millisecond:
		return c, fmt.Errorf("bus: WorkerConfig.Lease: %v is less than 300ms", c.Lease)
	case c.MaxMessage < 0:
		return c, fmt.Errorf("bus: WorkerConfig.MaxMessage: %d is negative", c.MaxMessage)
	case c.TickInterval < 0:
		return c, fmt.Errorf("bus: WorkerConfig.TickInterval: %v is negative", c.TickInterval)
	case c.KeepLog < 0:
		return c, fmt.Errorf("bus: WorkerConfig.KeepLog: %d is negative", c.KeepLog)
	case c.MaxHeldBytes < 0:
		return c, fmt.Errorf("bus: WorkerConfig.MaxHeldBytes: %d is negative", c.MaxHeldBytes)
	case c.KeepLogBytes < 0:
		return c, fmt.Errorf("bus: WorkerConfig.KeepLogBytes: %d is negative", c.KeepLogBytes)
	case c.KeepLogFor < 0:
		return c, fmt.Errorf("bus: WorkerConfig.KeepLogFor: %v is negative", c.KeepLogFor)
	}
	return c, nil
}

// Worker serves the calls of a type. Register its handlers, then call Run.
type Worker struct {
	pool    *storage.Pool
	cfg     WorkerConfig
	hidden  bool // not among the site's types
	info    WorkerInfo
	spawner atomic.Pointer[string]
	keys    keys
	types   string // key of the site's types

	chain    Next // the middleware, of handle; nil: none
	methods  map[string]*method
	other    *method // HandleAny's
	builtins lane    // of the built-in methods
	serial   *lane   // of all other methods of a Serial worker
	begun    atomic.Bool
	ready    chan struct{}
	halted   chan struct{} // method Stop was called; holds one
	refused  chan error    // Redis denies the worker a command or a key; holds one

	clock    *redisio.Clock
	link     connection
	tenure   tenure
	pause    pause
	stopping atomic.Bool
	beat     chan struct{} // the lease is to be renewed at once; holds one
	arrived  atomic.Int64  // calls, by which they are ordered
	slots    slots
	roster   roster
	stats    struct{ calls, errors, expired, malformed, lost, overflowed, lapses atomic.Int64 }
	throttle redisio.Throttle
	log      *logKeeper // of LogHandler

	work        context.Context // of the handlers
	cancel      context.CancelFunc
	life        context.Context // of Run, drain included
	leave       context.CancelFunc
	held        sync.WaitGroup // calls of the queues, until their replies are written
	heldControl sync.WaitGroup // the same of the control list, which is read while the worker waits for held
	unsent      atomic.Int64   // replies that are being written

	limited     []*lane               // of methods with a limit of their own
	overflows   redis.UniversalClient // that reads their overflow lists
	overflowing sync.WaitGroup        // goroutines that move calls to and from these lists

	sources map[string]busio.Source // by name, attached before Run

	mu      sync.Mutex
	inboxes map[string]string // keys, by client
}

// NewWorker returns a worker that handles the built-in methods only. It does not
// connect to Redis.
func NewWorker(pool *storage.Pool, cfg WorkerConfig) (*Worker, error) {
	return newWorker(pool, cfg, false)
}

// newWorker returns a worker, for [busio.NewWorker] a hidden one.
func newWorker(pool *storage.Pool, cfg WorkerConfig, hidden bool) (*Worker, error) {
	cfg, err := cfg.complete(hidden)
	if err == nil && pool == nil {
		err = errors.New("bus: NewWorker: nil pool")
	}
	if err != nil {
		return nil, err
	}
	id, host, pid := newID()
	w := &Worker{
		pool: pool, cfg: cfg, hidden: hidden, methods: make(map[string]*method), inboxes: make(map[string]string),
		sources: make(map[string]busio.Source),
		ready:   make(chan struct{}), halted: make(chan struct{}, 1), refused: make(chan error, 1), beat: make(chan struct{}, 1),
		clock: redisio.NewClock(nil),
		info: WorkerInfo{
			ID: cfg.Type + ":" + id, Site: cfg.Site, Type: cfg.Type, Host: host, PID: pid,
			Version: cfg.Version, Labels: cfg.Labels,
		},
	}
	if w.keys, err = typeKeys(pool, cfg.Site, cfg.Type); err != nil {
		return nil, err
	}
	if w.types, err = typesKey(pool, cfg.Site); err != nil {
		return nil, err
	}
	if w.chain, err = wrap("WorkerConfig.Middleware", cfg.Middleware, w.handle); err != nil {
		return nil, err
	}
	w.spawner.Store(&cfg.Spawner)
	w.link.log = redisio.Of(pool).Logger().With("worker", w.info.ID)
	w.link.back = func() {
		signal(w.beat) // a restarted Redis does not know the worker
		w.roster.announceAgain()
	}
	w.tenure.changed = w.changeLease
	w.roster.announce, w.roster.known = w.announce, make(map[callKey]*task)
	w.life, w.leave = context.WithCancel(context.Background())
	w.work, w.cancel = context.WithCancel(w.life)
	held := cfg.Concurrency
	if cfg.Serial {
		held = cfg.Prefetch
		w.serial = &lane{limit: 1}
	}
	w.slots.init(held, cfg.MaxHeldBytes)
	w.builtins.limit = 8
	w.addBuiltins()
	return w, nil
}

// ID returns the worker's id, type:host:pid:uid, for [Direct].
func (w *Worker) ID() string { return w.info.ID }

// Ready returns a channel that is closed once callers know the worker.
func (w *Worker) Ready() <-chan struct{} { return w.ready }
