package bus_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestAFullQueueRefusesFurtherCalls(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[int, struct{}]("hold")
		var ran atomic.Int64
		start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, _ int) (struct{}, error) { ran.Add(1); return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{MaxQueue: 5})
		sent := 0
		var err error
		for ; err == nil && sent < 100; sent++ {
			err = bus.Send(t.Context(), c, bus.Group("calc"), hold, sent)
		}
		require.ErrorIs(t, err, bus.ErrQueueFull)
		require.ErrorContains(t, err, "more than ClientConfig.MaxQueue, 5 calls")
		accepted := sent - 1
		require.LessOrEqual(t, accepted, 7, "one runs, five wait, one saw the queue overflow")
		close(g.open)
		require.Eventually(t, func() bool { return ran.Load() == int64(accepted) }, patience, time.Millisecond, "all that were accepted")
		require.Eventually(t, func() bool {
			return bus.Send(t.Context(), c, bus.Group("calc"), hold, 0) == nil
		}, patience, 10*time.Millisecond, "after 100 ms it is tried again")
	})
}

func TestLimitsOfTheClient(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[[]byte, struct{}]("hold")
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, _ []byte) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{MaxPending: 3, MaxMessage: 100})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = bus.Call(t.Context(), c, bus.Group("calc"), hold, nil) })
		}
		for range 3 {
			<-g.entered
		}
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, nil)
		require.ErrorIs(t, err, bus.ErrQueueFull)
		require.ErrorContains(t, err, "ClientConfig.MaxPending is 3")
		close(g.open)
		wg.Wait()
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), hold, make([]byte, 99))
		require.ErrorIs(t, err, bus.ErrTooLarge)
		require.ErrorContains(t, err, "101 bytes, ClientConfig.MaxMessage is 100")
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), hold, make([]byte, 90))
		require.NoError(t, err)

		large := client(t, pool, bus.ClientConfig{MaxMessage: 3 << 20})
		_, err = bus.Call(t.Context(), large, bus.Group("calc"), hold, make([]byte, 2<<20))
		require.ErrorIs(t, err, bus.CodeBadArguments)
		require.ErrorContains(t, err, "WorkerConfig.MaxMessage is 1048576")
	})
}

func TestSendWantsNoReply(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		got := make(chan int, 10)
		note := bus.NewMethod[int, int]("note")
		w := start(t, pool, bus.WorkerConfig{Serial: true}, func(w *bus.Worker) {
			bus.Handle(w, note, func(_ context.Context, n int) (int, error) { got <- n; return n, nil })
		})
		c := client(t, pool, bus.ClientConfig{})
		for i := range 5 {
			require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), note, i))
		}
		for i := range 5 {
			require.Equal(t, i, <-got)
		}
		require.NoError(t, bus.Send(t.Context(), c, bus.Direct(w.ID()), note, 5))
		require.Equal(t, 5, <-got)
		require.NoError(t, c.Close())
		require.ErrorIs(t, bus.Send(t.Context(), c, bus.Group("calc"), note, 1), bus.ErrClosed)
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), note, 1)
		require.ErrorIs(t, err, bus.ErrClosed)
	})
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[struct{}, struct{}]("hold")
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		defer close(g.open)
		own := storagetest.Open(t, pool.Config())
		for _, closeIt := range []func(*bus.Client) error{(*bus.Client).Close, func(*bus.Client) error { return own.Close() }} {
			c := client(t, own, bus.ClientConfig{})
			ended := make(chan error, 1)
			go func() {
				_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, struct{}{})
				ended <- err
			}()
			<-g.entered
			require.NoError(t, closeIt(c))
			require.ErrorIs(t, <-ended, bus.ErrClosed)
			require.NoError(t, c.Close())
		}
	})
}

func TestSitesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		w := start(t, pool, bus.WorkerConfig{Site: "dev"})
		start(t, pool, bus.WorkerConfig{Type: "other"})
		dev, local := client(t, pool, bus.ClientConfig{Site: "dev"}), client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(ctx, dev, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		for _, to := range []bus.Address{bus.Group("calc"), bus.Direct(w.ID())} {
			_, err = bus.Call(ctx, local, to, Add, AddArgs{})
			require.ErrorIs(t, err, bus.ErrNoWorkers)
		}
		_, err = bus.Call(ctx, dev, bus.Group("other"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
	})
}

