package bus_test

import (
	"context"
	"errors"
	"runtime"
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

// A handler may panic, or end its goroutine, after it has answered a call or while
// another goroutine is to answer it. The call has one answer, and the worker goes on.
func TestDeferredCallsAreAnsweredOnce(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		late := make(chan busio.Call, 1)
		hidden, err := busio.NewWorker(pool, bus.WorkerConfig{Type: "kw.once", Serial: true}, func(ctx context.Context, call busio.Call) {
			switch call.Method() {
			case "answered":
				call.Answer(storage.Text, []byte("done"), nil)
			case "packed":
				inbox, frame := call.Pack(storage.Text, []byte("done"))
				pool.Redis().XAdd(ctx, &redis.XAddArgs{Stream: inbox, NoMkStream: true, Values: []any{redisio.StreamField, frame}})
				call.Packed()
			case "exited":
				call.Answer(storage.Text, []byte("done"), nil)
				runtime.Goexit()
			case "given":
				late <- call
			case "twice":
				call.Answer(storage.Text, []byte("done"), nil)
				call.Answer(storage.Text, []byte("again"), nil)
				call.Packed()
				return
			}
			panic("after the answer")
		})
		require.NoError(t, err)
		w := hidden.(*bus.Worker)
		stop, err := bus.Start(t.Context(), w)
		require.NoError(t, err)
		c := client(t, pool, bus.ClientConfig{})
		for _, method := range []string{"answered", "packed", "exited", "twice"} {
			body, err := bus.CallRaw(t.Context(), c, bus.Group("kw.once"), method, bus.Body{})
			require.NoError(t, err, method)
			require.Equal(t, "done", string(body.Data), method)
		}
		_, err = bus.CallRaw(t.Context(), c, bus.Group("kw.once"), "given", bus.Body{})
		require.ErrorIs(t, err, bus.CodePanic)
		call := <-late
		inbox, _ := call.Pack(storage.Text, []byte("late"))
		require.Empty(t, inbox, "no answer is wanted any more")
		call.Answer(storage.Text, []byte("late"), nil)
		call.Packed()
		require.NoError(t, stop())
		stats := w.Stats()
		require.EqualValues(t, 5, stats.Calls)
		require.Zero(t, stats.Held)
	})
}
