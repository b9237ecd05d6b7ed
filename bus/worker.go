package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// reservedPrefix begins the types of package keywords.
const reservedPrefix = "kw."

// WorkerConfig configures a [Worker]. Type is required.
type WorkerConfig struct {
	// Site is the world that the worker belongs to. Empty: DefaultSite.
	Site string

	// Type is the group that the worker belongs to.
	Type string

	// Version and Description, and Labels that an [Audience] may ask for, are
	// told to whoever wants to know. Names and values of labels are at most 255
	// bytes long.
	Version     string
	Description string
	Labels      map[string]string

	// Concurrency is how many calls the worker holds at most. 0: 64.
	Concurrency int

	// Serial makes handlers run one at a time, in the order in which the calls
	// came. The worker then holds up to Prefetch calls, 0: 64, and Concurrency
	// is not used.
	Serial   bool
	Prefetch int

	// Lease is how long the worker counts as alive after its last sign of life,
	// of which it gives three in that time, and three a minute at least. 0: 5 s.
	// At least 300 ms.
	Lease time.Duration

	// Drain is how long a stopping worker waits for its handlers before it
	// cancels their contexts. 0: 10 s. Negative: not at all.
	Drain time.Duration

	// MaxMessage is the largest arguments and the largest result, or item of a
	// stream, in bytes as encoded. 0: 1 MiB. Larger ones are answered with
	// CodeBadArguments and CodeBadResult.
	MaxMessage int

	// Middleware wraps every handler, the first around the others.
	Middleware []Middleware

	// OnStart runs before the worker is known to anybody; its error ends Run.
	// OnStop runs when the worker has answered its last call. OnTick runs every
	// TickInterval (0: a second), unless it still does: of a Serial worker in
	// turn with the handlers, of others beside them. A context that they get
	// ends when the worker is to stop, but OnStop's, which ends after Drain.
	OnStart      func(context.Context) error
	OnStop       func(context.Context)
	OnTick       func(context.Context)
	TickInterval time.Duration

	// Path and Spawner say what program the worker is and what started it.
	// Empty: that of the executable, and nothing. [UpdateSpawner] changes the
	// second.
	Path, Spawner string

	// Extra adds to what [Info] answers. It is called for each answer and must
	// not wait for anything.
	Extra func() map[string]any

	// AllowStop lets everybody stop the worker with [Stop].
	AllowStop bool

	// KeepLog is how many log records [Worker.LogHandler] keeps in Redis, and
	// KeepLogFor how long after the last one. 0: 1,000 and an hour.
	KeepLog    int
	KeepLogFor time.Duration
}

func (c WorkerConfig) complete(hidden bool) (WorkerConfig, error) {
	c.Site = cmp.Or(c.Site, DefaultSite)
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.Prefetch = cmp.Or(c.Prefetch, 64)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	c.TickInterval = cmp.Or(c.TickInterval, time.Second)
	c.KeepLog = cmp.Or(c.KeepLog, 1000)
	c.KeepLogFor = cmp.Or(c.KeepLogFor, time.Hour)
	c.Labels, c.Middleware = maps.Clone(c.Labels), slices.Clone(c.Middleware)
	if c.Path == "" {
		c.Path, _ = os.Executable()
	}
	for name, value := range c.Labels {
		if name == "" || len(name) > redisio.MaxName || len(value) > redisio.MaxName {
			return c, fmt.Errorf("bus: WorkerConfig.Labels: %.32q=%.32q: a name has 1 to %d bytes, a value at most as many", name, value, redisio.MaxName)
		}
	}
	if i := slices.IndexFunc(c.Middleware, func(m Middleware) bool { return m == nil }); i >= 0 {
		return c, fmt.Errorf("bus: WorkerConfig.Middleware: %d is nil", i)
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
	case c.KeepLogFor < 0:
		return c, fmt.Errorf("bus: WorkerConfig.KeepLogFor: %v is negative", c.KeepLogFor)
	}
	return c, nil
}

