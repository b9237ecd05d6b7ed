package jobs_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// flowEnd waits until a flow has ended, and returns the states of its jobs.
func flowEnd(t *testing.T, c *jobs.Client, id string) (states []jobs.FlowState) {
	t.Helper()
	var info jobs.FlowInfo
	until(t, func() bool {
		var err error
		info, err = c.Flow(t.Context(), id)
		return err == nil && info.Left == 0
	}, "%s does not end", id)
	for _, j := range info.Jobs {
		states = append(states, j.State)
	}
	return states
}

func TestAFlowRunsItsJobsInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), &numbers{}
		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			ran.add(n)
			if n < 0 {
				return 0, jobs.Discard(errors.New("no"))
			}
			if info, err := c.Flow(ctx, j.Flow); err != nil || info.Jobs[0].Method != "task" {
				return 0, jobs.Discard(errors.New("flow"))
			}
			return n, nil
		})
		f := &jobs.Flow{ID: "f"}
		a := jobs.Add(f, Task, 1)
		b := jobs.Add(f, Task, 2, jobs.FlowOptions{Job: jobs.SubmitOptions{Group: "g", KeepResult: time.Minute}})
		jobs.Add(f, Task, 3, jobs.FlowOptions{After: []jobs.FlowJob{b, a, a}})
		id, err := c.SubmitFlow(t.Context(), "q", f)
		require.NoError(t, err)
		require.Equal(t, "q:f", id)
		require.Equal(t, []jobs.FlowState{jobs.FlowDone, jobs.FlowDone, jobs.FlowDone}, flowEnd(t, c, id))
		list := ran.take()
		require.Len(t, list, 3)
		require.Equal(t, 3, list[2])
		n, err := jobs.Wait(t.Context(), c, Task, "q:f.1")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		again, err := c.SubmitFlow(t.Context(), "q", f)
		require.NoError(t, err)
		require.Equal(t, id, again)
		empty(t, pool, c)
		require.Empty(t, ran.take(), "the queue has the flow")

		// Failures: fail, go on, compensate, and what follows these.
		f = new(jobs.Flow)
		good, bad := jobs.Add(f, Task, 1), jobs.Add(f, Task, -2)
		after := func(when jobs.When, n int, jobsBefore ...jobs.FlowJob) jobs.FlowJob {
			return jobs.Add(f, Task, n, jobs.FlowOptions{After: jobsBefore, When: when})
		}
		left := after(jobs.WhenDone, 3, good, bad)
		after(jobs.WhenDone, 4, left)
		after(jobs.WhenEnded, 5, left)
		undo := after(jobs.WhenFailed, 6, good, bad)
		after(jobs.WhenDone, 7, undo)
		unneeded := after(jobs.WhenFailed, 8, good)
		after(jobs.WhenDone, 9, unneeded)
		id, err = c.SubmitFlow(t.Context(), "q", f)
		require.NoError(t, err)
		const done, out = jobs.FlowDone, jobs.FlowLeftOut
		require.Equal(t, []jobs.FlowState{done, jobs.FlowDead, out, out, done, done, done, out, done}, flowEnd(t, c, id))
		require.ElementsMatch(t, []int{1, -2, 5, 6, 7, 9}, ran.take())
		_, err = c.Flow(t.Context(), "q:none")
		require.ErrorIs(t, err, jobs.ErrNotFound)
		require.NoError(t, c.Retry(t.Context(), id+".1")) // changes nothing of the flow
		state(t, c, id+".1", jobs.StateDead)
		empty(t, pool, c)
	})
}

func TestCancelFlow(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, begun := client(t, pool), make(chan struct{}, 1)
		serve(t, pool, jobs.QueueConfig{Concurrency: 1}, func(ctx context.Context, _ int) (int, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		f := new(jobs.Flow)
		a := jobs.Add(f, Task, 1)
		b := jobs.Add(f, Task, 2)
		d := jobs.Add(f, Task, 3, jobs.FlowOptions{After: []jobs.FlowJob{a, b}, When: jobs.WhenEnded})
		jobs.Add(f, Task, 4, jobs.FlowOptions{After: []jobs.FlowJob{d}})
		id, err := c.SubmitFlow(t.Context(), "q", f)
		require.NoError(t, err)
		<-begun
		require.NoError(t, c.CancelFlow(t.Context(), id))
		require.NoError(t, c.CancelFlow(t.Context(), id))
		require.Equal(t, []jobs.FlowState{jobs.FlowDead, jobs.FlowCancelled, jobs.FlowCancelled, jobs.FlowCancelled}, flowEnd(t, c, id))
		require.ErrorIs(t, c.CancelFlow(t.Context(), "q:none"), jobs.ErrNotFound)
		empty(t, pool, c)
	})
}

