package keywords_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A value that no longer exists is reported as gone, and WaitFor waits for the next.
func TestValuesThatAreGone(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		cfg := keywords.DispatcherConfig{Lease: time.Second}
		d := run(t, pool, cfg, nil).wait()
		k := client(t, pool)
		_, err := keywords.Modify(soon(t), k, ModeOf, Track) // which does not persist
		require.NoError(t, err)
		next, stop := iter.Pull2(keywords.Watch(soon(t), k, ModeOf))
		defer stop()
		event := func(kind keywords.EventKind) {
			t.Helper()
			for {
				ev, err, _ := next()
				require.NoError(t, err)
				require.Equal(t, Track, ev.Value.V)
				if ev.Kind != keywords.EventStale && ev.Kind != keywords.EventGood {
					require.Equal(t, kind.String(), ev.Kind.String())
					return
				}
			}
		}
		event(keywords.EventInitial)
		d.stop()
		require.NoError(t, <-d.ended)
		d = run(t, pool, cfg, nil).wait()
		event(keywords.EventGone)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = keywords.WaitFor(ctx, k, ModeOf, func(Mode) bool { return true })
		require.ErrorIs(t, err, context.DeadlineExceeded, "a value that can't be read")
		_, err = keywords.Modify(soon(t), k, ModeOf, Track)
		require.NoError(t, err)
		event(keywords.EventChange)

		d.stop() // the value is deleted while no dispatcher lives
		require.NoError(t, <-d.ended)
		key, err := pool.Key("kw", redisio.HashTag("stage"), "v", "MODE")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().Del(t.Context(), key).Err())
		event(keywords.EventGone)
	})
}

// If two dispatchers of the same keywords start together, one of them gets the lease.
func TestAKeywordHasOneDispatcher(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		for range 10 {
			var both [2]*running
			for i, name := range []string{"left", "right"} {
				twin := keywords.Define("stage", "CHANGED", keywords.Spec[int]{Dispatcher: name})
				both[i] = run(t, pool, keywords.DispatcherConfig{Name: name}, func(d *keywords.Dispatcher) { keywords.Serve(d, twin, keywords.Hooks[int]{}) })
			}
			ready := 0
			for _, d := range both {
				select {
				case <-d.Ready():
					ready++
				case err := <-d.ended:
					require.ErrorContains(t, err, "keywords: stage.CHANGED is served by the dispatcher")
				}
			}
			require.LessOrEqual(t, ready, 1)
			for _, d := range both {
				d.stop()
				<-d.ended
			}
		}
	})
}

// A definition written by an incompatible version is skipped, and stays as it is.
func TestADefinitionThatCannotBeRead(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
	key, err := pool.Key("kw", redisio.HashTag("stage"), "def")
	require.NoError(t, err)
	future := `{"version":1000,"dispatcher":"other"}`
	require.NoError(t, pool.Redis().HSet(t.Context(), key, "FUTURE", future, "RUBBISH", "{").Err())
	k := client(t, pool)
	defs, err := k.Keywords(soon(t), "stage")
	require.NoError(t, err)
	require.Len(t, defs, 4)
	_, err = k.Describe(soon(t), "stage", "FUTURE")
	require.ErrorContains(t, err, "FUTURE")
	newest(t, k).await(1)

	d.stop()
	require.NoError(t, <-d.ended)
	run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
	left, err := pool.Redis().HGet(t.Context(), key, "FUTURE").Result()
	require.NoError(t, err)
	require.Equal(t, future, left)
}

// A value that comes back is yielded, also within a dead band, and no listener is called
// with one that is gone.
func TestAValueThatComesBack(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
		k := client(t, pool)
		key, err := pool.Key("kw", redisio.HashTag("stage"), "v", "SPEED")
		require.NoError(t, err)
		heard := make(chan keywords.EventKind, 10)
		listen := func() {
			_, err := keywords.Listen(soon(t), k, Speed, func(ev keywords.Event[float64]) { heard <- ev.Kind })
			require.NoError(t, err)
		}
		listen()
		require.Equal(t, keywords.EventInitial, <-heard)
		next, stop := iter.Pull2(keywords.Watch(soon(t), k, Speed, keywords.WatchOptions{DeadBand: 3}))
		defer stop()
		until := func(kind keywords.EventKind) {
			t.Helper()
			for ev, err, _ := next(); ev.Kind != kind; ev, err, _ = next() {
				require.NoError(t, err)
			}
		}
		until(keywords.EventInitial)
		d.stop()
		require.NoError(t, <-d.ended)
		require.NoError(t, pool.Redis().Del(t.Context(), key).Err())
		until(keywords.EventGone)
		for kind := range heard {
			if kind == keywords.EventGone {
				break
			}
		}
		listen()
		d = run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
		for ev, err, _ := next(); ; ev, err, _ = next() {
			require.NoError(t, err)
			if ev.Kind != keywords.EventGone && ev.Value.Quality == keywords.QualityGood {
				require.Equal(t, 1.0, ev.Value.V)
				break
			}
		}
		require.NotEqual(t, keywords.EventInitial, <-heard)
		d.stop()
	})
}
