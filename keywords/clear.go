package keywords

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// fenceTTL is how long Clear keeps the fencing numbers, so that a dispatcher that was
// suspended for less time can't write again.
const fenceTTL = 24 * time.Hour

// Clear removes a service: definitions, values, history and revisions. It returns
// [ErrServed] if a dispatcher of the service lives. A dispatcher that was suspended
// during Clear ends with [CodeFenced] when it resumes. A large service is removed in
// pieces; where Clear fails, part of it may be left, and another Clear removes that.
func (c *Client) Clear(ctx context.Context, service string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return err
	}
	err = c.persist(ctx, func() error { return c.clear(ctx, s) })
	if err != nil && !errors.Is(err, ErrServed) {
		return redisio.Wrap(fmt.Sprintf("keywords: clear %s", service), err)
	}
	return err
}

// clear is one try of Clear.
func (c *Client) clear(ctx context.Context, s service) error {
	rdb := c.pool.Redis()
	fences, err := rdb.HKeys(ctx, s.fence()).Result()
	if err != nil {
		return err
	}
	served := func(disp string) error {
		return redisio.Wrap(fmt.Sprintf("keywords: %s.%s", s.name, disp), ErrServed)
	}
	owners := make([]string, len(fences))
	for i, disp := range fences {
		owners[i] = s.owner(disp)
		if n, err := rdb.Exists(ctx, owners[i]).Result(); err != nil {
			return err
		} else if n > 0 {
			return served(disp)
		}
	}
	// remove deletes keys, unless a dispatcher has begun meanwhile.
	remove := func(keys ...string) error {
		living, err := luaClear.Run(ctx, rdb, slices.Concat(owners, keys), len(owners)).Int()
		if living > 0 {
			return served(fences[living-1])
		}
		return err
	}
	all, err := scanDefinitions(ctx, rdb, s)
	if err != nil {
		return err
	}
	_, err = rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, disp := range fences {
			tx.Del(ctx, s.meta(disp), s.standbys(disp))
			tx.HIncrBy(ctx, s.fence(), disp, 1) // a suspended dispatcher must not write again
		}
		tx.Expire(ctx, s.fence(), fenceTTL)
		return nil
	})
	if err != nil {
		return err
	}
	for names := range slices.Chunk(slices.Collect(maps.Keys(all)), pieceSize) {
		var keys []string
		for _, name := range names {
			keys = append(keys, s.value(name), s.log(name))
		}
		if err := remove(keys...); err != nil {
			return err
		}
	}
	if err := remove(s.definitions()); err != nil { // last, since they name the other keys
		return err
	}
	key, err := servicesKey(c.pool)
	if err != nil {
		return err
	}
	return rdb.SRem(ctx, key, s.name).Err()
}

// pieceSize is how many keywords one command or script is about: while Redis carries it
// out, it serves no other client.
const pieceSize = 256

// scanDefinitions reads the definitions of a service, by name, in pieces. A definition
// that is there all the time is in the result; one that is written or removed meanwhile
// may be.
func scanDefinitions(ctx context.Context, client redis.Cmdable, s service) (map[string]string, error) {
	all := make(map[string]string)
	for cursor := uint64(0); ; {
		some, next, err := client.HScan(ctx, s.definitions(), cursor, "", pieceSize).Result()
		if err != nil {
			return nil, redisio.Normalize(ctx, err)
		}
		for i := 0; i+1 < len(some); i += 2 {
			all[some[i]] = some[i+1]
		}
		if cursor = next; cursor == 0 {
			return all, nil
		}
	}
}
