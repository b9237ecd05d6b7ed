package keywords

import (
	"cmp"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// persist calls read until Redis answers: again while Redis is unreachable, or refuses for
// a reason that passes. It ends with ctx, whose error then has the reason in its text, and
// when the client is closed. Read may be called again, and makes one try.
func (c *Client) persist(ctx context.Context, read func() error) error {
	var reason error
	for try := 0; ; try++ {
		err := read()
		var answer *Error
		switch {
		case err == nil, refusedByRedis(err), errors.As(err, &answer), errors.Is(err, ErrServed):
			return err
		case ctx.Err() != nil:
			return redisio.Normalize(ctx, cmp.Or(reason, err))
		case c.isClosed(), errors.Is(err, redis.ErrClosed):
			return ErrClosed
		}
		reason = err
		redisio.Sleep(ctx, redisio.Backoff(try))
	}
}

// refusedByRedis reports whether Redis has refused a command, and will the next time.
func refusedByRedis(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !redisio.Passing(err)
}
