package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// gate is a way to a network that can be closed for one process.
type gate struct {
	network *storagetest.Network
	mu      sync.Mutex
	conns   []net.Conn
	shut    bool
}

// newGate returns an open gate.
func newGate(t *testing.T, network *storagetest.Network) *gate {
	// A go-redis client that could not dial sleeps for a second before it notices that it
	// was closed. The bubble must not end before.
	t.Cleanup(func() { time.Sleep(2 * time.Second) })
	return &gate{network: network}
}

func (g *gate) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("gate is shut")}
	}
	conn, err := g.network.Dial(ctx, network, addr)
	if err == nil {
		g.conns = append(g.conns, conn)
	}
	return conn, err
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

func (g *gate) pool(t *testing.T) *storage.Pool {
	cfg := g.network.Config()
	cfg.Redis.Dialer = g.Dial
	return storagetest.Open(t, cfg)
}

// history is what happened to the jobs of a test.
type history struct {
	mu      sync.Mutex
	running map[string]context.Context // handlers that were not told to stop
	done    map[string]bool
	begun   int
	broken  []string
}

func newHistory() *history {
	return &history{running: map[string]context.Context{}, done: map[string]bool{}}
}

// begin notes that a handler has begun, and checks that no other runs the same job.
func (h *history) begin(ctx context.Context) jobs.Job {
	j, _ := jobs.FromContext(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun++
	if other := h.running[j.ID]; other != nil && other.Err() == nil {
		h.broken = append(h.broken, j.ID+" runs on two live workers")
	}
	if j.Attempt < 1 || j.Attempt > j.Attempts {
		h.broken = append(h.broken, fmt.Sprintf("%s: attempt %d of %d", j.ID, j.Attempt, j.Attempts))
	}
	h.running[j.ID] = ctx
	return j
}

func (h *history) end(ctx context.Context, j jobs.Job, done bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running[j.ID] == ctx {
		delete(h.running, j.ID)
	}
	if done {
		h.done[j.ID] = true
	}
}

// check requires of each acknowledged job that it was done or is a dead letter.
func (h *history) check(t *testing.T, c *jobs.Client, acknowledged []string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Empty(t, h.broken)
	for _, id := range acknowledged {
		if !h.done[id] {
			info, err := c.Get(t.Context(), id)
			require.NoError(t, err, "%s is lost", id)
			require.Equal(t, jobs.StateDead, info.State)
		}
	}
}

// handler sleeps for up to two seconds and fails one time in five.
func (h *history) handler(random *rand.Rand, mu *sync.Mutex) func(context.Context, int) (int, error) {
	return func(ctx context.Context, n int) (int, error) {
		j := h.begin(ctx)
		mu.Lock()
		pause, fails := time.Duration(random.Int64N(int64(2*time.Second))), random.IntN(5) == 0
		mu.Unlock()
		select {
		case <-ctx.Done():
			h.end(ctx, j, false)
			return 0, ctx.Err()
		case <-time.After(pause):
		}
		h.end(ctx, j, !fails)
		if fails {
			return 0, errors.New("no luck")
		}
		return n, nil
	}
}

// TestSubmitAtLeastOnceAndNeverTwiceAtOnce runs workers that lose their connections,
// stop, and are cut off for longer than their leases.
func TestSubmitAtLeastOnceAndNeverTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { faults(t, seed, 10).require(t) })
		})
	}
}

// TestSubmitAtLeastOnceLong is the same with more seeds.
func TestSubmitAtLeastOnceLong(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { faults(t, 1000+seed, 60).require(t) })
		})
	}
}

// outcome is the end of a run of faults.
type outcome struct {
	h    *history
	c    *jobs.Client
	pool *storage.Pool
	ids  []string
}

func (o outcome) require(t *testing.T) {
	empty(t, o.pool, o.c)
	o.h.check(t, o.c, o.ids)
	n, err := o.c.Counts(t.Context(), "q")
	require.NoError(t, err)
	require.Less(t, n.Dead, int64(len(o.ids))/2, "most jobs succeed")
}

