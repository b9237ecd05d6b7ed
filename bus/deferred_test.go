package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Replies are collected, and written in one transaction with the data they report.
func TestDeferredCallsAreAnsweredLater(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const together = 4
		var batch []busio.Call
		hidden, err := busio.NewWorker(pool, bus.WorkerConfig{Type: "kw.sum", Serial: true}, func(ctx context.Context, call busio.Call) {
			switch call.Method() {
			case "panic":
				panic("no")
			case "soon":
				call.Answer(storage.MsgPack, nil, errors.New("refused"))
				return
			}
			if batch = append(batch, call); len(batch) < together {
				return
			}
			_, err := pool.Redis().TxPipelined(context.Background(), func(tx redis.Pipeliner) error {
				for _, call := range batch {
					tx.Incr(ctx, "sum")
					if inbox, frame := call.Pack(storage.Text, []byte("done")); inbox != "" {
						tx.XAdd(ctx, &redis.XAddArgs{Stream: inbox, NoMkStream: true, Values: []any{redisio.StreamField, frame}})
					}
				}
				return nil
			})
			require.NoError(t, err)
			for _, call := range batch {
				call.Packed()
			}
			batch = nil
		})
		require.NoError(t, err)
		w := hidden.(*bus.Worker)
		stop, err := bus.Start(t.Context(), w)
		require.NoError(t, err)
		c := client(t, pool, bus.ClientConfig{})
		var wg sync.WaitGroup
		for range 10 * together {
			wg.Go(func() {
				s, err := bus.Call(t.Context(), c, bus.Group("kw.sum"), bus.NewMethod[string, string]("put").WithCodec(storage.Text), "")
				if err != nil || s != "done" {
					t.Error(s, err)
				}
			})
		}
		wg.Wait()
		_, err = bus.CallRaw(t.Context(), c, bus.Group("kw.sum"), "soon", bus.Body{})
		require.ErrorIs(t, err, bus.CodeFailed)
		_, err = bus.CallRaw(t.Context(), c, bus.Group("kw.sum"), "panic", bus.Body{})
		require.ErrorIs(t, err, bus.CodePanic)
		n, err := pool.Redis().Get(t.Context(), "sum").Int()
		require.NoError(t, err)
		require.Equal(t, 10*together, n)
		require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond)

		workers, err := c.Workers(t.Context(), "")
		require.NoError(t, err)
		require.Empty(t, workers, "it is hidden")
		workers, err = c.Workers(t.Context(), "kw.sum")
		require.NoError(t, err)
		require.Len(t, workers, 1)
		require.NoError(t, stop())
	})
}
