package pubsub

import (
	"context"
	"errors"
	"fmt"
)

// Recall reads what a topic's history holds behind the message at after: all of
// it and in order, or none of it and a [*GapError] where it does not reach back
// that far. Head is the place of the last message that was published, to be
// asked for next time; an empty after asks for nothing else. Before the first
// message there is a place as well, behind which a gap is all that can be told. Of
// the options MaxMessages and MaxBytes count: of more than that nothing is
// returned, as of a gap.
//
// Who follows a topic for many others reads with it for each what that one has
// missed; for a single subscription there is SubscribeOptions.After.
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
	case errors.Is(err, errTrimmed), errors.Is(err, errEpoch), errors.Is(err, errTooMuch):
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

// ParseOffset returns the offset that s is, for one that comes from outside.
func ParseOffset(s string) (Offset, error) {
	if _, err := parseOffset(Offset(s)); err != nil {
		return "", fmt.Errorf("pubsub: %w", err)
	}
	return Offset(s), nil
}
