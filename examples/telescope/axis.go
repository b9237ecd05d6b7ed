package main

import (
	"context"
	"math"
	"time"
)

// axis simulates a motor that moves at constant speed.
type axis struct {
	at     float64
	speed  float64 // units per second
	circle float64 // units in a turn, such as 360 for a dome; 0: it does not turn
}

// tick is the time between two positions that an axis reports while it moves.
const tick = 25 * time.Millisecond

// way returns how far it is to a position, negative if that is backwards. An axis that
// turns takes the shorter way.
func (a *axis) way(to float64) float64 {
	if a.circle > 0 {
		return math.Remainder(to-a.at, a.circle)
	}
	return to - a.at
}

// move moves the axis and reports its positions. It returns when the axis has arrived, or
// when ctx ends, which stops the axis.
func (a *axis) move(ctx context.Context, to float64, report func(at float64) error) error {
	way, from, begin := a.way(to), a.at, time.Now()
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
		if err := report(a.at); err != nil {
			return err
		}
	}
	return nil
}
