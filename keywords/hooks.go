package keywords

import (
	"context"
	"errors"
	"time"
)

// ErrNoWriteNecessary is returned by a Prewrite hook, as it is or wrapped, to say that
// the keyword has the wanted value already. The modify then succeeds with the present
// revision, and no further hook runs.
var ErrNoWriteNecessary = errors.New("keywords: no write necessary")

// Hooks are the functions by which a dispatcher carries out modifies and refreshes of a
// keyword. Each may be nil. Without hooks a keyword has the value that was set last.
//
// A modify runs Prewrite, Check, Write and Postwrite, in this order. The first error
// ends the modify and is returned to the writer, as [CodeRejected] unless it is an
// [*Error]. The value is committed between Write and Postwrite. A refresh runs Preread,
// Read and Postread.
//
// All hooks of a dispatcher run one after another. A hook that calls Modify for a
// keyword of its own dispatcher waits for itself until its context ends; use [Set].
type Hooks[T any] struct {
	// Prewrite is called first, with the present value. It may return
	// ErrNoWriteNecessary.
	Prewrite func(ctx context.Context, old Value[T], v T) error
	// Check refuses values that the definition allows but the hardware does not.
	Check func(ctx context.Context, v T) error
	// Write carries the modify out. The value is committed when Write returns.
	Write func(ctx context.Context, v T) error
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
