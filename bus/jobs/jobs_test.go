package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 30 * time.Second

var (
	Double = bus.NewMethod[int, int]("double")
	Task   = bus.NewMethod[int, int]("task") // what a test makes of it
)

func client(t testing.TB, pool *storage.Pool) *jobs.Client {
	t.Helper()
	c, err := jobs.NewClient(pool, jobs.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// running is a worker that runs.
type running struct {
	*bus.Worker
	stop func() error
}

// serve runs a worker of the queue q until the test ends, with the methods double and,
// unless it is nil, task.
func serve(t testing.TB, pool *storage.Pool, cfg jobs.QueueConfig, task func(ctx context.Context, n int) (int, error)) running {
	t.Helper()
	return serveAs(t, pool, bus.WorkerConfig{Type: "w", Drain: time.Second}, cfg, task)
}

func serveAs(t testing.TB, pool *storage.Pool, wc bus.WorkerConfig, cfg jobs.QueueConfig, task func(ctx context.Context, n int) (int, error)) running {
	t.Helper()
	w, err := bus.NewWorker(pool, wc)
	require.NoError(t, err)
	bus.Handle(w, Double, func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	if task != nil {
		bus.Handle(w, Task, task)
	}
	require.NoError(t, jobs.Serve(w, "q", cfg))
	stop, err := bus.Start(context.Background(), w)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stop() })
	return running{w, stop}
}

// state waits until a job has a state.
func state(t testing.TB, c *jobs.Client, id string, want jobs.State) jobs.Info {
	t.Helper()
	var info jobs.Info
	until(t, func() bool {
		var err error
		info, err = c.Get(t.Context(), id)
		return err == nil && info.State == want
	}, "%s does not become %s", id, want)
	return info
}

// until waits for a condition, in virtual time too.
func until(t testing.TB, ok func() bool, format string, args ...any) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			require.Failf(t, "not in time", format, args...)
		}
	}
}

// empty requires that nothing of the queue q is left but what belongs to living workers.
func empty(t testing.TB, pool *storage.Pool, c *jobs.Client) {
	t.Helper()
	until(t, func() bool {
		n, err := c.Counts(t.Context(), "q")
		return err == nil && n.Waiting == 0 && n.Running == 0 && n.Scheduled == 0
	}, "jobs are left")
	for _, key := range []string{"later", "at", "unique", "held", "grouped", "turns", "slow", "active", "ingroup"} {
		n, err := pool.Redis().Exists(t.Context(), "jobs:{local:q}:"+key).Result()
		require.NoError(t, err)
		require.Zero(t, n, key)
	}
	dead, err := pool.Redis().ZCard(t.Context(), "jobs:{local:q}:dead").Result()
	require.NoError(t, err)
	held, err := pool.Redis().HLen(t.Context(), "jobs:{local:q}:jobs").Result()
	require.NoError(t, err)
	require.Equal(t, dead, held)
}

func TestAJobIsRunByTheHandlerOfCalls(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), make(chan jobs.Job, 1)
		w := serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			require.Equal(t, bus.Header{"trace": "1"}, bus.HeaderFrom(ctx))
			j, ok := jobs.FromContext(ctx)
			require.True(t, ok)
			ran <- j
			return n, nil
		})
		id, err := jobs.Submit(t.Context(), c, "q", Task, 7, jobs.SubmitOptions{Header: bus.Header{"trace": "1"}})
		require.NoError(t, err)
		j := <-ran
		require.Equal(t, id, j.ID)
		require.Equal(t, 1, j.Attempt)
		require.Equal(t, 5, j.Attempts)
		empty(t, pool, c)
		_, err = c.Get(t.Context(), id)
		require.ErrorIs(t, err, jobs.ErrNotFound)
		require.EqualValues(t, 1, w.Stats().Calls)
		require.NoError(t, w.stop())
		empty(t, pool, c)
	})
}

func TestWaitReturnsAResultThatWasKept(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		for _, o := range []jobs.SubmitOptions{{}, {ID: "mine"}, {Delay: 20 * time.Millisecond}} {
			o.KeepResult = time.Minute
			id, err := jobs.Submit(t.Context(), c, "q", Double, 21, o)
			require.NoError(t, err)
			if o.ID == "" && o.Delay == 0 {
				serve(t, pool, jobs.QueueConfig{}, nil)
			}
			n, err := jobs.Wait(t.Context(), c, Double, id)
			require.NoError(t, err)
			require.Equal(t, 42, n)
			require.Equal(t, jobs.StateDone, state(t, c, id, jobs.StateDone).State)
		}
		id, err := jobs.Submit(t.Context(), c, "q", Double, 21)
		require.NoError(t, err)
		_, err = jobs.Wait(t.Context(), c, Double, id)
		require.ErrorIs(t, err, jobs.ErrNotFound)
		empty(t, pool, c)
	})
}

func TestAFailedJobIsTriedAgainAndThenDies(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, attempts := client(t, pool), make(chan int, 10)
		serve(t, pool, jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Millisecond }},
			func(ctx context.Context, n int) (int, error) {
				j, _ := jobs.FromContext(ctx)
				attempts <- j.Attempt
				if j.Attempt == 3 {
					panic("third")
				}
				return 0, errors.New("no")
			})
		id, err := jobs.Submit(t.Context(), c, "q", Task, 1, jobs.SubmitOptions{Attempts: 3})
		require.NoError(t, err)
		info := state(t, c, id, jobs.StateDead)
		require.Equal(t, "panic: third", info.Error)
		require.Contains(t, info.Stack, "jobs_test.go")
		require.Equal(t, 3, info.Begun)
		for i := range 3 {
			require.Equal(t, i+1, <-attempts)
		}
		require.Empty(t, attempts)
		empty(t, pool, c)

		var dead *jobs.Error
		_, err = jobs.Wait(t.Context(), c, Task, id)
		require.ErrorAs(t, err, &dead)
		require.Equal(t, 3, dead.Attempts)

		list, next, err := c.List(t.Context(), "q", jobs.StateDead)
		require.NoError(t, err)
		require.Empty(t, next)
		require.Len(t, list, 1)
		require.Equal(t, id, list[0].ID)

		require.NoError(t, c.Retry(t.Context(), id))
		for i := range 3 {
			require.Equal(t, i+1, <-attempts)
		}
		state(t, c, id, jobs.StateDead)
		require.NoError(t, c.Discard(t.Context(), id))
		_, err = c.Get(t.Context(), id)
		require.ErrorIs(t, err, jobs.ErrNotFound)
		require.ErrorIs(t, c.Discard(t.Context(), id), jobs.ErrNotFound)
		empty(t, pool, c)
	})
}
