package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestAQueueIsFirstInFirstOut(t *testing.T) {
	t.Parallel()
	const n = 2000
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var order []int
		var at atomic.Int64
		var overlap atomic.Bool
		done := make(chan struct{})
		step := bus.NewMethod[int, struct{}]("step")
		other := bus.NewMethod[int, struct{}]("other")
		h := func(_ context.Context, i int) (struct{}, error) {
			if at.Add(1) != 1 {
				overlap.Store(true)
			}
			if order = append(order, i); len(order) == n {
				close(done)
			}
			at.Add(-1)
			return struct{}{}, nil
		}
		start(t, pool, bus.WorkerConfig{Serial: true}, func(w *bus.Worker) {
			bus.Handle(w, step, h) // no locks
			bus.Handle(w, other, h)
		})
		c := client(t, pool, bus.ClientConfig{})
		for i := range n {
			m := step
			if i%3 == 0 {
				m = other
			}
			require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), m, i))
		}
		<-done
		require.False(t, overlap.Load(), "one at a time")
		for i, got := range order {
			require.Equal(t, i, got)
		}
	})
}

func TestAWorkerHoldsNoMoreThanItsConcurrency(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		for name, cfg := range map[string]bus.WorkerConfig{
			"concurrent": {Type: "concurrent", Concurrency: 3},
			"serial":     {Type: "serial", Serial: true, Prefetch: 3},
		} {
			g := newGate()
			hold := bus.NewMethod[int, struct{}]("hold")
			var running, most atomic.Int64
			w := start(t, pool, cfg, func(w *bus.Worker) {
				bus.Handle(w, hold, func(ctx context.Context, _ int) (struct{}, error) {
					now := running.Add(1)
					defer running.Add(-1)
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
					return struct{}{}, g.pass(ctx)
				})
			})
			c := client(t, pool, bus.ClientConfig{})
			for i := range 10 {
				require.NoError(t, bus.Send(t.Context(), c, bus.Group(cfg.Type), hold, i))
			}
			require.Eventually(t, func() bool { return w.Stats().Held == 3 }, patience, time.Millisecond)
			want := map[string]int64{"concurrent": 3, "serial": 1}[name]
			require.Eventually(t, func() bool { return running.Load() == want }, patience, time.Millisecond)
			require.EqualValues(t, 7, pool.Redis().LLen(t.Context(), "bus:{local:"+cfg.Type+"}:queue").Val(), "the others wait in Redis")
			close(g.open)
			require.Eventually(t, func() bool { return w.Stats().Calls == 10 }, patience, time.Millisecond)
			require.Equal(t, want, most.Load())
		}
	})
}

// inFlight returns the calls of a method that run or wait in a worker.
func inFlight(w *running, method string) int {
	for _, m := range w.Stats().Methods {
		if m.Name == method {
			return int(m.InFlight)
		}
	}
	return 0
}

func TestAMethodHasALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[int, struct{}]("hold")
		var mu sync.Mutex
		var order []int
		w := start(t, pool, bus.WorkerConfig{Concurrency: 8}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, i int) (struct{}, error) {
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				return struct{}{}, g.pass(ctx)
			}, bus.HandleOptions{MaxInFlight: 2})
		})
		c := client(t, pool, bus.ClientConfig{})
		for i := range 5 {
			require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), hold, i))
		}
		require.Eventually(t, func() bool { return inFlight(w, "hold") == 5 }, patience, time.Millisecond, "three wait in the worker")
		<-g.entered
		<-g.entered
		require.Empty(t, g.entered)
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err, "other methods are not held up")
		close(g.open)
		require.Eventually(t, func() bool { return inFlight(w, "hold") == 0 }, patience, time.Millisecond)
		require.ElementsMatch(t, []int{0, 1}, order[:2])
		require.ElementsMatch(t, []int{2, 3, 4}, order[2:])
	})
}

func TestAStoppingWorkerLeavesFirstAndDrains(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[int, int]("hold")
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, i int) (int, error) { return i, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		answered := make(chan error, 1)
		go func() {
			got, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), hold, 7)
			if got != 7 && err == nil {
				err = errors.New("wrong")
			}
			answered <- err
		}()
		<-g.entered
		w.stop()
		require.Eventually(t, func() bool {
			workers, err := c.Workers(t.Context(), "calc")
			return err == nil && len(workers) == 0
		}, patience, time.Millisecond)
		require.Empty(t, w.ended, "it waits for its handlers")
		close(g.open)
		require.NoError(t, <-answered)
		require.NoError(t, w.end())
		require.NoError(t, c.Close())
		require.Empty(t, keysOf(t, pool))
	})
}

