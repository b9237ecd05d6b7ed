package jobs_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// meter notes how many jobs run, in all and of each group, which is their method's argument
// div 1000.
type meter struct {
	mu      sync.Mutex
	running map[int]int
	most    map[int]int // -1: all
	order   []int
	begun   []time.Time
}

func newMeter() *meter { return &meter{running: map[int]int{}, most: map[int]int{}} }

func (m *meter) add(group, n int) {
	for _, key := range []int{-1, group} {
		m.running[key] += n
		m.most[key] = max(m.most[key], m.running[key])
	}
}

func (m *meter) handle(d time.Duration) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (int, error) {
		m.mu.Lock()
		m.add(n/1000, 1)
		m.order = append(m.order, n/1000)
		m.begun = append(m.begun, time.Now())
		m.mu.Unlock()
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		m.mu.Lock()
		m.add(n/1000, -1)
		m.mu.Unlock()
		return n, ctx.Err()
	}
}

func (m *meter) begins() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.order)
}

// group submits n jobs of a group.
func group(t *testing.T, c *jobs.Client, g, n int) {
	t.Helper()
	list := make([]int, n)
	for i := range list {
		list[i] = g*1000 + i
	}
	o := jobs.SubmitOptions{}
	if g > 0 {
		o.Group = "g" + strconv.Itoa(g)
	}
	_, err := jobs.SubmitMany(t.Context(), c, "q", Task, list, o)
	require.NoError(t, err)
}

func TestAGroupThatFloodsDelaysOthersByARound(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		group(t, c, 1, 300)
		group(t, c, 2, 10)
		group(t, c, 3, 5)
		serve(t, pool, jobs.QueueConfig{Concurrency: 3}, m.handle(time.Millisecond))
		empty(t, pool, c)
		require.Equal(t, 315, m.begins())
		last := 0
		for i, g := range m.order {
			if g == 2 {
				last = i
			}
		}
		require.LessOrEqual(t, last, 40, "10 jobs of each group")
		// A group that comes while workers wait is begun at once.
		group(t, c, 4, 1)
		empty(t, pool, c)
		require.Equal(t, 316, m.begins())
	})
}

func TestJobsWithAndWithoutAGroupShareTheWorkers(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		group(t, c, 0, 200)
		group(t, c, 1, 20)
		serve(t, pool, jobs.QueueConfig{Concurrency: 4}, m.handle(time.Millisecond))
		empty(t, pool, c)
		first, last := -1, 0
		for i, g := range m.order {
			if g == 1 {
				last = i
				if first < 0 {
					first = i
				}
			}
		}
		require.LessOrEqual(t, last-first, 90, "at least every other job is of the group")
	})
}

// A worker that waits for jobs without groups learns of the first job of a group.
func TestTheFirstJobOfAGroupIsBegunAtOnce(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		serve(t, pool, jobs.QueueConfig{}, m.handle(0))
		time.Sleep(time.Minute)
		for range 3 {
			begin := time.Now()
			group(t, c, 1, 1)
			time.Sleep(time.Minute)
			require.Less(t, m.begun[m.begins()-1].Sub(begin), 10*time.Millisecond)
		}
		empty(t, pool, c)
	})
}

func TestLimitsOverAllProcesses(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		for range 3 {
			serve(t, pool, jobs.QueueConfig{GlobalConcurrency: 7, GroupConcurrency: 2}, m.handle(time.Second))
		}
		for g := range 6 {
			group(t, c, g, 30)
		}
		empty(t, pool, c)
		require.Equal(t, 180, m.begins())
		require.Equal(t, 7, m.most[-1])
		for g := 1; g < 6; g++ {
			require.Equal(t, 2, m.most[g], "group %d", g)
		}
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]jobs.QueueConfig{
		"queue": {Rate: jobs.Rate{Jobs: 10, Burst: 5}},
		"group": {GroupRate: jobs.Rate{Jobs: 10, Burst: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
				c, m := client(t, pool), newMeter()
				serve(t, pool, cfg, m.handle(0))
				serve(t, pool, cfg, m.handle(0))
				group(t, c, 1, 55)
				empty(t, pool, c)
				require.Equal(t, 55, m.begins())
				// 5 at once, and 50 in 5 seconds.
				require.InDelta(t, 5, m.begun[54].Sub(m.begun[0]).Seconds(), 0.3)
				for i := range len(m.begun) - 16 {
					require.Greater(t, m.begun[i+16].Sub(m.begun[i]), 900*time.Millisecond, "more than 15 in a second")
				}
			})
		})
	}
}

