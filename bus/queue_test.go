package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// What waits in a queue can be looked at and removed, and the callers are told.
func TestAQueueIsPeekedAndPurged(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{Timeout: time.Minute})
		ended := make(chan error, 200)
		call := func(to bus.Address) {
			_, err := bus.Call(context.Background(), c, to, Add.WithCodec(storage.JSON), AddArgs{1, 2}, bus.CallOptions{Header: bus.Header{"k": "v"}})
			ended <- err
		}
		held := make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
			held <- err
		}()
		<-g.entered
		for _, to := range []bus.Address{bus.Group("calc"), bus.Direct(w.ID())} {
			none, err := c.Peek(t.Context(), to, 10)
			require.NoError(t, err)
			require.Empty(t, none)
			for range 99 {
				go call(to)
			}
			require.NoError(t, bus.Send(t.Context(), c, to, Add, AddArgs{}))
			require.Eventually(t, func() bool {
				n, err := c.Queued(t.Context(), to)
				return err == nil && n == 100
			}, patience, time.Millisecond)
			calls, err := c.Peek(t.Context(), to, 1000)
			require.NoError(t, err)
			require.Len(t, calls, 100)
			sends := 0
			for _, call := range calls {
				require.Equal(t, "add", call.Method)
				require.WithinDuration(t, call.Sent.Add(time.Minute), call.Deadline, time.Second)
				if call.NoReply {
					sends++
					continue
				}
				require.Equal(t, `{"a":1,"b":2}`, string(call.Body.Data))
				require.Equal(t, storage.JSON, call.Body.Codec)
				require.Equal(t, "v", call.Header["k"])
			}
			require.Equal(t, 1, sends)
			n, err := c.Purge(t.Context(), to)
			require.NoError(t, err)
			require.Equal(t, 100, n)
			for range 99 {
				require.ErrorIs(t, <-ended, bus.CodePurged)
			}
			n, err = c.Purge(t.Context(), to)
			require.NoError(t, err)
			require.Zero(t, n)
		}
		_, err := c.Peek(t.Context(), bus.Group("calc"), 1001)
		require.ErrorContains(t, err, "0 to 1000")
		_, err = c.Purge(t.Context(), bus.Address{})
		require.ErrorContains(t, err, "Address without a type")
		close(g.open)
		require.NoError(t, <-held)
	})
}

// Workers of a type that is paused begin no calls and lose none.
func TestATypeIsPaused(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		first := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{Timeout: time.Minute})
		require.NoError(t, c.Pause(t.Context(), "calc", time.Minute))
		paused := func(w *running) bool {
			s, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Stats, struct{}{})
			return err == nil && s.Paused
		}
		require.Eventually(t, func() bool { return paused(first) }, patience, time.Millisecond)
		second := start(t, pool, bus.WorkerConfig{})
		require.True(t, paused(second))
		ended := make(chan error, 3)
		for _, to := range []bus.Address{bus.Group("calc"), bus.Group("calc"), bus.Direct(first.ID())} {
			go func() {
				_, err := bus.Call(context.Background(), c, to, Add, AddArgs{1, 2})
				ended <- err
			}()
		}
		select {
		case err := <-ended:
			t.Fatalf("a call ended: %v", err)
		case <-time.After(8 * time.Second): // calls are not lost
		}
		n, err := c.Queued(t.Context(), bus.Group("calc"))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.NoError(t, c.Resume(t.Context(), "calc"))
		for range 3 {
			require.NoError(t, <-ended)
		}

		// A pause ends by itself, and a worker that pauses can stop.
		require.NoError(t, c.Pause(t.Context(), "calc", 3*time.Second))
		require.Eventually(t, func() bool { return paused(first) && paused(second) }, patience, time.Millisecond)
		require.NoError(t, first.end())
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.NoError(t, err)
		require.Error(t, c.Pause(t.Context(), "calc", 0))
		require.Error(t, c.Pause(t.Context(), "a:b", time.Second))
		require.Error(t, c.Resume(t.Context(), ""))
	})
}

func TestClientsCountWhatBecomesOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(context.Context, struct{}) (struct{}, error) {
				time.Sleep(2 * time.Second)
				return struct{}{}, nil
			})
		})
		c := client(t, pool, bus.ClientConfig{Timeout: time.Second, Breaker: bus.Breaker{Failures: 1}})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.NoError(t, err)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Hang, struct{}{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.ErrorIs(t, err, bus.ErrBreakerOpen)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel) // before the worker announces it: it is answered
		fresh := client(t, pool, bus.ClientConfig{})
		_, err = bus.Call(ctx, fresh, bus.Group("calc"), Hang, struct{}{})
		require.ErrorIs(t, err, context.Canceled)
		network.Cut() // the inbox is read from its beginning again
		time.Sleep(5 * time.Second)

		s := c.Stats()
		require.EqualValues(t, 1, s.Timeouts)
		require.Equal(t, 1, s.OpenBreakers)
		require.EqualValues(t, 1, s.Refused)
		require.EqualValues(t, 2, s.Calls)
		require.EqualValues(t, 1, s.Time.Count)
		require.Less(t, s.Time.Quantile(1), 100*time.Millisecond)
		require.Zero(t, s.Late)
		require.Zero(t, s.Pending)
		require.Zero(t, s.PendingBytes)
		require.EqualValues(t, 1, fresh.Stats().Cancelled)
	})
}

// A reply that comes after its call has ended is counted once, however often it is read.
func TestLateRepliesAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(context.Context, struct{}) (struct{}, error) {
				time.Sleep(200 * time.Millisecond)
				return struct{}{}, nil
			})
		})
		c := client(t, pool, bus.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		cancelled, giveUp := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, giveUp)
		_, err := bus.Call(cancelled, c, bus.Group("calc"), Hang, struct{}{})
		require.ErrorIs(t, err, context.Canceled)
		_, err = bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.Error(t, err)
		time.Sleep(time.Second)
		require.EqualValues(t, 1, c.Stats().Late)
		for range 3 {
			network.Cut()
			time.Sleep(3 * time.Second)
		}
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.NoError(t, err)
		require.EqualValues(t, 1, c.Stats().Late)
	})
}
