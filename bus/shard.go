package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// shard is what a client knows of the server that has the keys of a type. On a cluster
// that server may fail over, stop or lose its data while the one of the client's inbox
// goes on: only its own shard says whether a registry can be relied on. Without a
// cluster all types have one shard, that of the inbox.
type shard struct {
	c    *Client
	link *connection
	used atomic.Int64 // as route.used

	// mark is a key that the client keeps on the server. It goes with the server's
	// data, as an inbox does. Empty: the inbox is there.
	mark   string
	marked atomic.Bool // the server has had it

	// A search for lost calls:
	searching atomic.Bool
	searched  time.Time
	since     time.Duration       // since the search before
	none      map[*route]*absence // of living workers
}

func newShard(c *Client, link *connection, mark string) *shard {
	return &shard{c: c, link: link, mark: mark, none: make(map[*route]*absence)}
}

// shardOf returns the shard of the keys that begin with base.
func (c *Client) shardOf(base string) *shard {
	if !c.clustered {
		return c.home
	}
	known, ok := c.shards.Load(base)
	if !ok {
		known, _ = c.shards.LoadOrStore(base, newShard(c, &connection{log: c.link.log}, base+":mark:"+c.id))
	}
	s := known.(*shard)
	s.used.Store(int64(c.age(time.Now())))
	return s
}

// renew tells whether the server is there, takes writes and still has its data.
func (s *shard) renew(ctx context.Context, client redis.UniversalClient) error {
	if s.mark == "" {
		return s.c.renew(ctx, client)
	}
	err := client.SetArgs(ctx, s.mark, "", redis.SetArgs{Get: true, TTL: inboxTTL}).Err()
	gone := errors.Is(err, redis.Nil)
	if gone {
		err = nil
	}
	err = redisio.Normalize(ctx, err)
	if s.link.markRenewed(err); err == nil && s.marked.Swap(true) && gone {
		s.link.markReset()
	}
	return err
}

// because returns the end of a wait for the shard with its reason.
func (s *shard) because(end error) error {
	if reason := s.link.reason(); reason != nil && end != ErrClosed {
		return redisio.Because(end, reason)
	}
	return s.c.because(end)
}

// forgetShards forgets the shards that are not in use.
func (c *Client) forgetShards(now time.Time, inUse map[*shard]bool) {
	c.shards.Range(func(base, known any) bool {
		s := known.(*shard)
		if !inUse[s] && c.age(now)-time.Duration(s.used.Load()) > routeIdle {
			c.shards.Delete(base)
		}
		return true
	})
}
