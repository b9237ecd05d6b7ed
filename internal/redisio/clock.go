package redisio

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock tells the time of Redis, so that deadlines and leases mean the same to processes
// whose own clocks differ. It asks TIME, and continues with the process's monotonic
// clock, so that setting the system's clock does not change it. It assumes that the
// servers of a cluster agree.
type Clock struct {
	known atomic.Pointer[moment]
}

// moment is the time of Redis at a local time.
type moment struct{ redis, local time.Time }

// NewClock returns a clock that continues from the time of wall until its first Sync.
// Wall is called once. It defaults to time.Now.
func NewClock(wall func() time.Time) *Clock {
	if wall == nil {
		wall = time.Now
	}
	c := &Clock{}
	c.known.Store(&moment{redis: wall().Round(0), local: time.Now()})
	return c
}

// Now returns the time of Redis.
func (c *Clock) Now() time.Time { return c.At(time.Now()) }

// At returns the time of Redis at a local time, as time.Now has returned it.
func (c *Clock) At(local time.Time) time.Time {
	m := c.known.Load()
	return m.redis.Add(local.Sub(m.local))
}

// Local returns the local time at a time of Redis.
func (c *Clock) Local(redis time.Time) time.Time {
	m := c.known.Load()
	return m.local.Add(redis.Sub(m.redis))
}

// PrimaryOf returns the part of a client that talks to the server with a key: on a
// cluster its primary, where a command without a key, such as TIME, goes to any server.
func PrimaryOf(ctx context.Context, client redis.UniversalClient, key string) (redis.Cmdable, error) {
	if c, ok := client.(*redis.ClusterClient); ok {
		return c.MasterForKey(ctx, key)
	}
	return client, nil
}

// Sync asks Redis for its time through client. The answer was right at some moment
// between question and answer. If the clock agrees with it for one of these moments it
// is not changed, so that it does not jitter; otherwise it is set for the middle.
func (c *Clock) Sync(ctx context.Context, client redis.Cmdable) error {
	asked := time.Now()
	now, err := client.Time(ctx).Result()
	if err != nil {
		return Normalize(ctx, err)
	}
	answered := time.Now()
	if now.Before(c.At(asked)) || now.After(c.At(answered)) {
		c.known.Store(&moment{redis: now, local: asked.Add(answered.Sub(asked) / 2)})
	}
	return nil
}
