package bus_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
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

func TestWorkersOfTheRegistry(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		before := time.Now()
		a, b := start(t, pool, bus.WorkerConfig{Type: "a"}), start(t, pool, bus.WorkerConfig{Type: "b"})
		a2 := start(t, pool, bus.WorkerConfig{Type: "a"})
		start(t, pool, bus.WorkerConfig{Type: "a", Site: "elsewhere"})
		c := client(t, pool, bus.ClientConfig{})
		all, err := c.Workers(ctx, "")
		require.NoError(t, err)
		require.Len(t, all, 3)
		host, err := os.Hostname()
		require.NoError(t, err)
		for _, w := range all {
			require.Equal(t, bus.DefaultSite, w.Site)
			require.Equal(t, os.Getpid(), w.PID)
			require.Equal(t, strings.ReplaceAll(host, ":", "-"), w.Host)
			require.WithinDuration(t, before, w.Started, time.Minute)
			parts := strings.Split(w.ID, ":")
			require.Len(t, parts, 4)
			require.Equal(t, []string{w.Type, w.Host, strconv.Itoa(w.PID)}, parts[:3])
		}
		ofA, err := c.Workers(ctx, "a")
		require.NoError(t, err)
		require.Len(t, ofA, 2)
		require.ElementsMatch(t, []string{a.ID(), a2.ID()}, []string{ofA[0].ID, ofA[1].ID})
		require.NoError(t, b.end())
		ofB, err := c.Workers(ctx, "b")
		require.NoError(t, err)
		require.Empty(t, ofB)
	})
}

// A worker whose entry can't be read is listed with what its id says, and called like
// the others.
func TestAnEntryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		a, b := start(t, pool, bus.WorkerConfig{}), start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		for _, info := range []string{`{"id":`, `{}`} {
			require.NoError(t, pool.Redis().Set(ctx, "bus:{local:calc}:info:"+a.ID(), info, time.Minute).Err())
			workers, err := c.Workers(ctx, "calc")
			require.NoError(t, err)
			require.Len(t, workers, 2)
			for _, w := range workers {
				require.Equal(t, os.Getpid(), w.PID)
				require.Equal(t, "calc", w.Type)
				require.Equal(t, w.ID != a.ID(), w.Started.Year() > 1)
			}
			require.NoError(t, pool.Redis().Set(ctx, "bus:{local:calc}:info:"+a.ID(), info, time.Minute).Err())
			require.ElementsMatch(t, []string{a.ID(), b.ID()}, answers(t, c, bus.Broadcast("calc")))
		}
	})
}

// All keys of a killed worker or client go away by themselves.
func TestEveryKeyHasATimeToLive(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		g := newGate()
		hold := bus.NewMethod[int, int]("hold")
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, i int) (int, error) { return i, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		for range 3 {
			require.NoError(t, bus.Send(ctx, c, bus.Group("calc"), hold, 1))
			require.NoError(t, bus.Send(ctx, c, bus.Direct(w.ID()), hold, 1))
		}
		<-g.entered
		ctxShort, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err := bus.Call(ctxShort, c, bus.Group("calc"), hold, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		keys := keysOf(t, pool)
		require.GreaterOrEqual(t, len(keys), 6, "%v", keys)
		for _, key := range keys {
			require.Eventually(t, func() bool { return pool.Redis().PTTL(ctx, key).Val() > 0 }, patience, time.Millisecond, key)
			require.LessOrEqual(t, pool.Redis().PTTL(ctx, key).Val(), time.Minute, key)
		}
		close(g.open)
	})
}

// The queue has its time to live from its client, also if its first calls came at
// once.
func TestAQueueThatBeginsWithABatchHasATimeToLive(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	ctx := t.Context()
	g := newGate()
	start(t, pool, bus.WorkerConfig{Concurrency: 1, Lease: time.Hour}, func(w *bus.Worker) { // which it renews in 20 s
		bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
	})
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	require.NoError(t, bus.Send(ctx, c, bus.Group("calc"), Hang, struct{}{}))
	<-g.entered
	time.Sleep(200 * time.Millisecond) // it has been given a time to live
	srv.Pause()
	batched := storagetest.Open(t, srv.Config())
	many := client(t, batched, bus.ClientConfig{})
	redisio.Of(batched).Writer().Do(ctx, func(int64, error) {}, "del", "x") // the others wait behind it
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := bus.Send(ctx, many, bus.Group("calc"), Hang, struct{}{}); err != nil {
				t.Error(err)
			}
		})
	}
	srv.Resume()
	wg.Wait()
	const queue = "bus:{local:calc}:queue"
	require.EqualValues(t, 200, pool.Redis().LLen(ctx, queue).Val())
	require.Eventually(t, func() bool { return pool.Redis().PTTL(ctx, queue).Val() > 0 }, 2*time.Second, time.Millisecond)
	close(g.open)
}

// Types whose workers were all killed do not stay in the registry for good.
func TestTypesWithoutWorkersAreForgotten(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		const types = "bus:{local}:types"
		for i := range 10 {
			require.NoError(t, pool.Redis().ZAdd(ctx, types, redis.Z{Score: 1, Member: fmt.Sprint("dead", i)}).Err())
		}
		start(t, pool, bus.WorkerConfig{})
		require.Equal(t, []string{"calc"}, pool.Redis().ZRange(ctx, types, 0, -1).Val())
	})
}
