package jobs_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// aclLine returns the words of the ACL line of a README.
func aclLine(t *testing.T, readme string) []string {
	doc, err := os.ReadFile(readme)
	require.NoError(t, err)
	for line := range strings.Lines(string(doc)) {
		if line, ok := strings.CutPrefix(line, "    ACL SETUSER app "); ok {
			return strings.Fields(line)
		}
	}
	require.Fail(t, "no ACL line in "+readme)
	return nil
}

// The line of README.md, with that of bus, is enough for workers and clients; without a
// right of it a worker ends with an error that says so.
func TestACL(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config()).Redis()
	args := []any{"acl", "setuser", "app"}
	for _, word := range append(aclLine(t, "README.md"), aclLine(t, "../README.md")...) {
		args = append(args, word)
	}
	require.NoError(t, admin.Do(t.Context(), args...).Err())
	cfg := srv.Config()
	cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = "obs", "app", "secret"
	pool := storagetest.Open(t, cfg)
	c := client(t, pool)
	w := serve(t, pool, jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Millisecond }},
		func(ctx context.Context, n int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			_, err := j.Resume(ctx, &n)
			return n, errors.Join(j.Progress(ctx, "x"), err, j.Checkpoint(ctx, n), errors.New("no"))
		})
	id, err := jobs.Submit(t.Context(), c, "q", Double, 4, jobs.SubmitOptions{Delay: time.Millisecond, KeepResult: time.Minute})
	require.NoError(t, err)
	n, err := jobs.Wait(t.Context(), c, Double, id)
	require.NoError(t, err)
	require.Equal(t, 8, n)
	id, err = jobs.Submit(t.Context(), c, "q", Task, 4, jobs.SubmitOptions{Attempts: 2})
	require.NoError(t, err)
	require.Equal(t, "no", state(t, c, id, jobs.StateDead).Error)
	for _, s := range []jobs.State{jobs.StateWaiting, jobs.StateRunning, jobs.StateScheduled, jobs.StateDead} {
		_, _, err = c.List(t.Context(), "q", s)
		require.NoError(t, err)
	}
	require.NoError(t, c.Retry(t.Context(), id))
	state(t, c, id, jobs.StateDead)
	require.NoError(t, c.Discard(t.Context(), id))
	require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 1s", "q", Double, 1))
	until(t, func() bool { return theSchedule(t, c).Runs > 0 }, "the schedule does not run")
	require.NoError(t, c.PauseSchedule(t.Context(), "q", "s"))
	require.NoError(t, c.RemoveSchedule(t.Context(), "q", "s"))
	for _, o := range []jobs.SubmitOptions{{Group: "g"}, {Unique: jobs.Unique{Key: "k"}}, {Unique: jobs.Unique{Mode: jobs.UniqueThrottle, For: time.Second}}} {
		_, err = jobs.Submit(t.Context(), c, "q", Double, 1, o)
		require.NoError(t, err)
	}
	_, err = c.Purge(t.Context(), "q", jobs.StateScheduled)
	require.NoError(t, err)
	f := new(jobs.Flow)
	jobs.Add(f, Double, 2, jobs.FlowOptions{After: []jobs.FlowJob{jobs.Add(f, Double, 1)}})
	id, err = c.SubmitFlow(t.Context(), "q", f)
	require.NoError(t, err)
	flowEnd(t, c, id)
	require.NoError(t, c.CancelFlow(t.Context(), id))
	require.NoError(t, c.PauseGroup(t.Context(), "q", "g"))
	require.NoError(t, c.ResumeGroup(t.Context(), "q", "g"))
	until(t, func() bool {
		n, err := c.Counts(t.Context(), "q")
		return err == nil && n.Waiting+n.Running == 0
	}, "jobs of a group or with a unique key are left")
	require.NoError(t, c.Pause(t.Context(), "q"))
	require.NoError(t, c.Resume(t.Context(), "q"))
	id, err = jobs.Submit(t.Context(), c, "q", Task, 4, jobs.SubmitOptions{Delay: time.Hour})
	require.NoError(t, err)
	_, err = c.Cancel(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, w.stop())

	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "app", "-xreadgroup").Err())
	other, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "w"})
	require.NoError(t, err)
	require.NoError(t, jobs.Serve(other, "q", jobs.QueueConfig{}))
	err = other.Run(t.Context())
	require.True(t, redis.IsPermissionError(err), "%v", err)
	require.ErrorContains(t, err, "xreadgroup")
}

// A worker and a client on a cluster need keys of one slot only.
func TestCluster(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	pool := storagetest.Open(t, storagetest.StartCluster(t).Config())
	clusterSuite(t, pool)
}

// The same behind Sentinel, before and after a failover.
func TestSentinel(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	sentinel := storagetest.StartSentinel(t)
	pool := storagetest.Open(t, sentinel.Config())
	clusterSuite(t, pool)
	sentinel.Failover()
	c := client(t, pool)
	id, err := jobs.Submit(t.Context(), c, "q", Double, 4, jobs.SubmitOptions{KeepResult: time.Minute, ID: "after"})
	require.NoError(t, err)
	n, err := jobs.Wait(t.Context(), c, Double, id)
	require.NoError(t, err)
	require.Equal(t, 8, n)
}

func clusterSuite(t *testing.T, pool *storage.Pool) {
	c := client(t, pool)
	serve(t, pool, jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Millisecond }},
		func(context.Context, int) (int, error) { return 0, errors.New("no") })
	_, err := jobs.SubmitMany(t.Context(), c, "q", Double, make([]int, 1000))
	require.NoError(t, err)
	id, err := jobs.Submit(t.Context(), c, "q", Double, 4, jobs.SubmitOptions{Delay: time.Millisecond, KeepResult: time.Minute})
	require.NoError(t, err)
	n, err := jobs.Wait(t.Context(), c, Double, id)
	require.NoError(t, err)
	require.Equal(t, 8, n)
	id, err = jobs.Submit(t.Context(), c, "q", Task, 4, jobs.SubmitOptions{Attempts: 2, ID: "x"})
	require.NoError(t, err)
	require.Equal(t, "no", state(t, c, id, jobs.StateDead).Error)
	require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 1s", "q", Double, 1))
	until(t, func() bool { return theSchedule(t, c).Runs > 0 }, "the schedule does not run")
	require.NoError(t, c.RemoveSchedule(t.Context(), "q", "s"))
	f := new(jobs.Flow)
	jobs.Add(f, Double, 2, jobs.FlowOptions{After: []jobs.FlowJob{jobs.Add(f, Double, 1)}})
	id, err = c.SubmitFlow(t.Context(), "q", f)
	require.NoError(t, err)
	flowEnd(t, c, id)
	_, err = jobs.Submit(t.Context(), c, "q", Double, 4, jobs.SubmitOptions{Group: "g", Unique: jobs.Unique{Key: "k"}})
	require.NoError(t, err)
	empty(t, pool, c)
}
