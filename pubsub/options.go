package pubsub

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Policy says what becomes of a subscription whose consumer is too slow, when its
// queue is full. The others, and the connection to Redis, never notice.
type Policy uint8

const (
	// End ends the subscription with [ErrSlow], once what is queued has been
	// taken: a consumer that can't keep up is a fault to be seen.
	End Policy = iota
	// DropOldest drops the oldest message and says so, with the number, by a
	// [*GapError] in its place.
	DropOldest
	// Coalesce has a message replace the one with the same key that still waits:
	// by [Topic.WithKey], or without it by channel. A queue that is full all the
	// same ends as with End.
	Coalesce
	// Block lets the queue outgrow its limits, with all that are doing so by
	// Config.MaxOverflow, for as long as SubscribeOptions.Patience. Then it ends
	// as with End.
	Block

	policies // how many there are
)

// complete reports whether the policy leaves no message out.
func (p Policy) complete() bool { return p == End || p == Block }

// ErrSlow is the error of a subscription that ended because its queue was full.
var ErrSlow = errors.New("pubsub: the consumer is too slow")

// SubscribeOptions are the options of [Subscribe] and [Listen].
type SubscribeOptions struct {
	// MaxMessages is how many messages may wait for the consumer. 0: 16,384.
	MaxMessages int

	// MaxBytes is how many bytes may. 0: 16 MiB. One message is taken whatever
	// its size.
	MaxBytes int

	// Policy is what happens to more. The zero Policy is End.
	Policy Policy

	// Patience is how long Block waits. 0: 1 s.
	Patience time.Duration

	// Concurrency is how many calls of its handler a [Listen] may have at a time.
	// 0 and 1: one after the other, in order.
	Concurrency int

	// After is where to go on in a topic with history: the offset of the last
	// message that was seen. [Subscription.Recovered] tells whether nothing was
	// lost since. Empty: with what comes.
	After Offset

	// Replay begins with all that the history holds.
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
	case o.Policy >= policies:
		return o, fmt.Errorf("SubscribeOptions.Policy: there is no %d", o.Policy)
	case s.history.zero() && (o.After != "" || o.Replay):
		return o, fmt.Errorf("SubscribeOptions.After, Replay: topic %s has no history", s.name)
	case o.After != "" && o.Replay:
		return o, errors.New("SubscribeOptions: After and Replay exclude each other")
	case (o.After != "" || o.Replay) && !o.Policy.complete():
		return o, errors.New("SubscribeOptions.Policy: with After or Replay it must be End or Block")
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
