package pubsub

import (
	"context"
	"errors"
	"fmt"
)

// Subscription receives the messages of a topic or pattern, in the order in which
// Redis sent them.
//
//	for m := range sub.C() {
//		if m.Err != nil {
//			…
//		}
//	}
//	return sub.Err()
type Subscription[T any] struct {
	q         *queue
	ch        chan Message[T]
	recovered bool
}

// Subscribe subscribes to a topic, a pattern or the events of keys, and returns
// once Redis has confirmed it: messages published from then on are received. Ctx,
// or Config.Timeout, bounds that wait, not the subscription. While Redis is
// unreachable Subscribe waits; the error that ends the wait has the reason in its
// text. If Redis refuses the subscription, Subscribe returns the reply.
func Subscribe[T any](ctx context.Context, c *Client, from Source[T], opts ...SubscribeOptions) (*Subscription[T], error) {
	d, err := newDelivery(ctx, c, from, opts)
	if err != nil {
		return nil, subscribeError(from, err)
	}
	if d.q.opts.Concurrency > 1 {
		return nil, subscribeError(from, errors.New("SubscribeOptions.Concurrency is for Listen"))
	}
	size := 0 // messages that have left the queue are not conflated any more
	if d.q.opts.Overflow.complete() {
		size = 16
	}
	s := &Subscription[T]{q: d.q, ch: make(chan Message[T], size)}
	d.q.ended = func() { close(s.ch) }
	d.sink = func(ctx context.Context, m Message[T]) error {
		select {
		case s.ch <- m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if d.hand = d.call; d.through == nil {
		d.hand = func(it item) { _ = d.pass(it) } // no function of the host runs
	}
	s.recovered, err = d.start(ctx, nil)
	if err != nil {
		return nil, subscribeError(from, err)
	}
	return s, nil
}

func subscribeError(from fmt.Stringer, err error) error {
	return fmt.Errorf("pubsub: subscribe to %s: %w", from, err)
}

// C returns the channel of the messages. It is closed when the subscription has
// ended; Err says why.
func (s *Subscription[T]) C() <-chan Message[T] { return s.ch }

// Err returns why C was closed or will be closed: [ErrSlow], [ErrClosed] after the
// client's Close, or the error with which Redis withdrew the permission. It is nil
// while the subscription runs, and after the subscription's Close.
func (s *Subscription[T]) Err() error { return s.q.result() }

// Recovered reports whether the subscription began right after SubscribeOptions.After.
// If not, the first message is a [*GapError]. It is true if After was empty.
func (s *Subscription[T]) Recovered() bool { return s.recovered }

// Close ends the subscription and drops queued messages. It may be called more than
// once.
func (s *Subscription[T]) Close() error {
	s.q.close(nil)
	s.q.c.forget(s.q)
	return nil
}
