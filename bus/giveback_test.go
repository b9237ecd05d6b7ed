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

// A worker that is stopped while Redis is away, as in a failover, returns the calls that
// have not begun once Redis is back, as long as it has for its handlers.
func TestAWorkerStoppedInAnOutageReturnsItsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const waiting = 10
		network := storagetest.NewNetwork(t)
		order := make(chan int, waiting+1)
		hold := newGate()
		register := func(w *bus.Worker) {
			bus.Handle(w, bus.NewMethod[int, int]("nth"), func(ctx context.Context, n int) (int, error) {
				order <- n
				return n, hold.pass(ctx)
			})
		}
		first := start(t, storagetest.Open(t, network.Config()), bus.WorkerConfig{Serial: true}, register)
		c := client(t, storagetest.Open(t, network.Config()), bus.ClientConfig{})
		ended := make(chan error, waiting+1)
		for n := range waiting + 1 {
			go func() {
				_, err := bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[int, int]("nth"), n)
				ended <- err
			}()
			time.Sleep(time.Second / 10) // one after another
		}
		require.Equal(t, 0, <-order)

		network.Down()
		first.stop()
		time.Sleep(5 * time.Second)
		network.Up()
		close(hold.open)
		require.NoError(t, first.end())
		start(t, storagetest.Open(t, network.Config()), bus.WorkerConfig{Serial: true}, register)
		for range waiting + 1 {
			require.NoError(t, <-ended)
		}
		for n := range waiting {
			require.Equal(t, n+1, <-order, "in order")
		}
	})
}
