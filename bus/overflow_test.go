package bus_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var Limited = bus.NewMethod[int, int]("limited")

// limitedWorker runs a worker whose method limited waits for a gate, and notes in which order its calls began.
func limitedWorker(t *testing.T, pool *storage.Pool, cfg bus.WorkerConfig, o bus.HandleOptions, g *gate, began *sequence) *running {
	return start(t, pool, cfg, func(w *bus.Worker) {
		bus.Handle(w, Limited, func(ctx context.Context, n int) (int, error) {
			began.add(n)
			return n, g.pass(ctx)
		}, o)
	})
}

type sequence struct {
	mu sync.Mutex
	of []int
}

func (s *sequence) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of = append(s.of, n)
}

func (s *sequence) all() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.of)
}

// queueLimited makes n calls of the method limited, one after the other, and returns their results.
func queueLimited(t *testing.T, pool *storage.Pool, c *bus.Client, to bus.Address, n int) <-chan error {
	results := make(chan error, n)
	for i := range n {
		go func() {
			got, err := bus.Call(t.Context(), c, to, Limited, i)
			if err == nil && got != i {
				t.Errorf("call %d: %d", i, got)
			}
			results <- err
		}()
		require.Eventually(t, func() bool { return c.Stats().Pending == i+1 }, patience, 100*time.Microsecond)
		require.NoError(t, pool.Ping(t.Context()))
	}
	return results
}

// sendLimited sends n calls of the method limited, in order.
func sendLimited(t *testing.T, c *bus.Client, to bus.Address, n int) {
	for i := range n {
		require.NoError(t, bus.Send(t.Context(), c, to, Limited, i))
	}
}

// upTo returns the numbers from first to last.
func upTo(first, last int) (all []int) {
	for i := first; i <= last; i++ {
		all = append(all, i)
	}
	return all
}

// overflowed returns the calls in overflow lists, -1 while a list that was just made has
// no TTL yet.
func overflowed(t *testing.T, pool *storage.Pool) (n int64) {
	for _, key := range keysLike(t, pool, ":overflow:") {
		length, err := pool.Redis().LLen(t.Context(), key).Result()
		require.NoError(t, err)
		n += length
		ttl, err := pool.Redis().PTTL(t.Context(), key).Result()
		require.NoError(t, err)
		if ttl == -1 {
			return -1
		}
	}
	return n
}

// Calls over the limit of their method take no slots from the other methods.
func TestAMethodsLimitLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g, began := newGate(), &sequence{}
		w := limitedWorker(t, pool, bus.WorkerConfig{Concurrency: 16}, bus.HandleOptions{MaxInFlight: 2}, g, began)
		c := client(t, pool, bus.ClientConfig{Timeout: patience})
		results := queueLimited(t, pool, c, bus.Group("calc"), 32)
		for range 2 {
			<-g.entered
		}
		for range 32 {
			sum, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			require.NoError(t, err)
			require.Equal(t, 3, sum)
		}
		require.Equal(t, 2, w.Stats().Held)
		require.Empty(t, g.entered, "two at a time")
		close(g.open)
		for range 32 {
			require.NoError(t, <-results)
		}
		require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond)
	})
}

// Calls over the room of their method wait in Redis, and begin in order.
func TestCallsOverflowInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		for _, direct := range []bool{false, true} {
			g, began := newGate(), &sequence{}
			w := limitedWorker(t, pool, bus.WorkerConfig{Concurrency: 8}, bus.HandleOptions{MaxInFlight: 1, MaxWaiting: 4}, g, began)
			c := client(t, pool, bus.ClientConfig{Timeout: patience})
			to := bus.Group("calc")
			if direct {
				to = bus.Direct(w.ID())
			}
			sendLimited(t, c, to, 50)
			require.Eventually(t, func() bool { return overflowed(t, pool) == 45 }, patience, time.Millisecond, "one runs, four wait")
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			require.NoError(t, err)
			close(g.open)
			require.Eventually(t, func() bool { return len(began.all()) == 50 }, patience, time.Millisecond)
			require.Equal(t, upTo(0, 49), began.all())
			require.EqualValues(t, 45, w.Stats().Overflowed)
			require.NoError(t, w.end())
			require.Empty(t, keysLike(t, pool, ":overflow:"))
		}
	})
}

// A worker that stops leaves what waits to the others, in order.
func TestAnOverflowListOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g, began := newGate(), &sequence{}
		o := bus.HandleOptions{MaxInFlight: 1, MaxWaiting: 4}
		first := limitedWorker(t, pool, bus.WorkerConfig{Drain: -1}, o, g, began)
		c := client(t, pool, bus.ClientConfig{Timeout: patience})
		sendLimited(t, c, bus.Group("calc"), 30)
		require.Eventually(t, func() bool { return overflowed(t, pool) == 25 }, patience, time.Millisecond)
		open := newGate()
		close(open.open)
		second := &sequence{}
		require.NoError(t, first.end())
		limitedWorker(t, pool, bus.WorkerConfig{}, o, open, second)
		require.Eventually(t, func() bool { return len(second.all()) == 29 }, patience, time.Millisecond)
		require.Equal(t, upTo(1, 29), second.all())
	})
}

// The overflow list has a bound.
func TestAnOverflowListIsBounded(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g, began := newGate(), &sequence{}
		w := limitedWorker(t, pool, bus.WorkerConfig{}, bus.HandleOptions{MaxInFlight: 1, MaxWaiting: 1, MaxOverflow: 5}, g, began)
		c := client(t, pool, bus.ClientConfig{Timeout: patience})
		for range 20 {
			require.NoError(t, bus.Send(t.Context(), c, bus.Direct(w.ID()), Limited, 0))
		}
		require.Eventually(t, func() bool { return overflowed(t, pool) > 5 }, patience, time.Millisecond)
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Limited, 1)
			if err == nil || !strings.Contains(err.Error(), "queue_full") {
				return false
			}
			require.ErrorIs(t, err, bus.CodeQueueFull)
			require.ErrorIs(t, err, bus.ErrQueueFull)
			return true
		}, patience, time.Millisecond)
		close(g.open)
	})
}

// A call in an overflow list waits: it is not taken to be lost while its workers live, and never ran when they are gone.
func TestACallInAnOverflowListIsNotLost(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	g, began := newGate(), &sequence{}
	w := limitedWorker(t, pool, bus.WorkerConfig{Drain: -1}, bus.HandleOptions{MaxInFlight: 1, MaxWaiting: 1}, g, began)
	c := client(t, pool, bus.ClientConfig{Timeout: patience})
	results := queueLimited(t, pool, c, bus.Group("calc"), 10)
	select {
	case err := <-results:
		t.Fatal(err)
	case <-time.After(8 * time.Second):
	}
	require.EqualValues(t, 8, overflowed(t, pool))
	require.NoError(t, w.end())
	never := 0
	for range 10 {
		if err := <-results; err != nil && !strings.Contains(err.Error(), "stopped") {
			require.ErrorIs(t, err, bus.ErrNoWorkers)
			never++
		}
	}
	require.Equal(t, 9, never)
	require.Empty(t, keysLike(t, pool, ":overflow:"))
}
