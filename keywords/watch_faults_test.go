package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// watched yields the events of a watch, one after another.
func watched[T any](t *testing.T, events iter.Seq2[keywords.Event[T], error]) (next func(kind keywords.EventKind) keywords.Event[T]) {
	pull, stop := iter.Pull2(events)
	t.Cleanup(stop)
	return func(kind keywords.EventKind) keywords.Event[T] {
		t.Helper()
		ev, err, ok := pull()
		require.True(t, ok)
		require.NoError(t, err)
		require.Equal(t, kind, ev.Kind, "%v", ev)
		return ev
	}
}

// A watcher that is cut off from Redis says so, and finds what has happened meanwhile.
func TestAWatcherThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ctx, k := t.Context(), client(t, wire.pool(t))
		next := watched(t, keywords.Watch(ctx, k, Speed))
		next(keywords.EventInitial)

		wire.pull()
		ev := next(keywords.EventDisconnected)
		require.Equal(t, keywords.QualityDisconnected, ev.Value.Quality)
		require.Equal(t, 1.0, ev.Value.V)
		wire.plug()
		require.Equal(t, keywords.QualityGood, next(keywords.EventGood).Value.Quality)

		wire.pull()
		next(keywords.EventDisconnected)
		_, err := keywords.Modify(ctx, client(t, pool), Speed, 2)
		require.NoError(t, err)
		wire.plug()
		require.Equal(t, 2.0, next(keywords.EventResync).Value.V)

		// The dispatcher ends while the watcher can't hear it.
		wire.pull()
		next(keywords.EventDisconnected)
		d.stop()
		require.NoError(t, <-d.ended)
		wire.plug()
		require.Equal(t, keywords.QualityStale, next(keywords.EventStale).Value.Quality)
	})
}

// A resync that finds the dispatcher dead tells, also where the cut was too short to be
// told itself.
func TestAResyncFindsTheDispatcherDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		next := watched(t, keywords.Watch(t.Context(), client(t, wire.pool(t)), Speed))
		next(keywords.EventInitial)
		wire.pull()
		d.stop()
		require.NoError(t, <-d.ended)
		wire.plug()
		next(keywords.EventStale)
	})
}

func TestAWatchBeginsWhileRedisIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		run(t, storagetest.Open(t, network.Config()), keywords.DispatcherConfig{}, nil).wait()
		k := client(t, wire.pool(t))
		wire.pull()
		time.AfterFunc(5*time.Minute, wire.plug)
		begun := time.Now()
		next := watched(t, keywords.Watch(t.Context(), k, Speed))
		next(keywords.EventInitial)
		require.GreaterOrEqual(t, time.Since(begun), 5*time.Minute, "virtual time")
	})
}

// A watcher that takes its events late has the value that it did not see as a change,
// whatever happened to its dispatcher since.
func TestAChangeStaysAChangeWhenItsDispatcherEnds(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ctx, k := t.Context(), client(t, pool)
		_, err := keywords.Modify(ctx, k, Note, "first")
		require.NoError(t, err)
		next := watched(t, keywords.Watch(ctx, k, Note))
		next(keywords.EventInitial)
		_, err = keywords.Modify(ctx, k, Note, "second")
		require.NoError(t, err)
		d.stop()
		require.NoError(t, <-d.ended)
		time.Sleep(time.Second)
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		time.Sleep(2 * time.Second)
		ev := next(keywords.EventChange)
		require.Equal(t, "second", ev.Value.V)
		require.Equal(t, keywords.QualityGood, ev.Value.Quality)
	})
}

// A program that was compiled with fewer enumerators than the dispatcher's goes on
// watching, and says which value it can't read.
func TestAWatchSurvivesAValueThatItCantRead(t *testing.T) {
	type small int32
	old := keywords.Define("stage", "MODE", keywords.Spec[small]{Enumerators: []string{"idle", "track"}})
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ctx, k := t.Context(), client(t, pool)
		_, err := keywords.Modify(ctx, k, ModeOf, Track)
		require.NoError(t, err)
		next := watched(t, keywords.Watch(ctx, k, old))
		next(keywords.EventInitial)
		_, err = keywords.Modify(ctx, k, ModeOf, Slew)
		require.NoError(t, err)
		ev := next(keywords.EventMismatch)
		require.ErrorIs(t, ev.Err, keywords.CodeEnumerator)
		require.ErrorContains(t, ev.Err, ": want one of idle, track", "the choices")
		require.Zero(t, ev.Value.V)
		require.NotZero(t, ev.Value.Rev)
		_, err = keywords.Modify(ctx, k, ModeOf, Idle)
		require.NoError(t, err)
		require.Equal(t, small(0), next(keywords.EventChange).Value.V)
	})
}

