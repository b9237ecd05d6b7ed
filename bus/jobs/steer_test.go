package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCancel(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		begun := make(chan struct{}, 1)
		cancelled := func(id string, want jobs.State) {
			t.Helper()
			got, err := c.Cancel(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		waiting, err := jobs.Submit(t.Context(), c, "q", Task, 1)
		require.NoError(t, err)
		own, err := jobs.Submit(t.Context(), c, "q", Task, 1, jobs.SubmitOptions{ID: "own"})
		require.NoError(t, err)
		later, err := jobs.Submit(t.Context(), c, "q", Task, 1, jobs.SubmitOptions{Delay: time.Hour})
		require.NoError(t, err)
		info := state(t, c, later, jobs.StateScheduled)
		require.WithinDuration(t, time.Now().Add(time.Hour), info.Due, time.Minute)
		cancelled(waiting, jobs.StateWaiting)
		cancelled(own, jobs.StateWaiting)
		cancelled(later, jobs.StateScheduled)
		empty(t, pool, c)

		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		running, err := jobs.Submit(t.Context(), c, "q", Task, 1)
		require.NoError(t, err)
		<-begun
		list, _, err := c.List(t.Context(), "q", jobs.StateRunning)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, running, list[0].ID)
		n, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.Equal(t, jobs.Counts{Running: 1}, n)
		cancelled(running, jobs.StateRunning)
		info = state(t, c, running, jobs.StateDead)
		require.Equal(t, jobs.ErrCancelled.Error(), info.Error)
		cancelled(running, jobs.StateDead)
		require.NoError(t, c.Discard(t.Context(), running))
		empty(t, pool, c)
	})
}

func TestQueuesAreKnown(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		names, err := c.Queues(t.Context())
		require.NoError(t, err)
		require.Empty(t, names)
		serve(t, pool, jobs.QueueConfig{}, nil)
		_, err = jobs.Submit(t.Context(), c, "other", Task, 1)
		require.NoError(t, err)
		until(t, func() bool {
			names, err = c.Queues(t.Context())
			return err == nil && len(names) == 2
		}, "the queues are not known")
		require.Equal(t, []string{"other", "q"}, names)
		_, err = c.Purge(t.Context(), "other", jobs.StateWaiting)
		require.NoError(t, err)
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		var ran atomic.Int64
		serve(t, pool, jobs.QueueConfig{}, func(context.Context, int) (int, error) { ran.Add(1); return 0, nil })
		require.NoError(t, c.Pause(t.Context(), "q"))
		paused, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.True(t, paused.Paused)
		// The worker may not have read the note yet.
		until(t, func() bool {
			before := ran.Load()
			_, err := jobs.Submit(t.Context(), c, "q", Task, 1)
			require.NoError(t, err)
			time.Sleep(50 * time.Millisecond)
			return ran.Load() == before
		}, "the queue is not paused")
		before := ran.Load()
		_, err = jobs.SubmitMany(t.Context(), c, "q", Task, []int{1, 2, 3})
		require.NoError(t, err)
		list, _, err := c.List(t.Context(), "q", jobs.StateWaiting)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(list), 3)
		require.NoError(t, c.Resume(t.Context(), "q"))
		until(t, func() bool { return ran.Load() == before+4 }, "the jobs are not run")
		empty(t, pool, c)
	})
}

func TestSnoozeAndDiscard(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		var naps atomic.Int64
		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			if err := j.Progress(ctx, "half"); err != nil || j.Attempt != 1 {
				return 0, jobs.Discard(errors.New("attempt"))
			}
			if naps.Add(1) < 4 {
				return 0, jobs.Snooze(time.Millisecond)
			}
			return 0, jobs.Discard(errors.New("useless"))
		})
		id, err := jobs.Submit(t.Context(), c, "q", Task, 1, jobs.SubmitOptions{Attempts: 2})
		require.NoError(t, err)
		info := state(t, c, id, jobs.StateDead)
		require.Equal(t, "useless", info.Error)
		require.EqualValues(t, 4, naps.Load())
		empty(t, pool, c)
	})
}

func TestWhatCanNeverSucceedDies(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		died := func(id, text string) {
			t.Helper()
			require.Contains(t, state(t, c, id, jobs.StateDead).Error, text)
		}
		expired, err := jobs.Submit(t.Context(), c, "q", Double, 1, jobs.SubmitOptions{Expires: time.Millisecond})
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond) // of any clock
		entry, err := pool.Redis().Do(t.Context(), "xadd", "jobs:{local:q}:ready:n", "*", "j", "garbage").Text()
		require.NoError(t, err)
		other, err := pool.Redis().Do(t.Context(), "xadd", "jobs:{local:q}:ready:h", "*", "x", "y").Text()
		require.NoError(t, err)
		unknown, err := jobs.SubmitRaw(t.Context(), c, "q", "nothing", bus.Body{})
		require.NoError(t, err)
		builtin, err := jobs.SubmitRaw(t.Context(), c, "q", "bus.stop", bus.Body{})
		require.NoError(t, err)
		args, err := jobs.SubmitRaw(t.Context(), c, "q", "double", bus.Body{Codec: storage.JSON, Data: []byte(`{"no":`)})
		require.NoError(t, err)
		slow, err := jobs.Submit(t.Context(), c, "q", Task, 1, jobs.SubmitOptions{Timeout: time.Millisecond, Attempts: 1})
		require.NoError(t, err)
		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		died(expired, "expired")
		died("q:"+entry+".n", "malformed")
		died("q:"+other+".h", "malformed")
		died(unknown, "unknown_method")
		died(builtin, "unknown_method")
		died(args, "bad_arguments")
		died(slow, "longer than 1ms")
		empty(t, pool, c)
		require.ErrorIs(t, c.Retry(t.Context(), "q:"+entry+".n"), jobs.ErrInvalid)

		var all []jobs.Info
		for next := ""; len(all) == 0 || next != ""; {
			var list []jobs.Info
			list, next, err = c.List(t.Context(), "q", jobs.StateDead, jobs.ListOptions{Cursor: next, Limit: 2})
			require.NoError(t, err)
			require.LessOrEqual(t, len(list), 2)
			all = append(all, list...)
		}
		require.Len(t, all, 7)
	})
}

