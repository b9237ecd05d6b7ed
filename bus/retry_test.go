package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestRetryAndBreaker(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		// A worker comes while a call is tried again.
		c := client(t, pool, bus.ClientConfig{Retry: bus.Retry{Attempts: 1000, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond}})
		answered := make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			answered <- err
		}()
		time.Sleep(20 * time.Millisecond)
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
				<-ctx.Done()
				return struct{}{}, ctx.Err()
			})
		})
		require.NoError(t, <-answered)
		twice := client(t, pool, bus.ClientConfig{Retry: bus.Retry{Attempts: 2, MinPause: time.Millisecond}})
		_, err := bus.Call(t.Context(), twice, bus.Group("absent"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)

		c = client(t, pool, bus.ClientConfig{Breaker: bus.Breaker{Failures: 3, Cooldown: 300 * time.Millisecond}})
		hang := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Hang, struct{}{})
			return err
		}
		for range 3 {
			require.ErrorIs(t, hang(), context.DeadlineExceeded)
		}
		require.ErrorIs(t, hang(), bus.ErrBreakerOpen)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err, "another address")
		require.Eventually(t, func() bool { return !errors.Is(hang(), bus.ErrBreakerOpen) }, patience, 10*time.Millisecond)
		require.ErrorIs(t, hang(), bus.ErrBreakerOpen, "one was let through, and was not answered")
		require.Eventually(t, func() bool {
			_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{})
			return err == nil
		}, patience, 10*time.Millisecond)
		require.ErrorIs(t, hang(), context.DeadlineExceeded, "it is closed again")

		for field, cfg := range map[string]bus.ClientConfig{
			"Retry.Attempts":   {Retry: bus.Retry{Attempts: -1}},
			"Retry.MinPause":   {Retry: bus.Retry{MinPause: -1}},
			"Retry.MaxPause":   {Retry: bus.Retry{MinPause: 2, MaxPause: 1}},
			"Breaker.Failures": {Breaker: bus.Breaker{Failures: -1}},
			"Breaker.Cooldown": {Breaker: bus.Breaker{Cooldown: -1}},
		} {
			_, err := bus.NewClient(pool, cfg)
			require.ErrorContains(t, err, "bus: ClientConfig."+field+": ")
		}
	})
}

func TestAnIdempotentCallOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		}
		first := start(t, pool, bus.WorkerConfig{Drain: -1}, hold)
		c := client(t, pool, bus.ClientConfig{})
		ends := make([]chan error, 2)
		for i, m := range []bus.Method[struct{}, struct{}]{Hang, Hang.Idempotent()} {
			ends[i] = make(chan error, 1)
			go func() {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), m, struct{}{})
				ends[i] <- err
			}()
			<-g.entered
		}
		start(t, pool, bus.WorkerConfig{}, hold)
		require.NoError(t, first.end())
		require.ErrorIs(t, <-ends[0], bus.CodeStopped)
		<-g.entered
		close(g.open)
		require.NoError(t, <-ends[1])
	})
}

// A call may have a retry policy of its own.
func TestACallCarriesItsRetryPolicy(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, ctx := client(t, pool, bus.ClientConfig{}), t.Context()
		_, err := bus.Call(ctx, c, bus.Group("absent"), Add, AddArgs{}, bus.CallOptions{Retry: &bus.Retry{Attempts: 3, MinPause: time.Millisecond}})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
		require.EqualValues(t, 2, c.Stats().Retries)
		require.EqualValues(t, 3, c.Stats().Refused)
		_, err = bus.Call(ctx, c, bus.Group("absent"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
		require.EqualValues(t, 2, c.Stats().Retries, "the client's own policy is to call once")

		_, err = bus.Call(ctx, c, bus.Group("absent"), Add, AddArgs{}, bus.CallOptions{Retry: &bus.Retry{Attempts: -1}})
		require.ErrorContains(t, err, "CallOptions.Retry.Attempts: -1 is negative")
		once := bus.CallOptions{Retry: &bus.Retry{}}
		require.ErrorContains(t, bus.Send(ctx, c, bus.Group("absent"), Add, AddArgs{}, once), "CallOptions.Retry")
		for _, err := range bus.Gather(ctx, c, bus.Broadcast("absent"), Add, AddArgs{}, once) {
			require.ErrorContains(t, err, "CallOptions.Retry")
		}
	})
}
