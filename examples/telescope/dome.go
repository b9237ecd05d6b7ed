package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// shutterTime is how long the shutter takes to open or to close.
const shutterTime = 500 * time.Millisecond

// newDome returns the dispatcher of the dome.
func newDome(pool *storage.Pool) ([]*keywords.Dispatcher, error) {
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{
		Service: "dome", Status: "STATUS", Heartbeat: "CLK",
		Drain: time.Second, // the dome stops when the program ends; the shutter still closes
	})
	if err != nil {
		return nil, err
	}
	slit := axis{at: 350, speed: 60, circle: 360}
	keywords.Serve(d, DomeTarget, keywords.Hooks[float64]{
		Move:      func(ctx context.Context, m *keywords.Moving[float64]) error { return turn(ctx, d, &slit, m) },
		Supersede: true, // a new target replaces that of a dome that turns
	})
	keywords.Serve(d, DomeStop, keywords.Hooks[bool]{
		Write: func(ctx context.Context, on bool) error {
			if !on {
				return nil
			}
			return keywords.Abort(ctx, d, DomeTarget, "stopped")
		},
		Postwrite: func(ctx context.Context, _ bool) error { // ready for the next stop
			return keywords.Set(ctx, d, DomeStop, false)
		},
	})
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

// turn is the Move hook of TARGET. Other keywords of the dome are set while it turns.
func turn(ctx context.Context, d *keywords.Dispatcher, slit *axis, m *keywords.Moving[float64]) error {
	whole := math.Abs(slit.way(m.Target))
	return slit.move(ctx, m.Target, func(at float64) error {
		if err := keywords.Set(ctx, d, DomeAzimuth, at); err != nil || whole == 0 {
			return err
		}
		return m.Progress(1-math.Abs(slit.way(m.Target))/whole, fmt.Sprintf("at %.0f°", at))
	})
}

// isThere is the Prewrite hook of the shutter: an open shutter need not be opened.
func isThere(_ context.Context, old keywords.Value[Shutter], v Shutter) error {
	if old.V == v {
		return keywords.ErrNoWriteNecessary
	}
	return nil
}