// Worker serves the calls of a type. Give it its handlers, then Run it.
type Worker struct {
	pool    *storage.Pool
	cfg     WorkerConfig
	hidden  bool // not among the site's types
	info    WorkerInfo
	spawner atomic.Pointer[string]
	keys    keys
	types   string // key

	methods  map[string]*method
	other    *method // HandleAny's
	builtins lane    // of the methods that every worker has
	serial   *lane   // of every other method, if cfg.Serial
	begun    atomic.Bool
	ready    chan struct{}
	halted   chan struct{} // Stop was called; holds one
	refused  chan error    // Redis denies the worker a command or a key; holds one

	clock   *redisio.Clock
	link    connection
	beat    chan struct{} // the lease is to be renewed now; holds one
	arrived atomic.Int64  // calls, by which they are ordered
	slots   slots
	roster  roster
	stats   struct{ calls, errors, expired, malformed, lost, overflowed atomic.Int64 }
	noise   redisio.Throttle
	log     *logKeeper // of LogHandler

	work        context.Context // of the handlers
	cancel      context.CancelFunc
	life        context.Context // of Run, drain included
	leave       context.CancelFunc
	held        sync.WaitGroup // calls, until their replies are written
	heldControl sync.WaitGroup // the same of the control list, which is read while held is waited for
	unsent      atomic.Int64   // replies on their way

	limited     []*lane               // of methods with a limit of their own
	overflows   redis.UniversalClient // that reads their overflow lists
	overflowing sync.WaitGroup        // goroutines that move calls to and from these lists

	mu      sync.Mutex
	inboxes map[string]string // client → key
}

// NewWorker returns a worker without handlers but for the built-in methods. It
// does not touch Redis.
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
		ready: make(chan struct{}), halted: make(chan struct{}, 1), refused: make(chan error, 1), beat: make(chan struct{}, 1),
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
	w.spawner.Store(&cfg.Spawner)
	w.link.log = redisio.Of(pool).Logger().With("worker", w.info.ID)
	w.link.back = func() {
		signal(w.beat) // a server that was started again does not know us
		w.roster.announceAgain()
	}
	w.roster.announce, w.roster.known = w.announce, make(map[callKey]*task)
	w.life, w.leave = context.WithCancel(context.Background())
	w.work, w.cancel = context.WithCancel(w.life)
	held := cfg.Concurrency
	if cfg.Serial {
		held = cfg.Prefetch
		w.serial = &lane{limit: 1}
	}
	w.slots.init(held)
	w.builtins.limit = 8
	w.addBuiltins()
	return w, nil
}

// ID returns the worker's id, type:host:pid:uid, for [Direct].
func (w *Worker) ID() string { return w.info.ID }

// Ready returns a channel that is closed when Run has made the worker known to
// callers.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// HandleOptions are the options of [Handle] and [HandleAny].
type HandleOptions struct {
	// MaxInFlight is how many calls of the method run at a time in this worker.
	// Defaults to no limit but the worker's. A Serial worker ignores it.
	MaxInFlight int

	// MaxWaiting is how many calls of a method with MaxInFlight wait in the worker
	// for their turn, beside its Concurrency. Further calls are moved to an overflow
	// list of the method in Redis, which every worker of the type reads while it has
	// room, in order. Defaults to 64.
	MaxWaiting int

	// MaxOverflow is the length of the overflow list above which further calls are
	// answered with CodeQueueFull. Defaults to 10,000.
	MaxOverflow int
}

// Handle has h serve the calls of a method. Its context ends at the deadline of
// the caller, and when the worker has waited long enough for it to stop. The
// error that h returns goes to the caller as an [*Error]; see [Code].
//
// Handle panics if the worker has a handler for the method already or was run:
// what a worker serves is part of the program.
func Handle[A, R any](w *Worker, m Method[A, R], h func(ctx context.Context, args A) (R, error), opts ...HandleOptions) {
	mustHandle(m.name, h == nil)
	w.register(m.name, &method{args: typeOf[A](), result: typeOf[R](), idempotent: m.idempotent}, opts, typed(h))
}

// mustHandle panics if a method is given no handler.
func mustHandle(method string, isNil bool) {
	if isNil {
		panic(fmt.Sprintf("bus: method %q: nil handler", method))
	}
}

// typed is a handler behind its codecs.
func typed[A, R any](h func(context.Context, A) (R, error)) func(context.Context, *task) (Body, error) {
	return func(ctx context.Context, t *task) (Body, error) {
		var args A
		if err := t.body.decode(&args); err != nil {
			return Body{}, &refusal{CodeBadArguments, err.Error()}
		}
		result, err := h(ctx, args)
		if err != nil {
			return Body{}, err
		}
		body, err := encode(t.body.Codec, result)
		if err != nil {
			return Body{}, &refusal{CodeBadResult, err.Error()}
		}
		return body, nil
	}
}

