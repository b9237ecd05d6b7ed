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

// ModifyAsync is [Modify] that returns at once. Ctx and ClientConfig.Timeout bound the
// modify.
//
// The modifies of one client to one dispatcher are carried out in the order in which
// ModifyAsync was called; long moves are begun in that order. One that fails is left out, and
// those after it are carried out. A Modify or refresh that the client calls later is sent
// after them. No request is sent twice: to try again is to call ModifyAsync again, and comes
// after what was called meanwhile. If it is unknown whether a request has reached Redis,
// the next ones are sent, and if it arrives after a later one was carried out, it is
// refused with [CodeOvertaken].
func ModifyAsync[T Type](ctx context.Context, c *Client, k Keyword[T], v T, opts ...ModifyOptions) *Future {
	f := &Future{done: make(chan struct{})}
	o, err := optional(opts)
	if err == nil {
		err = k.check("ModifyAsync")
	}
	var origin string
	if err == nil {
		origin, err = c.originOf(o.Origin)
	}
	if err != nil {
		f.err = err
		close(f.done)
		return f
	}
	p := c.line.join(workerType(k.def.Service, k.def.Dispatcher))
	go func() {
		defer close(f.done)
		defer p.leave()
		if f.err = k.checkKind(ctx, c); f.err != nil {
			return
		}
		req := request{Changes: []requestedChange{k.change(v, o)}, Origin: origin}
		f.rev, f.err = c.ask(ctx, k.def.Service, k.def.Dispatcher, methodModify, req, p)
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