func TestAStoppingWorkerCancelsHandlersThatTakeTooLong(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[int, int]("hold")
		for _, drain := range []time.Duration{20 * time.Millisecond, -1} {
			w := start(t, pool, bus.WorkerConfig{Drain: drain}, func(w *bus.Worker) {
				bus.Handle(w, hold, func(ctx context.Context, i int) (int, error) { return i, g.pass(ctx) })
			})
			c := client(t, pool, bus.ClientConfig{})
			answered := make(chan error, 1)
			go func() {
				_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, 7)
				answered <- err
			}()
			<-g.entered
			require.NoError(t, w.end())
			err := <-answered
			require.ErrorIs(t, err, bus.CodeStopped)
			require.ErrorContains(t, err, "context canceled")
		}
	})
}

func TestAHandlerThatIgnoresItsContextIsReported(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		stuck := make(chan struct{})
		hold := bus.NewMethod[int, int]("hold")
		entered := make(chan struct{})
		w := start(t, pool, bus.WorkerConfig{Drain: -1}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(context.Context, int) (int, error) { close(entered); <-stuck; return 0, nil })
		})
		c := client(t, pool, bus.ClientConfig{})
		require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), hold, 1))
		<-entered
		require.ErrorContains(t, w.end(), "stopped, but 1 of its handlers did not")
		close(stuck)
	})
}

// What a worker took and did not begin is done by the next one, in order.
func TestAStoppingWorkerGivesBackWhatItDidNotBegin(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const n = 40
		g := newGate()
		step := bus.NewMethod[int, int]("step")
		limited := bus.NewMethod[int, int]("limited")
		var mu sync.Mutex
		var order []int
		h := func(ctx context.Context, i int) (int, error) {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			return i, g.pass(ctx)
		}
		register := func(w *bus.Worker) {
			bus.Handle(w, step, h)
			bus.Handle(w, limited, h, bus.HandleOptions{MaxInFlight: 1})
		}
		for _, cfg := range []bus.WorkerConfig{{Type: "serial", Serial: true, Prefetch: 20}, {Type: "limited", Concurrency: 20}} {
			g, order = newGate(), nil
			m := step
			if cfg.Type == "limited" {
				m = limited
			}
			first := start(t, pool, cfg, register)
			c := client(t, pool, bus.ClientConfig{})
			queue := "bus:{local:" + cfg.Type + "}:queue"
			sent := func() int { // calls in the worker and in both of its queues
				rdb := pool.Redis()
				return inFlight(first, m.Name()) + int(rdb.LLen(t.Context(), queue).Val()+rdb.LLen(t.Context(), queue+":"+first.ID()).Val())
			}
			answers := make(chan int, n)
			for i := range n {
				go func() {
					got, err := bus.Call(t.Context(), c, bus.Group(cfg.Type), m, i)
					if err != nil {
						t.Error(err)
					}
					answers <- got
				}()
				require.Eventually(t, func() bool { return sent() == i+1 }, patience, time.Millisecond) // one after the other
			}
			<-g.entered
			var direct = make(chan error, 1)
			go func() {
				_, err := bus.Call(t.Context(), c, bus.Direct(first.ID()), m, 1000)
				direct <- err
			}()
			require.Eventually(t, func() bool { return sent() == n+1 }, patience, time.Millisecond)

			second := start(t, pool, bus.WorkerConfig{Type: cfg.Type, Serial: true, Prefetch: 1, Lease: time.Minute}, register)
			first.stop()
			require.ErrorIs(t, <-direct, bus.CodeStopped, "no other worker can run it")
			close(g.open)
			require.NoError(t, first.end())
			for range n {
				<-answers
			}
			require.Len(t, order, n, "each once")
			require.Equal(t, 0, order[0])
			for i := 3; i < n; i++ { // the second worker had begun one before the others came back
				require.Less(t, order[i-1], order[i])
			}
			require.NoError(t, second.end())
		}
	})
}