// HandleAny has h serve the calls of all methods that have no handler, on the
// bytes that the caller sent. MaxInFlight is for all of them together.
func HandleAny(w *Worker, h func(ctx context.Context, method string, args Body) (Body, error), opts ...HandleOptions) {
	mustHandle(anyName, h == nil)
	w.register(anyName, &method{}, opts, func(ctx context.Context, t *task) (Body, error) {
		return h(ctx, t.request.method, t.body)
	})
}

// anyName is the name under which the calls that HandleAny serves are counted.
// No method can have it.
const anyName = "*"

// refusal is an error of ours in place of a handler's. Handlers can't make one.
type refusal struct {
	code Code
	text string
}

func (r *refusal) Error() string { return string(r.code) + ": " + r.text }

// method is what serves a name.
type method struct {
	name         string
	call         func(context.Context, *task) (Body, error)
	around       func(context.Context, *task) (Body, error) // call in its middleware, if there is any
	lane         *lane
	stats        *methodStats
	stream       bool
	builtin      bool
	deferred     bool // answered through a busio.Call
	idempotent   bool
	maxOverflow  int
	args, result reflect.Type // nil: unknown
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// register adds a method.
func (w *Worker) register(name string, m *method, opts []HandleOptions, call func(context.Context, *task) (Body, error)) {
	o, err := optional(opts)
	switch {
	case w == nil:
		panic(fmt.Sprintf("bus: method %q: nil worker", name))
	case name == "":
		panic("bus: handler for a zero Method")
	case w.begun.Load():
		panic(fmt.Sprintf("bus: worker %s: handler for %q after Run", w.ID(), name))
	case err != nil:
		panic("bus: " + err.Error())
	case o.MaxInFlight < 0:
		panic(fmt.Sprintf("bus: HandleOptions.MaxInFlight: %d is negative", o.MaxInFlight))
	case o.MaxWaiting < 0:
		panic(fmt.Sprintf("bus: HandleOptions.MaxWaiting: %d is negative", o.MaxWaiting))
	case o.MaxOverflow < 0:
		panic(fmt.Sprintf("bus: HandleOptions.MaxOverflow: %d is negative", o.MaxOverflow))
	case w.methods[name] != nil, name == anyName && w.other != nil:
		panic(fmt.Sprintf("bus: worker %s: two handlers for %q", w.ID(), name))
	}
	m.name, m.call, m.stats = name, call, newMethodStats()
	switch {
	case m.builtin:
		m.lane = &w.builtins
	case w.serial != nil:
		m.lane = w.serial
	case o.MaxInFlight > 0:
		m.maxOverflow = cmp.Or(o.MaxOverflow, 10_000)
		m.lane = &lane{
			limit: o.MaxInFlight, room: cmp.Or(o.MaxWaiting, 64),
			shared: &overflowList{key: w.keys.overflow(name)}, own: &overflowList{key: w.keys.ownOverflow(name, w.info.ID)},
		}
		w.limited = append(w.limited, m.lane)
	default:
		m.lane = &lane{}
	}
	if len(w.cfg.Middleware) > 0 && !m.builtin && !m.deferred {
		m.around = w.surround(m)
	}
	if name == anyName {
		w.other = m
	} else {
		w.methods[name] = m
	}
}

// surround returns a method's call in the worker's middleware.
func (w *Worker) surround(m *method) func(context.Context, *task) (Body, error) {
	return func(ctx context.Context, t *task) (Body, error) {
		next := wrap(w.cfg.Middleware, func(ctx context.Context, r *Request) (*Response, error) {
			t.ctx.header, t.body = r.Header, r.Body
			body, err := m.call(ctx, t)
			if err != nil {
				return nil, err
			}
			return &Response{From: w.info.ID, Header: Header{}, Body: body}, nil
		})
		if t.ctx.header == nil {
			t.ctx.header = Header{}
		}
		resp, err := next(ctx, &Request{To: w.info.ID, Method: t.request.method, Header: t.ctx.header, Body: t.body, Stream: m.stream})
		if err != nil || resp == nil {
			return Body{}, err
		}
		t.answer = resp.Header
		return resp.Body, nil
	}
}

// find returns what serves a name, or nil.
func (w *Worker) find(name string) *method {
	if m := w.methods[name]; m != nil {
		return m
	}
	return w.other
}
