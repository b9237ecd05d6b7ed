package keywords

import (
	"context"
	"errors"
	"time"
)

// ErrNoWriteNecessary is what a Prewrite hook returns, or wraps, where the
// keyword has the value that is asked for already. The modify is complete then,
// with the revision that there is, and no other hook is run.
var ErrNoWriteNecessary = errors.New("keywords: no write necessary")

// Hooks are what a dispatcher does for a keyword. Each may be nil: without any,
// the keyword is an orphan, whose value is what was set last.
//
// A modify runs Prewrite, Check, Write and Postwrite, in this order; the first
// that fails ends it, and its error goes to the writer, as [CodeRejected] unless
// it is an [*Error]. Between Write and Postwrite the value is set. A refresh runs
// Preread, Read and Postread. All hooks of a dispatcher run one after another:
// one that calls Modify of a keyword of its own dispatcher waits for itself, until
// its context ends. [Set] is for that.
type Hooks[T any] struct {
	// Prewrite may answer ErrNoWriteNecessary.
	Prewrite func(ctx context.Context, old Value[T], v T) error
	// Check refuses values that are in range, and wrong all the same.
	Check func(ctx context.Context, v T) error
	// Write does it. The modify is complete when it returns.
	Write func(ctx context.Context, v T) error
	// Postwrite is told the value once it is committed. The writer does not wait
	// for it, but the next modify does; it has DispatcherConfig.Drain.
	Postwrite func(ctx context.Context, v T) error

	// Read returns the value that is true now, which is set if it differs.
	Preread  func(ctx context.Context) error
	Read     func(ctx context.Context) (T, error)
	Postread func(ctx context.Context, v T) error

	// Period has the keyword refreshed so often. 0: as Spec.Period says, and
	// without that only when somebody asks.
	Period time.Duration
}

// Serve has a dispatcher serve a keyword. It panics if the keyword is of another
// service or dispatcher, is served already, or the dispatcher was run: what it
// serves is part of the program.
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
		Preread: h.Preread, Period: h.Period,
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
