package bus

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// members returns the living workers of an audience. It waits, until ctx ends, while
// that is not known: Redis can't be reached, takes no writes, so that leases end
// whose workers live, or has returned and workers may not have registered again.
func (c *Client) members(ctx context.Context, a Audience) ([]WorkerInfo, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	var reason error // of the wait
	for try := 0; ; try++ {
		workers, err := c.workers(ctx, a.typ)
		if err == nil {
			// If the inbox is there, Redis had its data when it was asked for the workers.
			err = c.renew(ctx, c.pool.Redis())
		}
		switch {
		case err == nil && c.link.settled():
			in := a.filter()
			return slices.DeleteFunc(workers, func(w WorkerInfo) bool { return !in(w) }), nil
		case ctx.Err() != nil:
			reason = cmp.Or(redisio.Reason(err), reason)
		case err == nil:
			reason = errSettling
		case mayPass(err):
			reason = err
		default:
			return nil, local(err)
		}
		if end := c.pause(ctx, nil, time.After(redisio.Backoff(try))); end != nil {
			if end == ErrClosed {
				return nil, end
			}
			return nil, redisio.Because(end, cmp.Or(reason, c.link.reason()))
		}
	}
}

// mayPass reports whether a command that failed may succeed a little later.
func mayPass(err error) bool {
	fate := redisio.FateOf(err)
	return fate == redisio.Unsent || fate == redisio.Unknown
}
