package pubsub

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Overflow says what happens when a message arrives and the queue of its
// subscription is full because the consumer is too slow. Other subscriptions and
// the connection to Redis are not delayed in any case.
type Overflow uint8

const (
	// OverflowEnd ends the subscription with [ErrSlow] after the queued messages
	// were delivered.
	OverflowEnd Overflow = iota
	// OverflowDropOldest drops the oldest message. A [*GapError] with the number
	// of dropped messages is delivered in their place.
	OverflowDropOldest
	// OverflowConflate replaces a queued message by a newer one with the same key:
	// that of [Topic.WithKey], or else the channel. If the queue is full of other
	// keys, the subscription ends with ErrSlow.
	OverflowConflate
	// OverflowBlock lets the queue exceed its limits for at most
	// SubscribeOptions.Patience, and all such queues together by at most
	// Config.MaxOverflow bytes. Beyond that the subscription ends with ErrSlow.
	OverflowBlock

	overflows // number of constants
)

// complete reports whether every message is delivered.
func (o Overflow) complete() bool { return o == OverflowEnd || o == OverflowBlock }

// ErrSlow is the error of a subscription that ended because its queue was full.
var ErrSlow = errors.New("pubsub: the consumer is too slow")

// SubscribeOptions are the options of [Subscribe] and [Listen].
type SubscribeOptions struct {
	// MaxMessages is the number of messages that may wait for the consumer.
	// Defaults to 16,384.
	MaxMessages int

	// MaxBytes is the size of the messages that may wait for the consumer, in
	// bytes. A single message may be larger. Defaults to 16 MiB.
	MaxBytes int

	// Overflow says what happens to a message that exceeds MaxMessages or
	// MaxBytes. Defaults to OverflowEnd.
	Overflow Overflow

	// Patience is how long OverflowBlock lets a queue exceed its limits. Defaults
	// to 1 second.
	Patience time.Duration

	// Concurrency is the number of calls of the handler of [Listen] that may run at
	// a time. With more than one, messages are handled out of order. Defaults to 1.
	Concurrency int

	// After is the offset of the last message that was seen, for a topic with
	// history: the subscription begins with the message after it.
	// [Subscription.Recovered] reports whether none is missing. If After is empty,
	// the subscription begins with the next message that is published.
	After Offset

	// Replay begins the subscription with all messages in the topic's history.
	Replay bool
}

func (o SubscribeOptions) complete(s spec) (SubscribeOptions, error) {
	for _, field := range []struct {
		name string
		n    int64
	}{
		{"MaxMessages", int64(o.MaxMessages)}, {"MaxBytes", int64(o.MaxBytes)},
		{"Patience", int64(o.Patience)}, {"Concurrency", int64(o.Concurrency)},
	} {
		if field.n < 0 {
			return o, fmt.Errorf("SubscribeOptions.%s: %d is negative", field.name, field.n)
		}
	}
	switch {
	case o.Overflow >= overflows:
		return o, fmt.Errorf("SubscribeOptions.Overflow: there is no %d", o.Overflow)
	case s.history.zero() && (o.After != "" || o.Replay):
		return o, fmt.Errorf("SubscribeOptions.After, Replay: topic %s has no history", s.name)
	case o.After != "" && o.Replay:
		return o, errors.New("SubscribeOptions: After and Replay exclude each other")
	case (o.After != "" || o.Replay) && !o.Overflow.complete():
		return o, errors.New("SubscribeOptions.Overflow: with After or Replay it must be OverflowEnd or OverflowBlock")
	}
	if o.After != "" {
		if _, err := parseOffset(o.After); err != nil {
			return o, fmt.Errorf("SubscribeOptions.After: %w", err)
		}
	}
	o.MaxMessages = cmp.Or(o.MaxMessages, 16_384)
	o.MaxBytes = cmp.Or(o.MaxBytes, 16<<20)
	o.Patience = cmp.Or(o.Patience, time.Second)
	o.Concurrency = cmp.Or(o.Concurrency, 1)
	return o, nil
}
