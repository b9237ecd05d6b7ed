package bus_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The ACL line of README.md allows all that workers and clients do under the pool's prefix, and nothing outside.
func TestACLOfWorkersAndClients(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, line, found := strings.Cut(string(page), "    ACL SETUSER ")
	require.True(t, found)
	line, _, _ = strings.Cut(line, "\n")
	words := []any{"acl", "setuser"}
	for _, word := range strings.Fields(line) {
		words = append(words, word)
	}
	require.NoError(t, admin.Redis().Do(t.Context(), words...).Err())
	cfg := srv.Config()
	cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = "obs", "app", "secret"
	pool := storagetest.Open(t, cfg)

	ctx, g := t.Context(), newGate()
	tail := bus.NewStream[int, int]("tail")
	var logger *slog.Logger
	w := start(t, pool, bus.WorkerConfig{Lease: 300 * time.Millisecond}, func(w *bus.Worker) {
		logger = slog.New(w.LogHandler(nil, slog.LevelInfo))
		bus.Handle(w, Limited, func(ctx context.Context, n int) (int, error) { return n, g.pass(ctx) }, bus.HandleOptions{MaxInFlight: 1, MaxWaiting: 1})
		bus.HandleStream(w, tail, func(_ context.Context, n int, send func(int) error) error {
			for i := range n {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		})
	})
	c := client(t, pool, bus.ClientConfig{Timeout: patience})
	sum, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{1, 2})
	require.NoError(t, err)
	require.Equal(t, 3, sum)
	require.NoError(t, bus.Send(ctx, c, bus.Broadcast(""), Add, AddArgs{}))
	replies := 0
	for rep, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), bus.Info, struct{}{}) {
		require.NoError(t, err)
		require.Equal(t, w.ID(), rep.Value.ID)
		replies++
	}
	require.Equal(t, 1, replies)
	items := 0
	for item, err := range bus.Stream(ctx, c, bus.Direct(w.ID()), tail, 500) {
		require.NoError(t, err)
		require.Equal(t, items, item)
		items++
	}
	require.Equal(t, 500, items)
	results := queueLimited(t, admin, c, bus.Group("calc"), 5)
	logger.Info("kept")
	require.Eventually(t, func() bool {
		records, err := c.Log(ctx, w.ID(), 1)
		require.NoError(t, err)
		return len(records) == 1
	}, patience, time.Millisecond)
	// The client looks for calls that wait for long, which takes more commands.
	time.AfterFunc(2500*time.Millisecond, func() { close(g.open) })
	for range 5 {
		require.NoError(t, <-results)
	}
	_, err = c.Queued(ctx, bus.Group("calc"))
	require.NoError(t, err)
	_, err = c.Peek(ctx, bus.Group("calc"), 1)
	require.NoError(t, err)
	_, err = c.Purge(ctx, bus.Group("calc"))
	require.NoError(t, err)
	require.NoError(t, c.Pause(ctx, "calc", time.Minute))
	require.NoError(t, c.Resume(ctx, "calc"))
	require.NoError(t, w.end())
	_, err = bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{})
	require.ErrorIs(t, err, bus.ErrNoWorkers)

	denied, err := admin.Redis().Do(ctx, "acl", "log").Slice()
	require.NoError(t, err)
	require.Empty(t, denied)
	cfg.Prefix = "other"
	other, err := bus.NewWorker(storagetest.Open(t, cfg), bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	require.ErrorContains(t, other.Run(ctx), "NOPERM")
}
