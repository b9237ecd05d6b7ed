package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// callContext is the context of a handler. It makes its timer and channel only when
// Done is first called, which few handlers do: they would be a tenth of the cost of a
// call.
type callContext struct {
	parent   context.Context // the worker's
	deadline time.Time       // zero: none
	header   Header

	mu     sync.Mutex
	real   context.Context // made by the first Done
	cancel context.CancelCauseFunc
	over   bool
	alone  atomic.Bool // the caller has given up
	lapsed atomic.Bool // the worker's lease has
}

func (c *callContext) Deadline() (time.Time, bool) {
	return c.deadline, !c.deadline.IsZero()
}

func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeLocked()
	return c.real.Done()
}

// makeLocked makes the real context.
func (c *callContext) makeLocked() {
	if c.real != nil {
		return
	}
	c.real, c.cancel = context.WithCancelCause(c.parent)
	if !c.deadline.IsZero() {
		outer, cancel := c.cancel, context.CancelFunc(nil)
		c.real, cancel = context.WithDeadline(c.real, c.deadline)
		c.cancel = func(cause error) {
			outer(cause)
			cancel()
		}
	}
	if c.over {
		c.cancel(nil)
	}
}

func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
		return c.real.Err()
	case c.over:
		return context.Canceled
	case c.parent.Err() != nil:
		return c.parent.Err()
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value asks the real context once it is made: package context finds it so, and
// attaches children to it without a goroutine.
func (c *callContext) Value(key any) any {
	if key == (headerKey{}) {
		return c.header
	}
	c.mu.Lock()
	from := c.real
	c.mu.Unlock()
	if from == nil {
		from = c.parent
	}
	return from.Value(key)
}

// end cancels the context.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel(nil)
	}
}

// lapse cancels the context because the worker's lease has lapsed. The real context is
// made for its cause.
func (c *callContext) lapse() {
	c.lapsed.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeLocked()
	c.over = true
	c.cancel(ErrLeaseLapsed)
}

// abandon cancels the context because the caller has given up.
func (c *callContext) abandon() {
	c.alone.Store(true)
	c.end()
}

func (c *callContext) abandoned() bool { return c.alone.Load() }

// headerKey is the key of a handler's Header.
type headerKey struct{}

// HeaderFrom returns the Header that the caller sent, from the context of a handler.
// It may be nil and must not be changed.
func HeaderFrom(ctx context.Context) Header {
	h, _ := ctx.Value(headerKey{}).(Header)
	return h
}