func TestBadFlowsAreRefusedAndNothingWritten(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool)
	other := new(jobs.Flow)
	foreign := jobs.Add(other, Task, 1)
	for want, add := range map[string]func(f *jobs.Flow){
		"without jobs": func(*jobs.Flow) {},
		"another flow": func(f *jobs.Flow) { jobs.Add(f, Task, 1, jobs.FlowOptions{After: []jobs.FlowJob{foreign}}) },
		"job 1: ":      func(f *jobs.Flow) { jobs.Add(f, Task, 1); jobs.Add(f, Task, 1, jobs.FlowOptions{When: 9}) },
		"Delay": func(f *jobs.Flow) {
			jobs.Add(f, Task, 1, jobs.FlowOptions{Job: jobs.SubmitOptions{Delay: time.Second}})
		},
		"Attempts":      func(f *jobs.Flow) { jobs.Add(f, Task, 1, jobs.FlowOptions{Job: jobs.SubmitOptions{Attempts: -1}}) },
		"a dot":         func(f *jobs.Flow) { f.ID = "a.b"; jobs.Add(f, Task, 1) },
		"Flow.ID: name": func(f *jobs.Flow) { f.ID = "a b"; jobs.Add(f, Task, 1) },
		"more than 1000": func(f *jobs.Flow) {
			for range 1001 {
				jobs.Add(f, Task, 1)
			}
		},
	} {
		f := new(jobs.Flow)
		add(f)
		_, err := c.SubmitFlow(t.Context(), "q", f)
		require.ErrorIs(t, err, jobs.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	keys, err := pool.Redis().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

// graph is a random flow.
type graph struct {
	id     string
	after  [][]int
	when   []jobs.When
	states []jobs.FlowState
}

// check requires that each job ended as those before it and its When say.
func (g graph) check(t *testing.T) {
	failed := make([]bool, len(g.states))
	for n, got := range g.states {
		bad := false
		for _, before := range g.after[n] {
			bad = bad || failed[before]
		}
		begins := g.when[n] == jobs.WhenEnded || (g.when[n] == jobs.WhenFailed) == bad
		switch {
		case got == jobs.FlowCancelled:
			failed[n] = true
		case len(g.after[n]) > 0 && !begins:
			require.Equal(t, jobs.FlowLeftOut, got, "%s.%d", g.id, n)
			failed[n] = bad
		default:
			require.Contains(t, []jobs.FlowState{jobs.FlowDone, jobs.FlowDead}, got, "%s.%d", g.id, n)
			failed[n] = got == jobs.FlowDead
		}
	}
}

// graphs submits random flows while connections are cut, and workers are stopped and cut
// off; of their jobs some fail, some die, some stall and some are cancelled.
func graphs(t *testing.T, seed uint64, count int) {
	random := rand.New(rand.NewPCG(seed, 3))
	network := storagetest.NewNetwork(t)
	pool := storagetest.Open(t, network.Config())
	c := client(t, pool)
	handle := func(ctx context.Context, n int) (int, error) {
		j, _ := jobs.FromContext(ctx)
		select {
		case <-time.After(time.Duration(n) * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		switch n % 7 {
		case 0:
			return 0, jobs.Discard(errors.New("dies"))
		case 1:
			if j.Attempt == 1 {
				return 0, errors.New("fails")
			}
		case 2:
			if time.Since(j.Submitted) < 3*time.Second {
				return 0, jobs.Snooze(time.Second)
			}
		}
		return n, nil
	}
	var gates []*gate
	for range 2 {
		g := newGate(t, network)
		gates = append(gates, g)
		serveAs(t, g.pool(t), bus.WorkerConfig{Type: "w", Lease: 3 * time.Second, Drain: time.Second},
			jobs.QueueConfig{Concurrency: 16, GroupConcurrency: 2, Backoff: func(jobs.Job, error) time.Duration { return 100 * time.Millisecond }}, handle)
	}
	var all []*graph
	for i := range count {
		f, g := &jobs.Flow{ID: strconv.Itoa(i)}, &graph{}
		var nodes []jobs.FlowJob
		for n := range 2 + random.IntN(8) {
			o := jobs.FlowOptions{When: jobs.When(random.IntN(3))}
			o.Job.Attempts = 20
			if random.IntN(4) == 0 {
				o.Job.Group = "g" + strconv.Itoa(random.IntN(2))
			}
			var after []int
			for before := range n {
				if random.IntN(n) < 2 {
					after, o.After = append(after, before), append(o.After, nodes[before])
				}
			}
			g.after, g.when = append(g.after, after), append(g.when, o.When)
			nodes = append(nodes, jobs.Add(f, Task, random.IntN(300), o))
		}
		var err error
		g.id, err = c.SubmitFlow(t.Context(), "q", f)
		require.NoError(t, err)
		all = append(all, g)
		switch random.IntN(12) {
		case 0:
			network.Cut()
		case 1:
			_, err = c.Cancel(t.Context(), all[random.IntN(len(all))].id+"."+strconv.Itoa(random.IntN(5)))
			require.NotErrorIs(t, err, jobs.ErrInvalid) // the connection may have been cut
		case 2:
			require.NotErrorIs(t, c.CancelFlow(t.Context(), all[random.IntN(len(all))].id), jobs.ErrInvalid)
		case 3:
			shut := gates[random.IntN(2)]
			shut.set(true)
			time.AfterFunc(time.Duration(random.Int64N(int64(6*time.Second))), func() { shut.set(false) })
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
	}
	time.Sleep(6 * time.Second)
	for _, g := range all {
		g.states = flowEnd(t, c, g.id)
		g.check(t)
	}
	empty(t, pool, c)
	for _, g := range all {
		ttl, err := pool.Redis().PTTL(t.Context(), "jobs:{local:q}:flow:"+g.id[2:]).Result()
		require.NoError(t, err)
		require.Positive(t, ttl)
	}
}

// No job of a flow is stuck, whatever befalls. Of 10,000 flows by
// HELIOGRAPH_SCHEDULES=334.
func TestFlowsSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Short: 1, Long: 30}, func(t *testing.T, seed uint64) { graphs(t, seed, 30) })
}