// faults submits jobs while three workers are troubled, steps times, and waits until no
// job waits.
func faults(t *testing.T, seed uint64, steps int) outcome {
	random := rand.New(rand.NewPCG(seed, 1))
	network := storagetest.NewNetwork(t)
	o := outcome{h: newHistory(), pool: storagetest.Open(t, network.Config())}
	o.c = client(t, o.pool)
	var mu sync.Mutex
	handler := o.h.handler(rand.New(rand.NewPCG(seed, 2)), &mu)
	start := func(g *gate) func() error {
		w, err := bus.NewWorker(g.pool(t), bus.WorkerConfig{Type: "w", Lease: 3 * time.Second, Drain: time.Second})
		require.NoError(t, err)
		bus.Handle(w, Task, handler)
		backoff := func(j jobs.Job, _ error) time.Duration { return time.Duration(j.Attempt) * 300 * time.Millisecond }
		require.NoError(t, jobs.Serve(w, "q", jobs.QueueConfig{Concurrency: 4, GroupConcurrency: 2, Backoff: backoff}))
		stop, err := bus.Start(context.Background(), w)
		require.NoError(t, err)
		t.Cleanup(func() { _ = stop() })
		return stop
	}
	gates, stops := make([]*gate, 3), make([]func() error, 3)
	for i := range gates {
		gates[i] = newGate(t, network)
		stops[i] = start(gates[i])
	}
	for step := range steps {
		i := random.IntN(len(gates))
		switch random.IntN(6) {
		case 0:
			gates[i].set(true) // for a while, perhaps longer than the lease
			time.AfterFunc(time.Duration(random.Int64N(int64(8*time.Second))), func() { gates[i].set(false) })
		case 1:
			gates[i].set(false) // cuts the connections
		case 2:
			network.Cut()
		case 3:
			if !gates[i].isShut() {
				require.NoError(t, stops[i]())
				stops[i] = start(gates[i])
			}
		}
		opts := jobs.SubmitOptions{Priority: jobs.Priority(random.IntN(3)), Attempts: 8}
		switch random.IntN(3) {
		case 0:
			opts.ID = "own" + strconv.Itoa(step)
		case 1:
			opts.Delay = time.Duration(1+random.IntN(2000)) * time.Millisecond
		}
		switch random.IntN(4) {
		case 0:
			opts.Group = "g" + strconv.Itoa(random.IntN(3))
		case 1:
			opts.Unique = jobs.Unique{Mode: jobs.UniqueRefuse, Key: strconv.Itoa(step % 3)}
		}
		some, err := jobs.SubmitMany(t.Context(), o.c, "q", Task, []int{1, 2, 3}, opts)
		for _, s := range some {
			if s.ID != "" {
				o.ids = append(o.ids, s.ID)
			}
		}
		if err != nil {
			require.ErrorIs(t, err, jobs.ErrIndeterminate)
		}
		time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
	}
	time.Sleep(10 * time.Second) // all gates are open
	for i := range gates {
		gates[i].set(false)
	}
	return o
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// A worker that can't reach Redis cancels its jobs before another worker has them, and a
// long handler is not run twice.
func TestAWorkerThatLosesItsLeaseIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool, cut := storagetest.Open(t, network.Config()), newGate(t, network)
		c, begun, lost := client(t, pool), make(chan int, 2), make(chan error, 1)
		wc := bus.WorkerConfig{Type: "w", Lease: 5 * time.Second}
		serveAs(t, cut.pool(t), wc, jobs.QueueConfig{}, func(ctx context.Context, _ int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			begun <- j.Attempt
			<-ctx.Done()
			lost <- context.Cause(ctx)
			return 0, ctx.Err()
		})
		_, err := jobs.Submit(t.Context(), c, "q", Task, 1)
		require.NoError(t, err)
		require.Equal(t, 1, <-begun)
		serveAs(t, pool, wc, jobs.QueueConfig{}, func(ctx context.Context, _ int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			begun <- j.Attempt
			return 0, nil
		})
		time.Sleep(2 * time.Minute) // of a handler: no reason to run the job again
		require.Empty(t, begun)
		cutAt := time.Now()
		cut.set(true)
		require.ErrorIs(t, <-lost, jobs.ErrLeaseLost)
		require.Empty(t, begun, "another worker has the job already")
		require.Equal(t, 2, <-begun)
		require.LessOrEqual(t, time.Since(cutAt), 2*wc.Lease)
		cut.set(false)
		empty(t, pool, c)
	})
}

// A stopping worker gives back what it has not begun and what it had to interrupt, and
// that costs no attempt.
func TestAStoppingWorkerGivesItsJobsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := storagetest.Open(t, storagetest.NewNetwork(t).Config())
		c, begun := client(t, pool), make(chan int, 10)
		wc := bus.WorkerConfig{Type: "w", Drain: time.Second}
		w, err := bus.NewWorker(pool, wc)
		require.NoError(t, err)
		bus.Handle(w, Task, func(ctx context.Context, n int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			begun <- j.Attempt
			<-ctx.Done()
			return 0, ctx.Err()
		}, bus.HandleOptions{MaxInFlight: 1}) // one runs, the others wait in the worker
		require.NoError(t, jobs.Serve(w, "q", jobs.QueueConfig{}))
		stop, err := bus.Start(t.Context(), w)
		require.NoError(t, err)
		_, err = jobs.SubmitMany(t.Context(), c, "q", Task, []int{1, 2, 3}, jobs.SubmitOptions{Attempts: 1})
		require.NoError(t, err)
		require.Equal(t, 1, <-begun)
		time.Sleep(time.Second)
		require.NoError(t, stop())
		n, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.Equal(t, jobs.Counts{Waiting: 3}, n)
		serveAs(t, pool, wc, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			begun <- j.Attempt
			return 0, nil
		})
		for range 3 {
			require.Equal(t, 1, <-begun)
		}
		empty(t, pool, c)
	})
}

// Delayed jobs begin when they are due, also if one is due before those that wait.
func TestDelayedJobsAreOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := storagetest.Open(t, storagetest.NewNetwork(t).Config())
		c, late := client(t, pool), make(chan time.Duration, 10)
		start := time.Now()
		serve(t, pool, jobs.QueueConfig{}, func(ctx context.Context, n int) (int, error) {
			late <- time.Since(start) - time.Duration(n)*time.Second
			return 0, nil
		})
		for _, n := range []int{100, 30, 2, 7} {
			_, err := jobs.Submit(t.Context(), c, "q", Task, n, jobs.SubmitOptions{At: start.Add(time.Duration(n) * time.Second)})
			require.NoError(t, err)
		}
		for range 4 {
			require.InDelta(t, 0, (<-late).Seconds(), 0.01)
		}
		empty(t, pool, c)
	})
}
