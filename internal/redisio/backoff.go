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
// row, the first being 0: 10 ms, doubled with each, at most half a second, and a
// quarter more or less, so that many processes don't try at the same moment.
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
