package keywords

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
)

// legacyRecheck is how often a watched keyword of Cauldron is read without a notification.
const legacyRecheck = 5 * time.Second

// watch calls event with each event of a keyword until event returns false, ctx ends or
// Redis refuses.
func (l *Legacy) watch(ctx context.Context, def *Definition, event func(EventKind, readResult) bool) error {
	if err := l.allow(def); err != nil {
		return err
	}
	host := ctx
	ctx, done := l.within(ctx)
	defer done()
	var trouble error // why Redis was not read last
	ended := func(err error) error {
		switch {
		case l.ctx.Err() != nil || errors.Is(err, pubsub.ErrClosed):
			return ErrClosed
		case host.Err() != nil:
			return redisio.Because(host.Err(), trouble)
		}
		return err
	}
	// Notifications only say that something is to be read, so the newest is enough.
	newest := pubsub.SubscribeOptions{Overflow: pubsub.OverflowConflate}
	subscribe := func(key string) (*pubsub.Subscription[string], error) {
		s, err := pubsub.Subscribe(ctx, l.ps, pubsub.NewKeyEvents(key), newest)
		if err != nil {
			trouble = redisio.Reason(err)
			err = ended(redisio.Wrap(fmt.Sprintf("keywords: %v", def), err))
		}
		return s, err
	}
	values, err := subscribe(l.key(def))
	if err != nil {
		return err
	}
	defer values.Close()
	registry, err := subscribe(l.registry())
	if err != nil {
		return err
	}
	defer registry.Close()

	var last readResult // that an event has told
	begun, told := false, EventInitial
	contact, tries := time.Now(), 0
	for {
		r, err := l.readSoon(ctx, def)
		wait := legacyRecheck
		switch {
		case err != nil && (ctx.Err() != nil || errors.Is(err, ErrClosed) || refusedByRedis(err)):
			return ended(err)
		case err != nil:
			trouble, wait = err, redisio.Backoff(tries)
			tries++
			if begun { // what is read next may not be what a notification was about
				told = EventResync
			}
			if last.ok && last.quality != QualityDisconnected && time.Since(contact) >= maxSilence {
				last.quality = QualityDisconnected
				if !event(EventDisconnected, last) {
					return nil
				}
			}
		case !begun && !r.defined:
			return l.refused(def, r)
		default:
			begun, contact, tries, trouble = true, time.Now(), 0, nil
			if kind, news := legacyEvent(last, r, told); news {
				if !r.ok {
					r.text, r.err = last.text, last.err // an EventGone has the last value
				}
				last = r
				if !event(kind, r) {
					return nil
				}
			}
			told = EventResync
		}
		select {
		case <-ctx.Done():
			return ended(ctx.Err())
		case <-time.After(wait):
		case m, ok := <-values.C():
			if !ok {
				return ended(values.Err())
			}
			if m.Err == nil && begun {
				told = EventChange
			}
		case _, ok := <-registry.C():
			if !ok {
				return ended(registry.Err())
			}
		}
	}
}

// readSoon reads a keyword, within a time after which Redis counts as unreachable.
func (l *Legacy) readSoon(ctx context.Context, def *Definition) (readResult, error) {
	ctx, cancel := context.WithTimeout(ctx, redisio.BlockTime)
	defer cancel()
	return l.read(ctx, def)
}

// legacyEvent returns the kind of the event that r is after what was told last, if it is
// one. Told is the kind of a new value.
func legacyEvent(last, r readResult, told EventKind) (kind EventKind, news bool) {
	switch {
	case !r.ok:
		return EventGone, last.ok
	case !last.ok, r.text != last.text, (r.err == nil) != (last.err == nil):
		return told, true
	case r.quality == last.quality:
		return 0, false
	case r.quality == QualityStale:
		return EventStale, true
	}
	return EventGood, true
}
