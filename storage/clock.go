package storage

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock tells the time of Redis, so that deadlines and leases mean the same to
// processes whose own clocks disagree. What it learnt from TIME is carried on by
// the process's monotonic clock: setting the system's clock does not move it.
// The servers of a cluster are taken to agree with each other.
type Clock struct {
	local func() time.Time
	known atomic.Pointer[moment]
}

// moment is the time of Redis at a local time.
type moment struct{ redis, local time.Time }

func (m *moment) at(local time.Time) time.Time { return m.redis.Add(local.Sub(m.local)) }

// NewClock returns a clock that tells local time until its first Sync. A nil
// local is time.Now.
func NewClock(local func() time.Time) *Clock {
	c := &Clock{local: local}
	if local == nil {
		c.local = time.Now
	}
	now := c.local()
	c.known.Store(&moment{redis: now.Round(0), local: now})
	return c
}

// Now returns the time of Redis.
func (c *Clock) Now() time.Time { return c.known.Load().at(c.local()) }

// Sync asks Redis for its time through client. The answer was true at some
// moment between question and answer: a clock that already told it then is left
// alone, so that it does not jitter, and any other is set to the middle.
func (c *Clock) Sync(ctx context.Context, client redis.Cmdable) error {
	asked := c.local()
	now, err := client.Time(ctx).Result()
	if err != nil {
		return Normalize(ctx, err)
	}
	answered := c.local()
	if known := c.known.Load(); now.Before(known.at(asked)) || now.After(known.at(answered)) {
		c.known.Store(&moment{redis: now, local: asked.Add(answered.Sub(asked) / 2)})
	}
	return nil
}
