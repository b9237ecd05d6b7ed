package main

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

func TestJobs(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		require.Equal(t, "QUEUE  WAITING  RUNNING  SCHEDULED  DEAD", s.ok("jobs", "counts"))
		require.Equal(t, "q:a", s.ok("jobs", "submit", "q", "add", "--jsondata", "[1,2]", "--id", "a", "--group", "g"))
		require.Equal(t, `{"id":"q:b"}`, s.ok("jobs", "submit", "q", "add", "--id", "b", "--delay", "1h", "--priority", "high", "-o", "json"))
		require.Contains(t, s.ok("jobs", "counts"), "\nq      1        0        1          0")
		require.Regexp(t, `\nq:a  add     g      0/5       \S+$`, s.ok("jobs", "list", "q"))
		require.Regexp(t, `\nq:b .* due `, s.ok("jobs", "list", "q", "--state", "scheduled"))
		require.Regexp(t, `^q:a\n  state +waiting\n  method +add\n  arguments +\[1,2\]\n  group +g\n  attempts +0 of 5\n  submitted +\S+$`, s.ok("jobs", "show", "q:a"))
		require.Contains(t, s.ok("jobs", "show", "q:a", "-o", "json"), `"args":[1,2]`)
		require.Regexp(t, `\nQUEUE +WAITING +RUNNING +SCHEDULED +DEAD\nq +1 +0 +1 +0\n`, s.ok("top", "--interval", "0.01"))
		require.Equal(t, "q:b was scheduled", s.ok("jobs", "cancel", "q:b"))
		require.Contains(t, s.fails(exitNotFound, "jobs", "cancel", "q:b"), "no such job")
		require.Contains(t, s.fails(exitUsage, "jobs", "show", "b"), "queue:id")
		require.Contains(t, s.fails(exitUsage, "jobs", "submit", "a:b", "add"), "':' is not allowed")
		require.Contains(t, s.fails(exitUsage, "jobs", "submit", "q", "add", "--delay", "-1"), "above 0")
		require.Equal(t, "q is paused", s.ok("jobs", "pause", "q"))
		require.Contains(t, s.ok("jobs", "counts", "q"), "paused")
		require.Equal(t, "q is not paused", s.ok("jobs", "resume", "q"))

		w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "w"})
		require.NoError(t, err)
		bus.Handle(w, bus.NewMethod[[]int, int]("add"), func(_ context.Context, list []int) (int, error) {
			if len(list) != 2 {
				return 0, errors.New("want two numbers")
			}
			return list[0] + list[1], nil
		})
		require.NoError(t, jobs.Serve(w, "q", jobs.QueueConfig{}))
		stop, err := bus.Start(t.Context(), w)
		require.NoError(t, err)
		t.Cleanup(func() { _ = stop() })
		require.Equal(t, "5", s.ok("jobs", "submit", "q", "add", "--jsondata", "[2,3]", "--result"))
		require.Contains(t, s.fails(exitFailed, "jobs", "submit", "q", "add", "--jsondata", "[2]", "--id", "c", "--attempts", "1", "--result"), "want two numbers")
		require.Regexp(t, `\nq:c  add            1/1       \S+  want two numbers$`, s.ok("jobs", "dead", "q"))
		require.Equal(t, "q:c waits", s.ok("jobs", "retry", "q:c"))
		require.Eventually(t, func() bool { return s.helio("", "jobs", "discard", "q:c").status == exitOK }, soon, 10*time.Millisecond)

		c, err := jobs.NewClient(pool, jobs.ClientConfig{})
		require.NoError(t, err)
		require.NoError(t, jobs.Schedule(t.Context(), c, "nightly", "0 3 * * *", "q", bus.NewMethod[[]int, int]("add"), nil))
		require.Regexp(t, `\nnightly   0 3 \* \* \*  UTC   add     .*  0$`, s.ok("jobs", "schedules", "q"))
		require.NoError(t, c.PauseSchedule(t.Context(), "q", "nightly"))
		require.Contains(t, s.ok("jobs", "schedules", "q"), "paused")
	})
}
