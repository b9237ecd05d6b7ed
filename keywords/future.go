package keywords

import (
	"context"
)

// Future is a modify under way; see [ModifyAsync].
type Future struct {
	done chan struct{}
	rev  Revision
	err  error
}

// ModifyAsync is [Modify] without waiting: the Future tells its end. Ctx, or
// ClientConfig.Timeout, bounds how long it may take. Two that are under way at the
// same time may be carried out in either order.
func ModifyAsync[T Type](ctx context.Context, c *Client, k Keyword[T], v T, opts ...ModifyOptions) *Future {
	f := &Future{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.rev, f.err = Modify(ctx, c, k, v, opts...)
	}()
	return f
}

// Done is closed when the modify is complete, or has failed.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait waits for the end and returns it, as [Modify] does. If ctx ends first it
// returns that, and the modify goes on.
func (f *Future) Wait(ctx context.Context) (Revision, error) {
	select {
	case <-f.done:
		return f.rev, f.err
	case <-ctx.Done():
		return Revision{}, ctx.Err()
	}
}
