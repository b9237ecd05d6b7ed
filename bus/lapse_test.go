package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// While Redis can't be reached for longer than a lease, the handler of an idempotent call is
// told that the call may have been made elsewhere. That of another call runs on, and its
// caller gets the result.
func TestHandlersOfIdempotentCallsEndWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		repeat := bus.NewMethod[int, string]("repeat").Idempotent()
		once := bus.NewMethod[int, string]("once")
		lease, ended := make(chan error, 10), make(chan error, 10)
		begun := make(chan struct{}, 10)
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{OnLease: func(err error) { lease <- err }}, func(w *bus.Worker) {
			attempts := 0
			bus.Handle(w, repeat, func(ctx context.Context, _ int) (string, error) {
				if attempts++; attempts > 1 {
					return "again", nil
				}
				begun <- struct{}{}
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return "", ctx.Err()
			})
			bus.Handle(w, once, func(ctx context.Context, _ int) (string, error) {
				return "once", g.pass(ctx)
			})
		})
		require.NoError(t, w.Healthy())
		c := client(t, pool, bus.ClientConfig{Timeout: time.Minute})
		replies := make(chan string, 2)
		for _, m := range []bus.Method[int, string]{repeat, once} {
			go func() {
				s, err := bus.Call(context.Background(), c, bus.Group("calc"), m, 1)
				if err != nil {
					s = err.Error()
				}
				replies <- s
			}()
		}
		<-begun
		<-g.entered
		time.Sleep(time.Second)
		network.Down()
		time.Sleep(3 * time.Second) // the lease of 5 s had at least 3.3 s left
		require.NoError(t, w.Healthy())
		require.Empty(t, ended)
		time.Sleep(3 * time.Second)
		require.ErrorIs(t, <-ended, bus.ErrLeaseLapsed)
		require.ErrorIs(t, <-lease, bus.ErrLeaseLapsed)
		require.ErrorIs(t, w.Healthy(), bus.ErrLeaseLapsed)
		require.ErrorContains(t, w.Healthy(), "connection refused")
		require.EqualValues(t, 1, w.Stats().Lapses)
		time.Sleep(10 * time.Second)
		network.Up()
		require.NoError(t, <-lease)
		require.NoError(t, w.Healthy())
		require.Equal(t, "again", <-replies)
		close(g.open)
		require.Equal(t, "once", <-replies)
		require.NoError(t, w.end())
		require.ErrorContains(t, w.Healthy(), "stopped")
	})
}

// A context whose Done was never called has a cause, too.
func TestALeaseLapsesForHandlersThatDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		repeat := bus.NewMethod[int, string]("repeat").Idempotent()
		causes := make(chan error, 10)
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, repeat, func(ctx context.Context, _ int) (string, error) {
				time.Sleep(20 * time.Second)
				causes <- context.Cause(ctx)
				return "done", nil
			})
		})
		c := client(t, pool, bus.ClientConfig{Timeout: time.Minute})
		time.AfterFunc(time.Second, network.Down)
		time.AfterFunc(15*time.Second, network.Up)
		s, err := bus.Call(t.Context(), c, bus.Group("calc"), repeat, 1)
		require.NoError(t, err)
		require.Equal(t, "done", s)
		require.ErrorIs(t, <-causes, bus.ErrLeaseLapsed)
	})
}
