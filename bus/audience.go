package bus

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"
)

// members returns the living workers of an audience. It waits, until ctx ends, while
// that is not known: Redis can't be reached, takes no writes, so that leases end
// whose workers live, or has returned and workers may not have registered again.
func (c *Client) members(ctx context.Context, a Audience) (members []WorkerInfo, err error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	err = c.ask(ctx, func(ctx context.Context, from redis.UniversalClient) error {
		workers, shards, err := c.workers(ctx, from, a.typ)
		if err != nil {
			return err
		}
		for _, s := range shards {
			// If the mark is there, the server had its data when it was asked.
			if err := s.renew(ctx, from); err != nil {
				return err
			}
			if !s.link.settled() {
				return errSettling
			}
		}
		in := a.filter()
		members = slices.DeleteFunc(workers, func(w WorkerInfo) bool { return !in(w) })
		return nil
	})
	return members, err
}
