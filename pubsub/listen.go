package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Listener is a handler that is called for each message.
type Listener struct {
	q         *queue
	recovered bool
}

// Listen calls handler for every message of a topic, a pattern or the events of
// keys: one after the other, or as many at a time as
// SubscribeOptions.Concurrency says. It returns once Redis has confirmed it, as
// [Subscribe] does. Listeners don't know of each other: each gets every message.
//
// The handler's context has the values of ctx, and ends when the listener is
// closed. An error that it returns is logged and counted; so is a panic, which
// ends that call and nothing else.
func Listen[T any](ctx context.Context, c *Client, from Source[T], handler func(context.Context, Message[T]) error, opts ...SubscribeOptions) (*Listener, error) {
	d, err := newDelivery(ctx, c, from, opts)
	if err != nil {
		return nil, listenError(from, err)
	}
	if handler == nil {
		return nil, listenError(from, errors.New("no handler"))
	}
	d.sink, d.hand = handler, d.call
	if n := d.q.opts.Concurrency; n > 1 {
		slots := make(chan struct{}, n)
		var running sync.WaitGroup
		d.q.ended = running.Wait
		d.hand = func(it item) {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				d.call(it)
			})
		}
	}
	l := &Listener{q: d.q}
	if l.recovered, err = d.start(ctx, l); err != nil {
		return nil, listenError(from, err)
	}
	return l, nil
}

func listenError(from fmt.Stringer, err error) error {
	return fmt.Errorf("pubsub: listen to %s: %w", from, err)
}

// Close has the handler not be called again. It does not wait for a call that
// runs, whose context ends: a handler may close its own listener. It may be
// called more than once.
func (l *Listener) Close() error {
	l.q.close(nil)
	l.q.c.forget(l.q)
	return nil
}

// Done is closed when the listener has ended and the handler does not run any
// more.
func (l *Listener) Done() <-chan struct{} { return l.q.done }

// Err returns why the listener has ended, as [Subscription.Err] does.
func (l *Listener) Err() error { return l.q.result() }

// Recovered is [Subscription.Recovered].
func (l *Listener) Recovered() bool { return l.recovered }
