package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Wait waits until a job of the method m is done, and returns its result, which must be
// kept: see SubmitOptions.KeepResult. It returns an [*Error] if the job is a dead letter,
// and [ErrNotFound] if there is no such job or its result was not kept. It looks at the
// job at least four times a second.
func Wait[A, R any](ctx context.Context, c *Client, m bus.Method[A, R], id string) (R, error) {
	var value R
	body, err := WaitRaw(ctx, c, id)
	if err == nil && (len(body.Data) > 0 || body.Codec == storage.Text || body.Codec == storage.Raw) {
		if err = body.Codec.Unmarshal(body.Data, &value); err != nil {
			err = redisio.Wrap("jobs: wait for "+id, err)
		}
	}
	return value, err
}

// WaitRaw is [Wait] for the encoded result.
func WaitRaw(ctx context.Context, c *Client, id string) (bus.Body, error) {
	body, err := c.wait(ctx, id)
	var dead *Error
	if err != nil && !errors.As(err, &dead) {
		err = redisio.Wrap("jobs: wait for "+id, err)
	}
	return body, err
}

const (
	minLook = 5 * time.Millisecond // between two looks of Wait
	maxLook = 250 * time.Millisecond
)

func (c *Client) wait(ctx context.Context, id string) (bus.Body, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return bus.Body{}, err
	}
	defer cancel()
	q, job, err := c.job(id)
	if err != nil {
		return bus.Body{}, err
	}
	var trouble error
	for pause := minLook; ; pause = min(2*pause, maxLook) {
		body, over, err := c.lookForResult(ctx, q, job)
		switch {
		case over:
			return body, err
		case err != nil && redisio.FateOf(err) == redisio.Settled, errors.Is(err, storage.ErrClosed):
			return bus.Body{}, local(err)
		}
		trouble = err
		if !redisio.Sleep(ctx, pause) {
			return bus.Body{}, redisio.Because(ctx.Err(), trouble)
		}
		if c.closed.Load() {
			return bus.Body{}, ErrClosed
		}
	}
}

// lookForResult returns the result of a job, or over is false while it has none.
func (c *Client) lookForResult(ctx context.Context, q queue, job string) (body bus.Body, over bool, err error) {
	info, err := c.get(ctx, q, job)
	switch {
	case errors.Is(err, ErrNotFound):
		return body, true, err
	case err != nil:
		return body, false, err
	case info.State == StateDead:
		return body, true, &Error{ID: info.ID, Text: info.Error, Attempts: info.Begun}
	case info.State != StateDone:
		return body, false, nil
	}
	data, err := c.pool.Redis().Get(ctx, q.done(job)).Result()
	if errors.Is(err, redis.Nil) {
		return body, true, ErrNotFound
	}
	if err != nil {
		return body, false, err
	}
	var r result
	if err := storage.MsgPack.Unmarshal([]byte(data), &r); err != nil {
		return body, true, err
	}
	if !r.Kept {
		return body, true, ErrNotFound
	}
	return bus.Body{Codec: r.Codec, Data: r.Data}, true, nil
}
