package pubsub

import (
	"context"
	"errors"
	"fmt"
)

// Recall returns the messages published to a topic after the offset after, oldest
// first, and the offset of the newest message. The topic must have a history. With
// an empty after it returns only the offset of the newest message.
//
// Recall never returns a partial result: if the history does not reach back to
// after, or holds more than SubscribeOptions.MaxMessages or MaxBytes since, the
// error is a [*GapError]. Other options are ignored.
//
// Recall is for a process that follows a topic on behalf of others. A subscription
// of its own continues with SubscribeOptions.After.
func Recall[T any](ctx context.Context, c *Client, from Topic[T], after Offset, opts ...SubscribeOptions) (missed []Message[T], head Offset, err error) {
	fail := func(err error) ([]Message[T], Offset, error) {
		return nil, head, fmt.Errorf("pubsub: recall %s: %w", from, err)
	}
	d, err := newDelivery(ctx, c, from, opts)
	if err != nil {
		return fail(err)
	}
	defer d.q.cancel()
	if d.history == nil {
		return fail(errors.New("the topic has no history"))
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if after == "" {
		at, err := d.history.head(ctx)
		if err != nil {
			return fail(err)
		}
		return nil, at.offset(), nil
	}
	start, err := parseOffset(after)
	if err != nil {
		return fail(err)
	}
	var items []item
	at := start
	err = insist(ctx, func() (err error) {
		items, at, err = d.history.since(ctx, start, false)
		return err
	})
	switch {
	case isUnfillable(err):
		if at, err2 := d.history.head(ctx); err2 == nil {
			head = at.offset()
		}
		return fail(&GapError{Cause: err})
	case err != nil:
		return fail(err)
	}
	for _, it := range items {
		missed = append(missed, d.message(it))
	}
	return missed, at.offset(), nil
}

// Before reports whether the message at o was published before the one at p. It
// is false for places in different histories.
func (o Offset) Before(p Offset) bool {
	a, err := parseOffset(o)
	b, err2 := parseOffset(p)
	return err == nil && err2 == nil && a.epoch == b.epoch && a.n < b.n
}

// ParseOffset checks an offset that comes from outside and returns it.
func ParseOffset(s string) (Offset, error) {
	if _, err := parseOffset(Offset(s)); err != nil {
		return "", fmt.Errorf("pubsub: %w", err)
	}
	return Offset(s), nil
}
