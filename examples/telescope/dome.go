package main

import (
	"context"
	"time"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// shutterTime is how long the shutter takes to open or to close.
const shutterTime = 500 * time.Millisecond

// newDome returns the dispatcher of the dome.
func newDome(pool *storage.Pool) ([]*keywords.Dispatcher, error) {
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{
		Service: "dome", Status: "STATUS", Heartbeat: "CLK", Drain: time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	slit := axis{at: 350, speed: 60, circle: 360}
	keywords.Serve(d, DomeTarget, keywords.Hooks[float64]{Write: func(ctx context.Context, to float64) error {
		return slit.move(ctx, to, func(at float64) error { return keywords.Set(ctx, d, DomeAzimuth, at) })
	}})
	keywords.Serve(d, DomeAzimuth, keywords.Hooks[float64]{})
	keywords.Serve(d, DomeShutter, keywords.Hooks[Shutter]{Prewrite: isThere, Write: func(ctx context.Context, _ Shutter) error {
		select {
		case <-time.After(shutterTime):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	keywords.Serve(d, DomeLamps, keywords.Hooks[Lamps]{})
	keywords.Serve(d, DomeNote, keywords.Hooks[string]{})
	keywords.Serve(d, DomeCrew, keywords.Hooks[[]string]{})
	return []*keywords.Dispatcher{d}, nil
}

// isThere is the Prewrite hook of the shutter: an open shutter need not be opened.
func isThere(_ context.Context, old keywords.Value[Shutter], v Shutter) error {
	if old.V == v {
		return keywords.ErrNoWriteNecessary
	}
	return nil
}
