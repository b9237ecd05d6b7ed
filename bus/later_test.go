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
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Answers are gathered, and written in one transaction with what they tell of.
func TestCallsAreAnsweredLater(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const together = 4
		var batch []*bus.Pending
		w := start(t, pool, bus.WorkerConfig{Type: "kw.sum", Hidden: true, Serial: true}, func(w *bus.Worker) {
			bus.HandleLater(w, func(ctx context.Context, p *bus.Pending) {
				switch p.Method() {
				case "panic":
					panic("no")
				case "soon":
					p.Answer(bus.Body{}, errors.New("refused"))
					return
				}
				if batch = append(batch, p); len(batch) < together {
					return
				}
				_, err := pool.Redis().TxPipelined(context.Background(), func(tx redis.Pipeliner) error {
					for _, p := range batch {
						tx.Incr(ctx, "sum")
						if inbox, frame := p.Pack(bus.Body{Codec: storage.Text, Data: []byte("done")}, nil); inbox != "" {
							tx.XAdd(ctx, &redis.XAddArgs{Stream: inbox, NoMkStream: true, Values: []any{redisio.StreamField, frame}})
						}
					}
					return nil
				})
				require.NoError(t, err)
				for _, p := range batch {
					p.Packed()
				}
				batch = nil
			})
		})
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
		_, err := bus.CallRaw(t.Context(), c, bus.Group("kw.sum"), "soon", bus.Body{})
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
		require.NoError(t, w.end())
	})
}
