package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Cancel ends a job, and returns the state that it had. A job that waited is removed. The
// context of the handler of a running one ends, with the cause ErrCancelled, and the job
// is not tried again: unless the handler returns no error it becomes a dead letter. (If
// its worker dies before, the job runs again.) A dead letter stays one. Without such a job
// Cancel returns [ErrNotFound].
func (c *Client) Cancel(ctx context.Context, id string) (State, error) {
	var state State
	err := c.steer(ctx, "cancel", id, func(ctx context.Context, q queue, job string) error {
		where := ""
		if p, ok := placeOf(job); ok {
			where = p.String()
		}
		info, err := c.get(ctx, q, job)
		if err != nil {
			return err
		}
		text, err := luaCancel.Run(ctx, c.pool.Redis(), q.keys(q.flow(info.flow)), job, where, group, info.unique, "", node(info.flow, job)).Text()
		if err == nil && text == "" {
			return ErrNotFound
		}
		state = State(text)
		return err
	})
	return state, err
}

// Retry makes a dead letter wait again, with all its attempts and without its old
// expiry. It returns [ErrNotDead] for another job, and [ErrDuplicate] while another has its
// unique key.
func (c *Client) Retry(ctx context.Context, id string) error {
	return c.steer(ctx, "retry", id, func(ctx context.Context, q queue, job string) error {
		data, err := c.pool.Redis().HGet(ctx, q.jobs(), job).Result()
		if errors.Is(err, redis.Nil) {
			return c.notDead(ctx, q, job)
		}
		if err != nil {
			return err
		}
		r, err := unpackRecord(data)
		if err != nil {
			return err
		}
		r.Used, r.Expires = 0, 0
		if r.Method == "" {
			return invalid("the entry was malformed, and can only be discarded")
		}
		packed, err := r.pack()
		if err != nil {
			return err
		}
		n, err := luaRetry.Run(ctx, c.pool.Redis(), q.keys(), job, r.Priority.letter(), packed, r.Group, r.Unique).Int64()
		if n < 0 {
			return ErrDuplicate
		}
		if err == nil && n == 0 {
			return c.notDead(ctx, q, job)
		}
		return err
	})
}

// Discard removes a dead letter. It returns [ErrNotDead] for another job.
func (c *Client) Discard(ctx context.Context, id string) error {
	return c.steer(ctx, "discard", id, func(ctx context.Context, q queue, job string) error {
		n, err := luaDiscard.Run(ctx, c.pool.Redis(), []string{q.jobs(), q.dead()}, job).Int64()
		if err == nil && n == 0 {
			return c.notDead(ctx, q, job)
		}
		return err
	})
}

func (c *Client) notDead(ctx context.Context, q queue, job string) error {
	info, err := c.get(ctx, q, job)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w but %s", ErrNotDead, info.State)
}

// Pause makes the workers of a queue begin no more of its jobs until Resume. Those that
// run go on. Jobs may still be submitted.
func (c *Client) Pause(ctx context.Context, queue string) error { return c.setPaused(ctx, queue, 1) }

// Resume ends a Pause.
func (c *Client) Resume(ctx context.Context, queue string) error { return c.setPaused(ctx, queue, 0) }

func (c *Client) setPaused(ctx context.Context, name string, paused int) error {
	return c.steerQueue(ctx, "pause or resume "+name, name, func(ctx context.Context, q queue) error {
		return luaPause.Run(ctx, c.pool.Redis(), []string{q.paused(), q.notes()}, paused).Err()
	})
}

// PauseGroup makes the workers of a queue begin no more jobs of a group until ResumeGroup.
// At most 10,000 groups of a queue are paused.
func (c *Client) PauseGroup(ctx context.Context, queue, group string) error {
	return c.setGroupPaused(ctx, queue, group, 1)
}

// ResumeGroup ends a PauseGroup.
func (c *Client) ResumeGroup(ctx context.Context, queue, group string) error {
	return c.setGroupPaused(ctx, queue, group, 0)
}

const maxPausedGroups = 10_000

func (c *Client) setGroupPaused(ctx context.Context, name, group string, paused int) error {
	return c.steerQueue(ctx, "pause or resume group "+group, name, func(ctx context.Context, q queue) error {
		if err := checkName("group", group); err != nil {
			return err
		}
		n, err := luaPauseGroup.Run(ctx, c.pool.Redis(), q.keys(), group, paused, maxPausedGroups).Int64()
		if n < 0 {
			return invalid("queue %s has %d paused groups, which is the limit", name, maxPausedGroups)
		}
		return err
	})
}

// steerQueue carries out do, a command on a queue.
func (c *Client) steerQueue(ctx context.Context, what, name string, do func(ctx context.Context, q queue) error) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	q, err := openQueue(c.pool, c.cfg.Site, name)
	if err == nil {
		err = do(ctx, q)
	}
	return wrap(ctx, what, err)
}

// steer carries out do, a command on a job.
func (c *Client) steer(ctx context.Context, what, id string, do func(ctx context.Context, q queue, job string) error) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	q, job, err := c.job(id)
	if err == nil {
		err = do(ctx, q, job)
	}
	return wrap(ctx, what+" "+id, err)
}
