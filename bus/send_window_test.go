package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The requests to all workers exceed what may wait for Redis: they are sent a few at a
// time.
func TestALargeBodyReachesAllOfALargeAudience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		length := bus.NewMethod[[]byte, int]("length")
		var ran atomic.Int64
		const workers = 20
		for range workers {
			start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
				bus.Handle(w, length, func(_ context.Context, b []byte) (int, error) {
					ran.Add(1)
					return len(b), nil
				})
			})
		}
		cfg := network.Config()
		cfg.MaxQueuedBytes = 1 << 20
		c := client(t, storagetest.Open(t, cfg), bus.ClientConfig{})
		body := make([]byte, 200_000)
		n := 0
		for rep, err := range bus.Gather(t.Context(), c, bus.Broadcast("calc"), length, body) {
			require.NoError(t, err)
			require.Equal(t, len(body), rep.Value)
			n++
		}
		require.Equal(t, workers, n)
		require.NoError(t, bus.Send(t.Context(), c, bus.Broadcast("calc"), length, body))
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 2*workers, ran.Load())
	})
}
