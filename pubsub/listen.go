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

// Listen calls handler for every message of a topic, a pattern or the events of keys,
// one call after the other, or at most SubscribeOptions.Concurrency calls at a time.
// It returns once Redis has confirmed the subscription, as [Subscribe] does. Each
// listener of a topic gets every message.
//
// The handler's context has the values of ctx, and ends when the listener is closed.
// An error or a panic of the handler is logged and counted, and ends that call only.
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

// Close ends the listener: the handler is not called again. The context of a running
// call ends, and Close does not wait for the call, so that a handler may close its own
// listener. Close may be called more than once.
func (l *Listener) Close() error {
	l.q.close(nil)
	l.q.c.forget(l.q)
	return nil
}

// Done returns a channel that is closed once the listener has ended and no handler
// runs.
func (l *Listener) Done() <-chan struct{} { return l.q.done }

// Err returns why the listener has ended, as [Subscription.Err] does.
func (l *Listener) Err() error { return l.q.result() }

// Recovered reports what [Subscription.Recovered] does.
func (l *Listener) Recovered() bool { return l.recovered }
