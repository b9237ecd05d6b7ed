package redisio

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// Backoff returns how long to wait before the next try after try failures in a
// row: 10 ms after none, doubled with each failure up to half a second, and changed by
// up to a quarter at random, so that many processes don't try at the same moment.
func Backoff(try int) time.Duration {
	d := min(minBackoff<<min(max(try, 0), 10), maxBackoff)
	return d - d/4 + rand.N(d/2)
}

// Sleep waits for d and reports true, or false as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
