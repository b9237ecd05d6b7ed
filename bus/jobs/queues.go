package jobs

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// queueTTL is how long a queue is known to [Client.Queues] after it was used.
const queueTTL = 7 * 24 * time.Hour

// queuesKey returns the zset of the queues of a site, with when they were used last, in
// Unix seconds of the clocks of their users.
func queuesKey(pool *storage.Pool, site string) (string, error) {
	return pool.Key("jobs", redisio.HashTag(site), "queues")
}

// Queues returns the names of the queues of the site, sorted. A queue is known for a week
// after it was served, or a client has begun to submit to it.
func (c *Client) Queues(ctx context.Context) ([]string, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	key, err := queuesKey(c.pool, c.cfg.Site)
	if err != nil {
		return nil, err
	}
	oldest := strconv.FormatInt(time.Now().Add(-queueTTL).Unix(), 10)
	names, err := c.pool.Redis().ZRangeByScore(ctx, key, &redis.ZRangeBy{Min: oldest, Max: "+inf"}).Result()
	slices.Sort(names)
	return names, wrap(ctx, "queues", err)
}

// announce makes a queue known to Queues, and forgets those that were not used lately.
func announce(ctx context.Context, pool *storage.Pool, rdb redis.Cmdable, q queue) error {
	key, err := queuesKey(pool, q.site)
	if err != nil {
		return err
	}
	now := time.Now()
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, key, redis.Z{Score: float64(now.Unix()), Member: q.name})
		p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.Add(-queueTTL).Unix(), 10))
		return nil
	})
	return err
}