// Many large values fill the queue of a watcher's subscription: the watch reads again,
// and goes on.
func TestAWatchSurvivesMoreThanItsQueueHolds(t *testing.T) {
	large := keywords.Define("stage", "LARGE", keywords.Spec[string]{MaxLen: 512 << 10})
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, large, keywords.Hooks[string]{}) }).wait()
		ctx, k := t.Context(), client(t, pool)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, large, "small"))
		next := watched(t, keywords.Watch(ctx, k, large))
		next(keywords.EventInitial)
		for i := range 64 {
			go func() { _ = keywords.Set(ctx, d.Dispatcher, large, strings.Repeat(string(rune('a'+i%26)), 512<<10)) }()
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, large, "last"))
		time.Sleep(10 * time.Second)
		for range 3 {
			ev := next(keywords.EventChange)
			if ev.Value.V == "last" {
				return
			}
		}
		t.Fatal("the newest value was never told")
	})
}

func TestAListenerTellsItsEnd(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, err := keywords.NewClient(pool, keywords.ClientConfig{})
		require.NoError(t, err)
		listen := func() *keywords.Listener {
			l, err := keywords.Listen(t.Context(), k, Speed, func(keywords.Event[float64]) {})
			require.NoError(t, err)
			require.False(t, isClosed(l.Done()))
			require.NoError(t, l.Err())
			return l
		}
		one, other := listen(), listen()
		require.NoError(t, one.Close())
		<-one.Done()
		require.NoError(t, one.Err())
		require.NoError(t, k.Close())
		<-other.Done()
		require.ErrorIs(t, other.Err(), keywords.ErrClosed)
	})
}

// Batches are bounded in bytes: Redis closes a subscriber that is 32 MB behind. So is
// what waits while Redis is away.
func TestABatchIsBoundedInBytes(t *testing.T) {
	const size = 512 << 10
	large := make([]keywords.Keyword[string], 20) // more than one batch may hold
	for i := range large {
		large[i] = keywords.Define("stage", fmt.Sprintf("LARGE%d", i), keywords.Spec[string]{MaxLen: size})
	}
	text := strings.Repeat("x", size)
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		t.Cleanup(func() { network.Up(); time.Sleep(2 * time.Second) })
		d := run(t, pool, keywords.DispatcherConfig{MaxStagedBytes: 12 << 20}, func(d *keywords.Dispatcher) {
			for _, kw := range large {
				keywords.Serve(d, kw, keywords.Hooks[string]{})
			}
		}).wait()
		ctx := t.Context()
		sub := pool.Redis().Subscribe(ctx, "kw:stage:0:changes")
		_, err := sub.Receive(ctx)
		require.NoError(t, err)
		ended := make(chan error, len(large))
		for _, kw := range large {
			go func() { ended <- keywords.Set(ctx, d.Dispatcher, kw, text) }()
		}
		for seen := 0; seen < len(large); { // while they are written: the server waits for a subscriber
			m, err := sub.ReceiveMessage(ctx)
			require.NoError(t, err)
			require.Less(t, len(m.Payload), 6<<20)
			b, err := readBatch(m.Payload)
			require.NoError(t, err)
			seen += len(b.Changes)
		}
		for range large {
			require.NoError(t, <-ended)
		}
		require.NoError(t, sub.Close())

		network.Down()
		var full error
		for i := 0; full == nil && i < 100; i++ {
			soon, cancel := context.WithTimeout(ctx, time.Millisecond)
			if err := keywords.Set(soon, d.Dispatcher, large[i%len(large)], text); !errors.Is(err, context.DeadlineExceeded) {
				full = err
			}
			cancel()
		}
		require.ErrorIs(t, full, keywords.ErrQueueFull)
		require.ErrorContains(t, full, "MaxStagedBytes")
	})
}