func TestANilPoolIsRefused(t *testing.T) {
	_, err := bus.NewClient(nil, bus.ClientConfig{})
	require.ErrorContains(t, err, "nil pool")
	_, err = bus.NewWorker(nil, bus.WorkerConfig{Type: "calc"})
	require.ErrorContains(t, err, "nil pool")
}

func TestQueuedCountsCallsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, ctx := client(t, pool, bus.ClientConfig{}), t.Context()
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{Type: "calc", Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		require.NoError(t, bus.Send(ctx, c, bus.Group("calc"), Hang, struct{}{}))
		<-g.entered // it holds one, and has no slot for others
		for range 3 {
			require.NoError(t, bus.Send(ctx, c, bus.Group("calc"), Hang, struct{}{}))
		}
		require.NoError(t, bus.Send(ctx, c, bus.Direct(w.ID()), Hang, struct{}{}))
		n, err := c.Queued(ctx, bus.Group("calc"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
		n, err = c.Queued(ctx, bus.Direct(w.ID()))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		close(g.open)
		require.Eventually(t, func() bool { n, err := c.Queued(ctx, bus.Group("calc")); return err == nil && n == 0 }, patience, time.Millisecond)
	})
	_, err := client(t, storagetest.New(t), bus.ClientConfig{}).Queued(t.Context(), bus.Group("a b"))
	require.ErrorContains(t, err, "type")
}

func TestBadNamesAreRefused(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, bus.ClientConfig{})
	for _, bad := range []string{"", "a b", "a:b", "*", "a?", "[a]", "{a}", "a\n", `a\`, "\x00", "\xff", strings.Repeat("x", 256)} {
		_, err := bus.NewWorker(pool, bus.WorkerConfig{Type: bad})
		require.ErrorContains(t, err, "WorkerConfig.Type", "%q", bad)
		if bad != "" {
			_, err = bus.NewWorker(pool, bus.WorkerConfig{Type: "t", Site: bad})
			require.ErrorContains(t, err, "WorkerConfig.Site", "%q", bad)
			_, err = bus.NewClient(pool, bus.ClientConfig{Site: bad})
			require.ErrorContains(t, err, "ClientConfig.Site", "%q", bad)
			_, err = c.Workers(t.Context(), bad)
			require.ErrorContains(t, err, "type", "%q", bad)
		}
		require.Panics(t, func() { bus.NewMethod[int, int](bad) }, "%q", bad)
		_, err = bus.CallRaw(t.Context(), c, bus.Group("calc"), bad, bus.Body{})
		require.ErrorContains(t, err, "method", "%q", bad)
		_, err = bus.Call(t.Context(), c, bus.Group(bad), Add, AddArgs{})
		require.Error(t, err, "%q", bad)
		require.NotErrorIs(t, err, bus.ErrNoWorkers, "%q", bad)
	}
	for _, bad := range []string{"", "calc", "a:b:c", "a:b:c:d:e", "a::c:d", "a:b:c:*", ":b:c:d"} {
		_, err := bus.Call(t.Context(), c, bus.Direct(bad), Add, AddArgs{})
		require.Error(t, err, "%q", bad)
		require.NotErrorIs(t, err, bus.ErrNoWorkers, "%q", bad)
	}
	_, err := bus.CallRaw(t.Context(), c, bus.Group("calc"), "add", bus.Body{Codec: 9})
	require.ErrorContains(t, err, "unknown codec(9)")
	require.Panics(t, func() { Add.WithCodec(9) })
	_, err = bus.NewWorker(pool, bus.WorkerConfig{Type: "kw.stage"})
	require.ErrorContains(t, err, "belong to package keywords")
	for want, cfg := range map[string]bus.WorkerConfig{
		"Concurrency: -1": {Concurrency: -1}, "Prefetch: -1": {Prefetch: -1}, "Lease: 1ms": {Lease: time.Millisecond}, "MaxMessage: -1": {MaxMessage: -1},
	} {
		cfg.Type = "t"
		_, err := bus.NewWorker(pool, cfg)
		require.ErrorContains(t, err, want)
	}
	for want, cfg := range map[string]bus.ClientConfig{"MaxQueue: -1": {MaxQueue: -1}, "MaxPending: -1": {MaxPending: -1}, "MaxMessage: -1": {MaxMessage: -1}} {
		_, err := bus.NewClient(pool, cfg)
		require.ErrorContains(t, err, want)
	}
}
