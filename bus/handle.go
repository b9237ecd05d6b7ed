package bus

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
)

// HandleOptions are the options of [Handle], [HandleAny], [HandleStream], [Register] and
// [Files]. They limit each method by itself.
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

// Handle registers h as the handler of a method. The context of h ends at the
// caller's deadline, when the caller gives up, when a stopping worker has waited for
// WorkerConfig.Drain and, of an idempotent call to a group, with the worker's lease. The caller gets an error that h returns as an [*Error]; see
// [Code].
//
// Handle panics if h is nil, if the worker has a handler for the method already, or
// if the worker was run.
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

// typed returns h with its arguments decoded and its result encoded.
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

// HandleAny registers h as the handler of all methods that have none, on encoded
// arguments and results. The limits of HandleOptions apply to all these methods
// together. HandleAny panics as [Handle] does.
func HandleAny(w *Worker, h func(ctx context.Context, method string, args Body) (Body, error), opts ...HandleOptions) {
	mustHandle(anyName, h == nil)
	w.register(anyName, &method{}, opts, func(ctx context.Context, t *task) (Body, error) {
		return h(ctx, t.request.method, t.body)
	})
}

// anyName is the name, in statistics and keys, of the methods that HandleAny
// serves. No method can have that name.
const anyName = "*"

// refusal is an error that the worker answers itself. Handlers can't return one.
type refusal struct {
	code Code
	text string
}

func (r *refusal) Error() string { return string(r.code) + ": " + r.text }

// method is a method that a worker serves.
type method struct {
	name         string
	call         func(context.Context, *task) (Body, error)
	wrapped      bool // in the worker's middleware
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

// register adds a method. It panics on mistakes of the program.
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
	m.wrapped = w.chain != nil && !m.builtin && !m.deferred
	if name == anyName {
		w.other = m
	} else {
		w.methods[name] = m
	}
}

// find returns the method that serves a name, or nil.
func (w *Worker) find(name string) *method {
	if m := w.methods[name]; m != nil {
		return m
	}
	return w.other
}
