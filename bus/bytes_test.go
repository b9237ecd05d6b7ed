package bus_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A queue, the calls that wait for their replies, the requests that a worker holds and the
// records of its log are limited in bytes.
func TestWhatWaitsIsLimitedInBytes(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		big := bus.NewMethod[[]byte, []byte]("big")
		w := start(t, pool, bus.WorkerConfig{Concurrency: 100, MaxHeldBytes: 100_000}, func(w *bus.Worker) {
			bus.Handle(w, big, func(ctx context.Context, b []byte) ([]byte, error) { return b, g.pass(ctx) })
		})
		body := make([]byte, 20_000)
		results := make(chan error, 100)
		call := func(c *bus.Client, n int) {
			for range n {
				go func() {
					_, err := bus.Call(context.Background(), c, bus.Group("calc"), big, body)
					results <- err
				}()
			}
		}
		queue := func() int64 { return pool.Redis().LLen(t.Context(), "bus:{local:calc}:queue").Val() }
		eventually := func(ok func() bool) {
			t.Helper()
			for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
				require.True(t, time.Now().Before(end))
			}
		}

		c := client(t, pool, bus.ClientConfig{MaxQueueBytes: 110_000})
		call(c, 4)
		for range 4 {
			<-g.entered
		}
		call(c, 5)
		eventually(func() bool { return w.Stats().Held >= 5 })
		time.Sleep(time.Second)
		require.LessOrEqual(t, w.Stats().Held, 6) // of 100: one read may exceed the limit
		pushed := 0
		for ; queue() <= 5; pushed++ {
			call(c, 1)
			time.Sleep(10 * time.Millisecond)
		}
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), big, body)
		require.ErrorIs(t, err, bus.ErrQueueFull)
		require.ErrorContains(t, err, "MaxQueueBytes")
		// Another client's small calls are not refused for that.
		require.NoError(t, bus.Send(t.Context(), client(t, pool, bus.ClientConfig{}), bus.Group("calc"), Add, AddArgs{1, 2}))
		close(g.open)
		for range 9 + pushed {
			require.NoError(t, <-results)
		}

		// Results are expected to be as large as recent ones.
		g.open = make(chan struct{})
		few := client(t, pool, bus.ClientConfig{MaxPendingBytes: 100_000})
		call(few, 1)
		<-g.entered
		close(g.open)
		require.NoError(t, <-results)
		g.open = make(chan struct{})
		call(few, 3)
		err = <-results
		require.ErrorIs(t, err, bus.ErrQueueFull)
		require.ErrorContains(t, err, "MaxPendingBytes is 100000")
		close(g.open)
		require.NoError(t, <-results)
		require.NoError(t, <-results)
	})
}

func TestTheLogOfAWorkerIsLimitedInBytes(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var log *slog.Logger
		var out bytes.Buffer
		w := start(t, pool, bus.WorkerConfig{KeepLogBytes: 4000}, func(w *bus.Worker) {
			log = slog.New(w.LogHandler(slog.NewTextHandler(&out, nil), slog.LevelInfo))
		})
		text := strings.Repeat("x", 900)
		for range 10 {
			log.Info(text)
		}
		c := client(t, pool, bus.ClientConfig{})
		kept := func() int {
			records, err := c.Log(t.Context(), w.ID(), 100)
			require.NoError(t, err)
			return len(records)
		}
		require.Eventually(t, func() bool { return kept() == 4 }, patience, time.Millisecond)
		log.Info(text)
		log.Info(strings.Repeat("x", 5000)) // displaces no other
		require.NoError(t, w.end())
		require.Equal(t, 4, kept())
	})
}

// A queue has a time to live from the first moment, whatever becomes of its client.
func TestAQueueHasATimeToLiveFromTheFirstMoment(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), Hang, struct{}{}))
		<-g.entered
		for range 10 {
			for key, to := range map[string]bus.Address{"bus:{local:calc}:queue": bus.Group("calc"), "bus:{local:calc}:queue:" + w.ID(): bus.Direct(w.ID())} {
				require.NoError(t, bus.Send(t.Context(), c, to, Add, AddArgs{1, 2}))
				require.Positive(t, pool.Redis().PTTL(t.Context(), key).Val(), key)
				require.NoError(t, pool.Redis().Del(t.Context(), key).Err())
			}
		}
		close(g.open)
	})
}

// A stream that has waited for a worker until its caller gave up is not begun.
func TestAStreamIsNotBegunAfterItsCallerHasGivenUp(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		tail := bus.NewStream[int, int]("tail")
		begun := make(chan struct{}, 1)
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
			bus.HandleStream(w, tail, func(ctx context.Context, n int, send func(int) error) error {
				begun <- struct{}{}
				_, limited := ctx.Deadline()
				if limited {
					return bus.Errorf("limited", "")
				}
				return send(n)
			})
		})
		c := client(t, pool, bus.ClientConfig{Timeout: 2 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, bus.Send(ctx, c, bus.Group("calc"), Hang, struct{}{}))
		<-g.entered
		for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), tail, 1) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		time.Sleep(time.Second)
		close(g.open)
		for n, err := range bus.Stream(t.Context(), c, bus.Group("calc"), tail, 1) {
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		require.Len(t, begun, 1)
		require.EqualValues(t, 1, w.Stats().Expired)
	})
}
