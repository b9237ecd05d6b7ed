package keywords

import (
	"context"
	"errors"
	"time"
)

// ErrNoWriteNecessary is returned by a Prewrite hook, as it is or wrapped, to say that
// the keyword has the wanted value already. The modify then succeeds with the present
// revision, and no further hook runs. It has no effect while the keyword moves, or
// after a move that was aborted or has failed: see Hooks.Move.
var ErrNoWriteNecessary = errors.New("keywords: no write necessary")

// Hooks are the functions by which a dispatcher carries out modifies and refreshes of a
// keyword. Each may be nil. Without hooks a keyword has the value that was set last.
//
// A modify runs Prewrite, Check, Write or Move, and Postwrite, in this order. The first error
// ends the modify and is returned to the writer, as [CodeRejected] unless it is an
// [*Error]. The value is committed before Postwrite. A refresh runs Preread,
// Read and Postread.
//
// All hooks of a dispatcher except Move run one after another. Such a hook that calls Modify for a
// keyword of its own dispatcher waits for itself until its context ends; use [Set].
type Hooks[T any] struct {
	// Prewrite is called first, with the present value. It may return
	// ErrNoWriteNecessary.
	Prewrite func(ctx context.Context, old Value[T], v T) error
	// Check refuses values that the definition allows but the hardware does not.
	Check func(ctx context.Context, v T) error
	// Write carries the modify out. The value is committed when Write returns.
	Write func(ctx context.Context, v T) error
	// Move carries a modify out in place of Write, if that takes long. It runs on a
	// goroutine of its own, in which it waits for the hardware, while other hooks run and
	// other keywords are modified. The modify's answer waits for it. Until then the
	// keyword keeps its value; the move, with its target and progress, is shown by
	// another keyword: see [ReadMove].
	//
	// If Move returns nil, m.Target is committed. If it returns an error, the value stays
	// and the writer gets the error. Move must return soon after ctx has ended, with the
	// hardware at rest: by [Abort] or another modify (see Supersede), which is CodeAborted
	// for the writer; DispatcherConfig.Drain after the dispatcher has begun to end, likewise;
	// or with the lease, which is ErrIndeterminate. A writer that gives up does not end
	// the move; it needs a deadline, or ClientConfig.Timeout, as long as its moves. A
	// dispatcher that dies in a move leaves it to its successor to show it as aborted.
	//
	// A keyword with Move can't be part of a ModifyMany. Its Postwrite runs after the move,
	// perhaps while another one runs.
	Move func(ctx context.Context, m *Moving[T]) error
	// Supersede makes a modify of a keyword that moves abort that move and begin its own
	// once the hook has returned. By default it is refused with CodeBusy.
	Supersede bool

	// Postwrite is called with the value once it is committed. The writer does not wait
	// for it, but the next modify does. Its time limit is DispatcherConfig.Drain, and
	// its error is logged.
	Postwrite func(ctx context.Context, v T) error

	// Preread is called before Read. Its error ends the refresh.
	Preread func(ctx context.Context) error
	// Read returns the value that the hardware has now. It is committed if it differs
	// from the present value by more than Spec.DeadBand.
	Read func(ctx context.Context) (T, error)
	// Postread is called with the result of Read, before it is committed. Its error
	// ends the refresh.
	Postread func(ctx context.Context, v T) error

	// Period is the time between two refreshes by the dispatcher. Defaults to
	// Spec.Period; if that is 0 too, the keyword is refreshed only on request.
	Period time.Duration
}

// Serve adds a keyword to a dispatcher. It panics if the keyword is the zero Keyword,
// belongs to another service or dispatcher, or is served already, and after Run.
func Serve[T Type](d *Dispatcher, k Keyword[T], h Hooks[T]) {
	if err := k.check("Serve"); err != nil {
		panic(err)
	}
	on := func(f func(context.Context, T) error) func(context.Context, any) error {
		if f == nil {
			return nil
		}
		return func(ctx context.Context, v any) error {
			t, err := k.decode(v)
			if err != nil {
				return err
			}
			return f(ctx, t)
		}
	}
	u := Hooks[any]{
		Check: on(h.Check), Write: on(h.Write), Postwrite: on(h.Postwrite), Postread: on(h.Postread),
		Preread: h.Preread, Period: h.Period, Supersede: h.Supersede,
	}
	if h.Move != nil {
		u.Move = func(ctx context.Context, m *Moving[any]) error {
			t, err := k.decode(m.Target)
			if err != nil {
				return err
			}
			return h.Move(ctx, &Moving[T]{Target: t, ID: m.ID, progress: m.progress})
		}
	}
	if h.Prewrite != nil {
		u.Prewrite = func(ctx context.Context, old Value[any], v any) error {
			t, err := k.decode(v)
			if err != nil {
				return err
			}
			was := Value[T]{Rev: old.Rev, Time: old.Time, Severity: old.Severity, Source: old.Source}
			if old.V != nil { // nil: it has none yet
				if was.V, err = k.decode(old.V); err != nil {
					return err
				}
			}
			return h.Prewrite(ctx, was, t)
		}
	}
	if h.Read != nil {
		u.Read = func(ctx context.Context) (any, error) {
			v, err := h.Read(ctx)
			if err != nil {
				return nil, err
			}
			return k.encode(v), nil
		}
	}
	d.serve(k.Definition(), u)
}