func TestRunEndsWithThePool(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		own := storagetest.Open(t, pool.Config())
		w := start(t, own, bus.WorkerConfig{})
		require.NoError(t, own.Close())
		require.NoError(t, <-w.ended)
		require.Empty(t, keysOf(t, pool))
		closed, err := bus.NewWorker(own, bus.WorkerConfig{Type: "t"})
		require.NoError(t, err)
		require.ErrorIs(t, closed.Run(t.Context()), storage.ErrClosed)
	})
}

func TestAWorkerRunsOnce(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	w := start(t, pool, bus.WorkerConfig{})
	require.ErrorContains(t, w.Run(t.Context()), "was run before")
	require.Panics(t, func() { bus.Handle(w.Worker, Name, nil) }, "after Run")
	w2, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "t"})
	require.NoError(t, err)
	nop := func(context.Context, AddArgs) (int, error) { return 0, nil }
	nopAny := func(context.Context, string, bus.Body) (bus.Body, error) { return bus.Body{}, nil }
	bus.Handle(w2, Add, nop)
	bus.HandleAny(w2, nopAny)
	require.PanicsWithValue(t, "bus: worker "+w2.ID()+`: two handlers for "add"`, func() { bus.Handle(w2, Add, nop) })
	require.Panics(t, func() { bus.HandleAny(w2, nopAny) })
	require.Panics(t, func() { bus.Handle(w2, Name, nil, bus.HandleOptions{MaxInFlight: -1}) })
	require.Panics(t, func() { bus.Handle(w2, Name, nil, bus.HandleOptions{}, bus.HandleOptions{}) })

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, w2.Run(canceled))
	require.Len(t, keysOf(t, pool), 3, "those of the first")
}

func TestMalformedRequestsAreSkipped(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		garbage := []any{"", "\x00", "hello", "\x99", "\x99\x02", "\x99\x01\x01\xdb\xff\xff\xff\xff", strings.Repeat("\x91", 1<<20), "\xdc\xff\xff", "\x98\x01\x00\x00\x00\x00\x00\x00\x00"}
		require.NoError(t, pool.Redis().RPush(t.Context(), "bus:{local:calc}:queue", garbage...).Err())
		require.NoError(t, pool.Redis().RPush(t.Context(), "bus:{local:calc}:queue:"+w.ID(), garbage...).Err())
		inboxes := pool.Redis().Keys(t.Context(), "bus:{local:inbox:*}").Val()
		require.Len(t, inboxes, 1)
		for _, g := range garbage {
			require.NoError(t, pool.Redis().XAdd(t.Context(), &redis.XAddArgs{Stream: inboxes[0], Values: []any{redisio.StreamField, g}}).Err())
		}
		for i := range 100 {
			sum, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{i, 1})
			require.NoError(t, err)
			require.Equal(t, i+1, sum)
		}
		require.EqualValues(t, 2*(len(garbage)-1), w.Stats().Malformed, "the empty one is how a worker wakes itself")
	})
}

// The servers before Redis 7 have no BLMPOP.
func TestRedisWithoutBLMPOP(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--rename-command", "BLMPOP", "")
	pool := storagetest.Open(t, srv.Config())
	w := start(t, pool, bus.WorkerConfig{})
	c := client(t, pool, bus.ClientConfig{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 50 {
				if _, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{i, 1}); err != nil {
					t.Error(err)
				}
				if _, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{i, 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.end())
}

// The clocks of a worker and of a client are wrong by a minute.
func TestClocksMayBeWrong(t *testing.T) {
	t.Parallel()
	left := bus.NewMethod[struct{}, time.Duration]("left")
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		for _, off := range []time.Duration{time.Minute, -time.Minute} {
			w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", Lease: time.Second})
			require.NoError(t, err)
			bus.SetWorkerClock(w, off)
			bus.Handle(w, left, func(ctx context.Context, _ struct{}) (time.Duration, error) {
				at, _ := ctx.Deadline()
				return time.Until(at), nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			<-w.Ready()
			for _, own := range []time.Duration{0, -off} {
				c := client(t, pool, bus.ClientConfig{Timeout: 10 * time.Second})
				bus.SetClientClock(c, own)
				for range 15 { // over a lease
					time.Sleep(100 * time.Millisecond)
					got, err := bus.Call(t.Context(), c, bus.Group("calc"), left, struct{}{})
					require.NoError(t, err)
					require.InDelta(t, 10, got.Seconds(), 5)
				}
			}
			cancel()
			require.NoError(t, <-ended)
		}
	})
}