func TestListWaiting(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		var want []string
		for _, p := range []jobs.Priority{jobs.PriorityHigh, jobs.PriorityNormal, jobs.PriorityLow} {
			all, err := jobs.SubmitMany(t.Context(), c, "q", Double, []int{1, 2, 3}, jobs.SubmitOptions{Priority: p})
			require.NoError(t, err)
			for _, s := range all {
				want = append(want, s.ID)
			}
		}
		for _, limit := range []int{1, 2, 3, 4, 9, 10} {
			var got []string
			for next := ""; got == nil || next != ""; {
				var list []jobs.Info
				var err error
				list, next, err = c.List(t.Context(), "q", jobs.StateWaiting, jobs.ListOptions{Cursor: next, Limit: limit})
				require.NoError(t, err)
				for _, i := range list {
					got = append(got, i.ID)
				}
			}
			require.Equal(t, want, got, "limit %d", limit)
		}
		_, _, err := c.List(t.Context(), "q", jobs.StateDone)
		require.ErrorIs(t, err, jobs.ErrInvalid)
		_, _, err = c.List(t.Context(), "q", jobs.StateWaiting, jobs.ListOptions{Cursor: "?"})
		require.ErrorIs(t, err, jobs.ErrInvalid)
		_, _, err = c.List(t.Context(), "q", jobs.StateWaiting, jobs.ListOptions{Limit: 1001})
		require.ErrorIs(t, err, jobs.ErrInvalid)
	})
}

func TestPurge(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, begun := client(t, pool), make(chan struct{})
		for _, o := range []jobs.SubmitOptions{
			{}, {ID: "own"}, {Priority: jobs.PriorityLow}, {Group: "g"}, {Unique: jobs.Unique{Mode: jobs.UniqueRefuse}}, {Delay: time.Hour},
		} {
			_, err := jobs.SubmitMany(t.Context(), c, "q", Task, make([]int, 250), o)
			require.NoError(t, err)
		}
		n, err := c.Purge(t.Context(), "q", jobs.StateScheduled)
		require.NoError(t, err)
		require.EqualValues(t, 250, n)
		n, err = c.Purge(t.Context(), "q", jobs.StateWaiting)
		require.NoError(t, err)
		require.EqualValues(t, 1001, n)
		empty(t, pool, c)

		// What runs stays.
		w := serve(t, pool, jobs.QueueConfig{Concurrency: 1}, func(ctx context.Context, n int) (int, error) {
			if n == 1 {
				begun <- struct{}{}
				begun <- struct{}{}
			}
			return 0, jobs.Discard(errors.New("no"))
		})
		id, err := jobs.Submit(t.Context(), c, "q", Task, 1)
		require.NoError(t, err)
		<-begun
		_, err = jobs.SubmitMany(t.Context(), c, "q", Task, make([]int, 250))
		require.NoError(t, err)
		n, err = c.Purge(t.Context(), "q", jobs.StateWaiting)
		require.NoError(t, err)
		require.EqualValues(t, 250, n)
		<-begun
		state(t, c, id, jobs.StateDead)
		n, err = c.Purge(t.Context(), "q", jobs.StateDead)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		_, err = c.Purge(t.Context(), "q", jobs.StateRunning)
		require.ErrorIs(t, err, jobs.ErrInvalid)
		require.NoError(t, w.stop())
		empty(t, pool, c)
	})
}

func TestCheckpointsOutliveAttempts(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, steps := client(t, pool), make(chan int, 20)
		serve(t, pool, jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Millisecond }},
			func(ctx context.Context, n int) (int, error) {
				j, _ := jobs.FromContext(ctx)
				done := 0
				if _, err := j.Resume(ctx, &done); err != nil {
					return 0, err
				}
				for step := done; step < 6; step++ {
					steps <- step
					if err := j.Checkpoint(ctx, step+1); err != nil {
						return 0, err
					}
					if step%2 == 1 && step < 5 {
						return 0, errors.New("interrupted")
					}
				}
				return 0, nil
			})
		for _, o := range []jobs.SubmitOptions{{ID: "x"}, {Group: "g"}} {
			id, err := jobs.Submit(t.Context(), c, "q", Task, 1, o)
			require.NoError(t, err)
			for step := range 6 {
				require.Equal(t, step, <-steps)
			}
			empty(t, pool, c)
			until(t, func() bool {
				n, err := pool.Redis().Exists(t.Context(), "jobs:{local:q}:checkpoint:"+id[2:]).Result()
				return err == nil && n == 0
			}, "the checkpoint stays")
		}
		require.ErrorIs(t, jobs.Job{}.Checkpoint(t.Context(), 1), jobs.ErrInvalid)
		_, err := jobs.Job{}.Resume(t.Context(), nil)
		require.ErrorIs(t, err, jobs.ErrInvalid)
	})
}
