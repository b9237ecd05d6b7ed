package jobs_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// runLog notes for which times a schedule's jobs were run, by the ids of the jobs.
type runLog struct {
	mu   sync.Mutex
	runs []time.Time
	late []time.Duration
}

func (l *runLog) handle(ctx context.Context, _ int) (int, error) {
	j, _ := jobs.FromContext(ctx)
	_, text, _ := strings.Cut(j.ID, "@")
	ms, _ := strconv.ParseInt(text, 10, 64)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, time.UnixMilli(ms).UTC())
	l.late = append(l.late, time.Since(time.UnixMilli(ms)))
	return 0, nil
}

func (l *runLog) take() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := l.runs
	l.runs = nil
	return runs
}

// schedules returns the one schedule of the queue q.
func theSchedule(t *testing.T, c *jobs.Client) jobs.ScheduleInfo {
	t.Helper()
	list, err := c.Schedules(t.Context(), "q")
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

func TestASchedulesJobsAreOnTime(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, log := client(t, pool), &runLog{}
		begin := time.Now().Truncate(time.Hour).UTC()
		time.Sleep(time.Until(begin.Add(time.Hour + time.Second)))
		begin = begin.Add(time.Hour)
		serve(t, pool, jobs.QueueConfig{}, log.handle)
		serve(t, pool, jobs.QueueConfig{}, log.handle)
		for range 3 { // as each process does that starts
			require.NoError(t, jobs.Schedule(t.Context(), c, "often", "*/2 * * * *", "q", Task, 1))
		}
		info := theSchedule(t, c)
		require.Equal(t, begin.Add(2*time.Minute), info.Next)
		require.Equal(t, []time.Time{begin.Add(2 * time.Minute), begin.Add(4 * time.Minute)}, info.Upcoming(2))
		time.Sleep(6 * time.Minute)
		want := []time.Time{begin.Add(2 * time.Minute), begin.Add(4 * time.Minute), begin.Add(6 * time.Minute)}
		require.Equal(t, want, log.take())
		for _, late := range log.late {
			require.Less(t, late, 10*time.Millisecond)
		}
		info = theSchedule(t, c)
		require.EqualValues(t, 3, info.Runs)
		require.Equal(t, begin.Add(6*time.Minute), info.LastRun.UTC())

		require.NoError(t, c.PauseSchedule(t.Context(), "q", "often"))
		require.True(t, theSchedule(t, c).Paused)
		time.Sleep(6 * time.Minute)
		require.Empty(t, log.take())
		require.NoError(t, c.ResumeSchedule(t.Context(), "q", "often"))
		time.Sleep(2 * time.Minute)
		require.Equal(t, []time.Time{begin.Add(14 * time.Minute)}, log.take())

		require.ErrorIs(t, jobs.Schedule(t.Context(), c, "often", "@every 90s", "q", Task, 1), jobs.ErrScheduleExists)
		require.ErrorIs(t, jobs.Schedule(t.Context(), c, "often", "*/2 * * * *", "q", Task, 2), jobs.ErrScheduleExists)
		require.NoError(t, jobs.Schedule(t.Context(), c, "often", "@every 90s", "q", Task, 1, jobs.ScheduleOptions{Replace: true}))
		changed := time.Now().UTC()
		time.Sleep(190 * time.Second)
		runs := log.take()
		require.Len(t, runs, 2)
		require.WithinDuration(t, changed.Add(90*time.Second), runs[0], 10*time.Millisecond)
		require.Equal(t, runs[0].Add(90*time.Second), runs[1])

		require.NoError(t, c.RemoveSchedule(t.Context(), "q", "often"))
		time.Sleep(6 * time.Minute)
		require.Empty(t, log.take())
		require.ErrorIs(t, c.RemoveSchedule(t.Context(), "q", "often"), jobs.ErrNotFound)
		require.ErrorIs(t, c.PauseSchedule(t.Context(), "q", "often"), jobs.ErrNotFound)
		empty(t, pool, c)
		for _, key := range []string{"schedules", "fires"} {
			n, err := pool.Redis().Exists(t.Context(), "jobs:{local:q}:"+key).Result()
			require.NoError(t, err)
			require.Zero(t, n, key)
		}
	})
}

func TestMissedRunsFollowTheirPolicy(t *testing.T) {
	t.Parallel()
	for missed, want := range map[jobs.Missed]int{jobs.MissedOnce: 1, jobs.MissedSkip: 0, jobs.MissedAll: 5} {
		t.Run(strconv.Itoa(int(missed)), func(t *testing.T) {
			storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
				c, log := client(t, pool), &runLog{}
				require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 5m", "q", Task, 1, jobs.ScheduleOptions{Missed: missed}))
				first := theSchedule(t, c).Next.UTC()
				time.Sleep(27 * time.Minute) // without a worker
				serve(t, pool, jobs.QueueConfig{}, log.handle)
				time.Sleep(30 * time.Second)
				runs := log.take()
				slices.SortFunc(runs, time.Time.Compare) // all are submitted at once
				require.Len(t, runs, want)
				if want > 0 {
					require.Equal(t, first.Add(20*time.Minute), runs[want-1])
				}
				require.EqualValues(t, 5-want, theSchedule(t, c).Skipped)
				time.Sleep(3 * time.Minute)
				require.Equal(t, []time.Time{first.Add(25 * time.Minute)}, log.take())
			})
		})
	}
}

// An interval of a second that was missed for a month costs no more than maxMissed runs.
func TestMissedRunsAreBounded(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, log := client(t, pool), &runLog{}
		require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 1s", "q", Task, 1, jobs.ScheduleOptions{Missed: jobs.MissedAll}))
		time.Sleep(30 * 24 * time.Hour)
		serve(t, pool, jobs.QueueConfig{}, log.handle)
		time.Sleep(500 * time.Millisecond)
		n := len(log.take())
		require.GreaterOrEqual(t, n, 1000)
		require.Less(t, n, 1010)
		require.Greater(t, theSchedule(t, c).Skipped, int64(2_590_000))
	})
}

