package bus_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var Note = bus.NewMethod[struct{}, struct{}]("note")

// count starts workers and counts the notes that they get.
func count(t *testing.T, pool *storage.Pool, workers int) (notes *atomic.Int64) {
	notes = new(atomic.Int64)
	for range workers {
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Note, func(context.Context, struct{}) (struct{}, error) {
				notes.Add(1)
				return struct{}{}, nil
			})
		})
	}
	return notes
}

// Redis has lost its data, the registry included: Gather and Send wait until the
// workers have registered again.
func TestAnAudienceIsKnownAgainAfterRedisLostIt(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		notes := count(t, pool, 3)
		c := client(t, pool, bus.ClientConfig{})
		require.Len(t, answers(t, c, bus.Broadcast("calc")), 3)
		require.NoError(t, pool.Redis().FlushAll(t.Context()).Err())
		require.Len(t, answers(t, c, bus.Broadcast("calc")), 3)
		require.NoError(t, pool.Redis().FlushAll(t.Context()).Err())
		require.NoError(t, bus.Send(t.Context(), c, bus.Broadcast("calc"), Note, struct{}{}))
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 3, notes.Load())

		require.NoError(t, pool.Redis().FlushAll(t.Context()).Err())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n, err := gatherAll(bus.Gather(ctx, c, bus.Broadcast("calc"), Name, ""))
		require.Equal(t, 1, n)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "workers may not have registered again")
		require.Zero(t, len(answers(t, c, bus.Broadcast("absent"))))
	})
}

// Gather and Send wait for Redis as Call does, and say at the end why.
func TestAnAudienceWaitsForRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		notes := count(t, pool, 2)
		c := client(t, pool, bus.ClientConfig{})
		require.Len(t, answers(t, c, bus.Broadcast("calc")), 2)
		network.Down()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := gatherAll(bus.Gather(ctx, c, bus.Broadcast("calc"), Name, ""))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "connection refused")
		err = bus.Send(ctx, c, bus.Broadcast("calc"), Note, struct{}{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.AfterFunc(10*time.Second, network.Up)
		require.Len(t, answers(t, c, bus.Broadcast("calc")), 2)
		require.NoError(t, bus.Send(t.Context(), c, bus.Broadcast("calc"), Note, struct{}{}))
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, notes.Load())
	})
}

// A full Redis takes no leases: workers that live leave the registry. Callers are told
// that Redis is full, and not that there are no workers.
func TestAFullRedisHasNoAudience(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	count(t, pool, 2)
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	require.Len(t, answers(t, c, bus.Broadcast("calc")), 2)
	ctx := t.Context()
	require.NoError(t, pool.Redis().ConfigSet(ctx, "maxmemory", "1").Err())
	require.Eventually(t, func() bool { // the leases are over
		now := strconv.FormatInt(time.Now().UnixMilli(), 10)
		return pool.Redis().ZCount(ctx, "bus:{local:calc}:alive", now, "+inf").Val() == 0
	}, patience, 10*time.Millisecond)
	for name, use := range map[string]func(ctx context.Context) error{
		"gather": func(ctx context.Context) error {
			n, err := gatherAll(bus.Gather(ctx, c, bus.Broadcast("calc"), Name, ""))
			require.Equal(t, 1, n)
			return err
		},
		"send": func(ctx context.Context) error { return bus.Send(ctx, c, bus.Broadcast("calc"), Name, "") },
		"call": func(ctx context.Context) error {
			_, err := bus.Call(ctx, c, bus.Group("calc"), Name, "")
			return err
		},
	} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		err := use(short)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.ErrorContains(t, err, "OOM", name)
	}
	require.NoError(t, pool.Redis().ConfigSet(ctx, "maxmemory", "0").Err())
	require.Len(t, answers(t, c, bus.Broadcast("calc")), 2)
}
