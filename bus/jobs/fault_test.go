package jobs_test

import (
	"context"
	"errors"
	"net"
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