func TestOverlappingRunsAreLeftOut(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, begun := client(t, pool), make(chan string, 10)
		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, _ int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			begun <- j.ID
			select {
			case <-time.After(150 * time.Second):
			case <-ctx.Done():
			}
			return 0, ctx.Err()
		})
		require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 1m", "q", Task, 1, jobs.ScheduleOptions{Overlap: jobs.OverlapSkip}))
		first := theSchedule(t, c).Next
		time.Sleep(6*time.Minute + time.Second) // runs 1 and 4
		require.Len(t, begun, 2)
		require.Equal(t, "q:s@"+strconv.FormatInt(first.UnixMilli(), 10), <-begun)
		require.Equal(t, "q:s@"+strconv.FormatInt(first.Add(3*time.Minute).UnixMilli(), 10), <-begun)
		require.EqualValues(t, 4, theSchedule(t, c).Skipped)
		require.NoError(t, c.RemoveSchedule(t.Context(), "q", "s"))
	})
}

// kills runs a schedule while the workers of its queue are killed one after another, and
// returns for which times its jobs were run.
func kills(t *testing.T, seed uint64, n int) (runs []time.Time, submitted int64, first, last time.Time) {
	random := rand.New(rand.NewPCG(seed, 1))
	network := storagetest.NewNetwork(t)
	c, log := client(t, storagetest.Open(t, network.Config())), &runLog{}
	require.NoError(t, jobs.Schedule(t.Context(), c, "s", "@every 3s", "q", Task, 1, jobs.ScheduleOptions{Missed: jobs.MissedAll}))
	first = theSchedule(t, c).Next.UTC()
	var workers [2]func()
	start := func() func() {
		g := newGate(t, network)
		w, err := bus.NewWorker(g.pool(t), bus.WorkerConfig{Type: "w", Lease: 3 * time.Second, Drain: time.Millisecond})
		require.NoError(t, err)
		bus.Handle(w, Task, log.handle)
		require.NoError(t, jobs.Serve(w, "q", jobs.QueueConfig{Concurrency: 4}))
		stop, err := bus.Start(context.Background(), w)
		require.NoError(t, err)
		return func() { // as by SIGKILL, for Redis
			g.set(true)
			go func() { _ = stop() }()
		}
	}
	for i := range workers {
		workers[i] = start()
	}
	for range n {
		// Most often just when a run is due, when a worker has the schedule.
		pause := time.Duration(random.Int64N(int64(5 * time.Second)))
		if random.IntN(3) > 0 {
			pause = time.Until(theSchedule(t, c).Next) + time.Duration(random.IntN(800))*time.Microsecond
		}
		time.Sleep(pause)
		i := random.IntN(2)
		workers[i]()
		workers[i] = start()
	}
	time.Sleep(20 * time.Second)
	submitted = theSchedule(t, c).Runs
	require.NoError(t, c.RemoveSchedule(t.Context(), "q", "s"))
	until(t, func() bool {
		counts, err := c.Counts(t.Context(), "q")
		return err == nil && counts.Waiting+counts.Running+counts.Scheduled == 0
	}, "jobs are left")
	last = time.Now().UTC()
	for i := range workers {
		workers[i]()
	}
	time.Sleep(time.Minute) // killed workers have ended
	return log.take(), submitted, first, last
}

// requireEveryRun requires a run for each time. Another may have begun: the job of a run is
// at least once, as each is, if its worker was killed.
func requireEveryRun(t *testing.T, seed uint64, n int) {
	runs, submitted, first, last := kills(t, seed, n)
	seen := map[time.Time]int{}
	for _, run := range runs {
		seen[run]++
	}
	require.InDelta(t, submitted, len(seen), 1, "each run is submitted once") // one between the look and the removal
	for run := first; run.Before(last.Add(-10 * time.Second)); run = run.Add(3 * time.Second) {
		require.NotZero(t, seen[run], "the run of %v was missed", run)
		delete(seen, run)
	}
	require.LessOrEqual(t, len(seen), 4, "runs at other times: %v", seen)
}

// No run is missed when workers are killed. 1,000 kills by HELIOGRAPH_SCHEDULES=40.
func TestKilledWorkersSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Short: 1, Long: 8}, func(t *testing.T, seed uint64) { requireEveryRun(t, seed, 25) })
}

func TestBadSchedulesAreRefusedAndNothingWritten(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool)
	for want, o := range map[string]jobs.ScheduleOptions{
		"Zone":    {Zone: "Mars/Olympus"},
		"Missed":  {Missed: 3},
		"Overlap": {Overlap: -1},
		"ID":      {Job: jobs.SubmitOptions{ID: "x"}},
		"Expires": {Job: jobs.SubmitOptions{Expires: -1}},
	} {
		err := jobs.Schedule(t.Context(), c, "s", "0 3 * * *", "q", Task, 1, o)
		require.ErrorIs(t, err, jobs.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	err := jobs.Schedule(t.Context(), c, "s", "0 25 * * *", "q", Task, 1)
	require.ErrorIs(t, err, jobs.ErrInvalid)
	require.ErrorContains(t, err, `field 2 (hour), "25"`)
	for _, name := range []string{"", "a b", "a:b", strings.Repeat("x", 101)} {
		require.ErrorIs(t, jobs.Schedule(t.Context(), c, name, "0 3 * * *", "q", Task, 1), jobs.ErrInvalid)
	}
	keys, err := pool.Redis().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}