// Two groups, each with its rate, do not slow each other down.
func TestTheRateOfAGroupDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		serve(t, pool, jobs.QueueConfig{GroupRate: jobs.Rate{Jobs: 1}}, m.handle(0))
		for g := 1; g <= 5; g++ {
			group(t, c, g, 10)
		}
		begin := time.Now()
		empty(t, pool, c)
		require.InDelta(t, 9, time.Since(begin).Seconds(), 1)
	})
}

// A killed worker's jobs of groups run elsewhere, and its groups are not blocked.
func TestGroupsOfADeadWorker(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		cfg := jobs.QueueConfig{GroupConcurrency: 1}
		wc := bus.WorkerConfig{Type: "w", Lease: time.Second, Drain: time.Millisecond}
		first := serveAs(t, pool, wc, cfg, func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
		group(t, c, 1, 3)
		until(t, func() bool {
			n, err := c.Counts(t.Context(), "q")
			return err == nil && n.Running == 1
		}, "no job runs")
		n, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.Equal(t, jobs.Counts{Waiting: 2, Running: 1}, n)
		list, _, err := c.List(t.Context(), "q", jobs.StateWaiting, jobs.ListOptions{Limit: 1})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, "g1", list[0].Group)
		got, err := c.Cancel(t.Context(), list[0].ID)
		require.NoError(t, err)
		require.Equal(t, jobs.StateWaiting, got)
		require.NoError(t, first.stop())
		serveAs(t, pool, wc, cfg, m.handle(0))
		empty(t, pool, c)
		require.Equal(t, 2, m.begins())
	})
}

func TestAPausedGroupWaits(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, m := client(t, pool), newMeter()
		serve(t, pool, jobs.QueueConfig{GroupRate: jobs.Rate{Jobs: 10}}, m.handle(0))
		group(t, c, 1, 10)
		require.NoError(t, c.PauseGroup(t.Context(), "q", "g1"))
		time.Sleep(time.Second)
		begun := m.begins()
		require.Less(t, begun, 5)
		group(t, c, 1, 10)
		group(t, c, 2, 3)
		time.Sleep(10 * time.Second)
		require.Equal(t, begun+3, m.begins())
		require.NoError(t, c.ResumeGroup(t.Context(), "q", "g1"))
		empty(t, pool, c)
		require.Equal(t, 23, m.begins())
		require.ErrorIs(t, c.PauseGroup(t.Context(), "q", "a b"), jobs.ErrInvalid)
	})
}

// Thousands of groups take turns.
func TestManyGroups(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c, m := client(t, pool), newMeter()
	for g := 1; g <= 3000; g++ {
		group(t, c, g, 2)
	}
	serve(t, pool, jobs.QueueConfig{Concurrency: 64}, m.handle(0))
	empty(t, pool, c)
	require.Equal(t, 6000, m.begins())
	seen := map[int]bool{}
	for i, g := range m.order[:2900] {
		require.False(t, seen[g], "group %d has a second turn at %d", g, i)
		seen[g] = true
	}
}

func TestBadLimits(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for i, cfg := range []jobs.QueueConfig{
		{GlobalConcurrency: -1}, {GroupConcurrency: -1}, {Rate: jobs.Rate{Per: time.Second}}, {Rate: jobs.Rate{Jobs: -1}},
		{GroupRate: jobs.Rate{Jobs: 1, Burst: -1}}, {GroupRate: jobs.Rate{Jobs: 10_000_000, Per: time.Second}},
	} {
		w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "w"})
		require.NoError(t, err)
		require.ErrorIs(t, jobs.Serve(w, "q", cfg), jobs.ErrInvalid, fmt.Sprint(i))
	}
}
