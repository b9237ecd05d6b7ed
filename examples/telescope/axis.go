package main

import (
	"context"
	"math"
	"time"
)

// axis is something that moves, and a simulation only in that it has no motor.
type axis struct {
	at     float64
	speed  float64 // units a second
	circle float64 // where it is at 0 again: 360 of a dome. 0: nowhere
}

// tick is between two positions that an axis tells while it moves.
const tick = 25 * time.Millisecond

// move returns when the axis is where it is to be, or ctx ends: then it stays
// where it is.
func (a *axis) move(ctx context.Context, to float64, told func(at float64) error) error {
	way, from, begin := to-a.at, a.at, time.Now()
	if a.circle > 0 {
		way = math.Remainder(way, a.circle) // the shorter one
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for there := false; !there; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		gone := time.Since(begin).Seconds() * a.speed
		if there = gone >= math.Abs(way); there {
			a.at = to
		} else {
			a.at = from + math.Copysign(gone, way)
		}
		if a.circle > 0 {
			a.at = math.Mod(a.at+a.circle, a.circle)
		}
		if err := told(a.at); err != nil {
			return err
		}
	}
	return nil
}
