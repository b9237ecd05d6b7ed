package bus_test

import (
	"context"
	"errors"
	"math"
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

// Attempts may be any number. Of an idempotent call whose workers die again and again,
// the last attempt is answered.
func TestRetryHasNoLargestNumberOfAttempts(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, bus.ClientConfig{Retry: bus.Retry{Attempts: math.MaxInt}})
		for _, m := range []bus.Method[AddArgs, int]{Add, Add.Idempotent()} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := bus.Call(ctx, c, bus.Group("absent"), m, AddArgs{})
			cancel()
			require.ErrorIs(t, err, bus.ErrNoWorkers)
		}
		g := newGate()
		start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ends := make(chan error, 2)
		call := func() {
			_, err := bus.Call(ctx, c, bus.Group("calc"), Hang.Idempotent(), struct{}{})
			ends <- err
		}
		go call()
		<-g.entered
		go call() // the worker is busy
		for range 20 {
			for pool.Redis().LPop(ctx, "bus:{local:calc}:queue").Err() != nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
		close(g.open)
		for range cap(ends) {
			require.NoError(t, <-ends)
		}
		require.GreaterOrEqual(t, c.Stats().Retries, int64(20))
	})
}

// What finds out whether workers answer closes the breaker, and what has no reply does
// not keep others from finding out.
func TestTheBreakerOfAHealthyWorkerCloses(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
				<-ctx.Done()
				return struct{}{}, ctx.Err()
			})
			bus.HandleStream(w, Count, func(_ context.Context, _ struct{}, send func(int) error) error { return send(1) })
		})
		const cooldown = 300 * time.Millisecond
		c, ctx := client(t, pool, bus.ClientConfig{Breaker: bus.Breaker{Failures: 1, Cooldown: cooldown}}), t.Context()
		to := bus.Direct(w.ID())
		add := func() error {
			_, err := bus.Call(ctx, c, to, Add, AddArgs{})
			return err
		}
		stream := func() (err error) {
			for _, err = range bus.Stream(ctx, c, to, Count, struct{}{}) {
			}
			return err
		}
		open := func() {
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := gatherAll(bus.Gather(short, c, bus.Broadcast("calc"), Hang, struct{}{}))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, add(), bus.ErrBreakerOpen)
			require.ErrorIs(t, stream(), bus.ErrBreakerOpen)
			require.ErrorIs(t, bus.Send(ctx, c, to, Add, AddArgs{}), bus.ErrBreakerOpen)
			time.Sleep(cooldown)
		}
		open()
		require.NoError(t, stream())
		require.NoError(t, add())
		open()
		require.Len(t, answers(t, c, bus.Broadcast("calc")), 1)
		require.NoError(t, add())
		open()
		require.NoError(t, bus.Send(ctx, c, to, Add, AddArgs{}))
		require.NoError(t, add())
		open()
		gone, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, cancel)
		_, err := bus.Call(gone, c, to, Hang, struct{}{})
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, add())
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
