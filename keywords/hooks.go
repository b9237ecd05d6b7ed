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
// that fails ends it, and its error goes to the writer, as [ErrRejected] unless
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
	// Postwrite is told the value that was set. The writer does not wait for it;
	// it has DispatcherConfig.Drain.
	Postwrite func(ctx context.Context, v T) error

	// Read returns the value that is true now, which is set if it differs.
	Preread  func(ctx context.Context) error
	Read     func(ctx context.Context) (T, error)
	Postread func(ctx context.Context, v T) error

	// Period has the keyword refreshed so often. 0: as Spec.Period says, and
	// without that only when somebody asks.
	Period time.Duration
}

// hooks are Hooks whose types are not known.
type hooks struct {
	prewrite  func(ctx context.Context, old record, v any) error
	check     func(ctx context.Context, v any) error
	write     func(ctx context.Context, v any) error
	postwrite func(ctx context.Context, v any) error
	preread   func(ctx context.Context) error
	read      func(ctx context.Context) (any, error)
	postread  func(ctx context.Context, v any) error
	period    time.Duration
}

// Serve has a dispatcher serve a keyword. It panics if the keyword is of another
// service or dispatcher, is served already, or the dispatcher was run: what it
// serves is part of the program.
func Serve[T Type](d *Dispatcher, k Keyword[T], h Hooks[T]) {
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
	u := hooks{
		check: on(h.Check), write: on(h.Write), postwrite: on(h.Postwrite), postread: on(h.Postread),
		preread: h.Preread, period: h.Period,
	}
	if h.Prewrite != nil {
		u.prewrite = func(ctx context.Context, old record, v any) error {
			t, err := k.decode(v)
			if err != nil {
				return err
			}
			was, err := typed(k, old)
			if err != nil {
				return err
			}
			return h.Prewrite(ctx, was, t)
		}
	}
	if h.Read != nil {
		u.read = func(ctx context.Context) (any, error) {
			v, err := h.Read(ctx)
			if err != nil {
				return nil, err
			}
			return k.encode(v), nil
		}
	}
	d.serve(k.Definition(), u)
}

// typed is a record as the value of a keyword.
func typed[T Type](k Keyword[T], r record) (v Value[T], err error) {
	v = Value[T]{Rev: r.rev, Time: r.time(), Severity: r.severity, Source: r.source}
	if r.at == 0 {
		return v, nil // there is none
	}
	canonical, err := k.Definition().Parse(r.text)
	if err != nil {
		return Value[T]{}, err
	}
	v.V, err = k.decode(canonical)
	return v, err
}
