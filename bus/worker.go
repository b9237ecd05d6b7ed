package bus

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

	// Concurrency is how many calls the worker holds at most. 0: 64.
	Concurrency int

	// Serial makes handlers run one at a time, in the order in which the calls
	// came. The worker then holds up to Prefetch calls, 0: 64, and Concurrency
	// is not used.
	Serial   bool
	Prefetch int

	// Lease is how long the worker counts as alive after its last sign of life,
	// of which it gives three in that time. 0: 5 s. At least 300 ms.
	Lease time.Duration

	// Drain is how long a stopping worker waits for its handlers before it
	// cancels their contexts. 0: 10 s. Negative: not at all.
	Drain time.Duration

	// MaxMessage is the largest arguments and the largest result, in bytes as
	// encoded. 0: 1 MiB. Larger ones are answered with CodeBadArguments and
	// CodeBadResult.
	MaxMessage int
}

func (c WorkerConfig) complete() (WorkerConfig, error) {
	c.Site = cmp.Or(c.Site, DefaultSite)
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.Prefetch = cmp.Or(c.Prefetch, 64)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.Drain = cmp.Or(c.Drain, 10*time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	if err := checkName("WorkerConfig.Site", c.Site); err != nil {
		return c, err
	}
	if err := checkName("WorkerConfig.Type", c.Type); err != nil {
		return c, err
	}
	switch {
	case strings.HasPrefix(c.Type, reservedPrefix):
		return c, fmt.Errorf("bus: WorkerConfig.Type: %q: types that begin with %q belong to package keywords", c.Type, reservedPrefix)
	case c.Concurrency < 0:
		return c, fmt.Errorf("bus: WorkerConfig.Concurrency: %d is negative", c.Concurrency)
	case c.Prefetch < 0:
		return c, fmt.Errorf("bus: WorkerConfig.Prefetch: %d is negative", c.Prefetch)
	case c.Lease < 300*time.Millisecond:
		return c, fmt.Errorf("bus: WorkerConfig.Lease: %v is less than 300ms", c.Lease)
	case c.MaxMessage < 0:
		return c, fmt.Errorf("bus: WorkerConfig.MaxMessage: %d is negative", c.MaxMessage)
	}
	return c, nil
}

// Worker serves the calls of a type. Give it its handlers, then Run it.
type Worker struct {
	pool  *storage.Pool
	cfg   WorkerConfig
	info  WorkerInfo
	keys  keys
	types string // key

	methods map[string]*method
	other   *method // HandleAny's
	serial  *lane   // of every method, if cfg.Serial
	begun   atomic.Bool
	ready   chan struct{}

	clock   *storage.Clock
	link    link
	from    []byte // its id
	arrived int64  // calls, counted by the one goroutine that reads them
	slots   slots
	stats   struct{ calls, errors, expired, malformed, lost atomic.Int64 }
	noise   throttle

	work   context.Context // of the handlers
	cancel context.CancelFunc
	life   context.Context // of Run, drain included
	leave  context.CancelFunc
	held   sync.WaitGroup // calls, until their replies are written
	unsent atomic.Int64   // replies on their way

	mu      sync.Mutex
	inboxes map[string]string // client → key
}

// NewWorker returns a worker without handlers. It does not touch Redis.
func NewWorker(pool *storage.Pool, cfg WorkerConfig) (*Worker, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	w := &Worker{pool: pool, cfg: cfg, methods: make(map[string]*method), ready: make(chan struct{}), clock: storage.NewClock(nil)}
	if w.keys, err = typeKeys(pool, cfg.Site, cfg.Type); err != nil {
		return nil, err
	}
	if w.types, err = typesKey(pool, cfg.Site); err != nil {
		return nil, err
	}
	id, host, pid := newID()
	w.info = WorkerInfo{ID: cfg.Type + ":" + id, Site: cfg.Site, Type: cfg.Type, Host: host, PID: pid}
	w.from, w.inboxes = []byte(w.info.ID), make(map[string]string)
	w.link.log = pool.Logger().With("worker", w.info.ID)
	w.life, w.leave = context.WithCancel(context.Background())
	w.work, w.cancel = context.WithCancel(w.life)
	held := cfg.Concurrency
	if cfg.Serial {
		held = cfg.Prefetch
		w.serial = &lane{limit: 1}
	}
	w.slots.init(held)
	return w, nil
}

// ID returns the worker's id, type:host:pid:uid, for [Direct].
func (w *Worker) ID() string { return w.info.ID }

// Ready returns a channel that is closed when Run has made the worker known to
// callers.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// HandleOptions are the options of [Handle] and [HandleAny].
type HandleOptions struct {
	// MaxInFlight is how many calls of the method run at a time. Others wait in
	// the worker, in order, each in one of its Concurrency slots. 0: no limit of
	// its own.
	MaxInFlight int
}

// Handle has h serve the calls of a method. Its context ends at the deadline of
// the caller, and when the worker has waited long enough for it to stop. The
// error that h returns goes to the caller as an [*Error]; see [Code].
//
// Handle panics if the worker has a handler for the method already or was run:
// what a worker serves is part of the program.
func Handle[A, R any](w *Worker, m Method[A, R], h func(ctx context.Context, args A) (R, error), opts ...HandleOptions) {
	w.register(m.name, opts, func(ctx context.Context, req *request) (Body, error) {
		var args A
		if err := req.body.decode(&args); err != nil {
			return Body{}, &refusal{CodeBadArguments, err.Error()}
		}
		result, err := h(ctx, args)
		if err != nil {
			return Body{}, err
		}
		body, err := encode(req.body.Codec, result)
		if err != nil {
			return Body{}, &refusal{CodeBadResult, err.Error()}
		}
		return body, nil
	})
}

// HandleAny has h serve the calls of all methods that have no handler, on the
// bytes that the caller sent. MaxInFlight is for all of them together.
func HandleAny(w *Worker, h func(ctx context.Context, method string, args Body) (Body, error), opts ...HandleOptions) {
	w.register("", opts, func(ctx context.Context, req *request) (Body, error) {
		return h(ctx, string(req.method), req.body)
	})
}

// refusal is an error of ours in place of a handler's. Handlers can't make one.
type refusal struct {
	code Code
	text string
}

func (r *refusal) Error() string { return string(r.code) + ": " + r.text }

// method is what serves a name.
type method struct {
	call func(context.Context, *request) (Body, error)
	lane *lane
}

// register adds a method; that of HandleAny has no name.
func (w *Worker) register(name string, opts []HandleOptions, call func(context.Context, *request) (Body, error)) {
	var o HandleOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	switch {
	case w.begun.Load():
		panic(fmt.Sprintf("bus: worker %s: handler for %q after Run", w.ID(), name))
	case len(opts) > 1:
		panic("bus: more than one HandleOptions")
	case o.MaxInFlight < 0:
		panic(fmt.Sprintf("bus: HandleOptions.MaxInFlight: %d is negative", o.MaxInFlight))
	}
	m := &method{call: call, lane: &lane{limit: o.MaxInFlight}}
	if w.serial != nil {
		m.lane = w.serial
	}
	switch {
	case name == "" && w.other == nil:
		w.other = m
	case name != "" && w.methods[name] == nil:
		w.methods[name] = m
	default:
		panic(fmt.Sprintf("bus: worker %s: two handlers for %q", w.ID(), name))
	}
}

// find returns what serves a name, or nil.
func (w *Worker) find(name []byte) *method {
	if m := w.methods[string(name)]; m != nil {
		return m
	}
	return w.other
}

// WorkerStats is a snapshot of what a worker has done.
type WorkerStats struct {
	Calls     int64 // answered, with a result or an error
	Errors    int64 // of these, answered with an error
	Expired   int64 // not run, because their deadline had passed
	Malformed int64 // requests that could not be understood
	Lost      int64 // answers that could not be written, or whose client had gone
	Held      int   // calls in the worker now, running or waiting
}

// Stats returns what the worker has done since it was made.
func (w *Worker) Stats() WorkerStats {
	return WorkerStats{
		Calls:     w.stats.calls.Load(),
		Errors:    w.stats.errors.Load(),
		Expired:   w.stats.expired.Load(),
		Malformed: w.stats.malformed.Load(),
		Lost:      w.stats.lost.Load(),
		Held:      w.slots.taken(),
	}
}
