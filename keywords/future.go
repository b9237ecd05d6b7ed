package keywords

import (
	"context"
)

// Future is the result of a [ModifyAsync], which may still run.
type Future struct {
	done chan struct{}
	rev  Revision
	err  error
}

// ModifyAsync calls [Modify] in a goroutine and returns at once. Ctx and
// ClientConfig.Timeout bound the modify. Two modifies that run at the same time may be
// carried out in either order.
func ModifyAsync[T Type](ctx context.Context, c *Client, k Keyword[T], v T, opts ...ModifyOptions) *Future {
	f := &Future{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.rev, f.err = Modify(ctx, c, k, v, opts...)
	}()
	return f
}

// Done returns a channel that is closed when the modify has ended.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait waits until the modify has ended and returns what [Modify] returned. If ctx ends
// first, Wait returns its error and the modify continues.
func (f *Future) Wait(ctx context.Context) (Revision, error) {
	select {
	case <-f.done:
		return f.rev, f.err
	case <-ctx.Done():
		return Revision{}, ctx.Err()
	}
}
