package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// denied returns the error of a worker that Redis refuses. Redis names a command
// that a user may not run, but not a key that it may not use.
func (w *Worker) denied(err error) error {
	if redis.IsPermissionError(err) {
		inbox := strings.TrimSuffix(w.types, "}:types") + ":inbox:*"
		err = fmt.Errorf("%w (the worker needs the keys %s:*, %s and %s; see bus/README.md for its commands)", err, w.keys.base, w.types, inbox)
	}
	return redisio.Wrap("bus: worker "+w.ID(), err)
}

// rehearse runs the commands that the worker will need on keys that only this
// worker uses, so that a user without the right to one of them is told so before
// callers know the worker. It leaves nothing behind.
func (w *Worker) rehearse(ctx context.Context, plain redis.UniversalClient) error {
	own := w.keys.ownQueue(w.info.ID)
	inbox, err := inboxKey(w.pool, w.cfg.Site, strings.TrimPrefix(w.info.ID, w.info.Type+":"))
	if err != nil {
		return err
	}
	err = transact(ctx, plain, func(tx redis.Pipeliner) error {
		tx.RPush(ctx, own, "", "")
		tx.LPush(ctx, own, "")
		tx.LPopCount(ctx, own, 1)
		tx.PExpire(ctx, own, queueTTL)
		tx.ZRem(ctx, w.keys.alive(), w.info.ID)
		tx.ZCard(ctx, w.keys.alive())
		tx.Del(ctx, w.keys.control(w.info.ID), w.keys.leaving(w.info.ID))
		return nil
	})
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	// The worker's own queue comes first, and has elements: no call is taken.
	q := popper{client: plain, keys: []string{own, w.keys.queue(), w.keys.control(w.info.ID)}}
	if _, _, err := q.pop(2); err != nil {
		return redisio.Normalize(ctx, err)
	}
	// The inbox does not exist, so that nothing is written.
	err = plain.XAdd(ctx, &redis.XAddArgs{Stream: inbox, NoMkStream: true, Values: []string{redisio.StreamField, ""}}).Err()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return redisio.Normalize(ctx, err)
}
