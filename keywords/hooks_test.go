package keywords_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// When Postwrite runs, its value can be read.
func TestPostwriteComesAfterTheCommit(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		k := client(t, pool)
		seen := make(chan float64, 2)
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Postwrite: func(ctx context.Context, v float64) error {
				read, err := keywords.Read(ctx, k, Speed)
				seen <- read.V - v
				return err
			}})
		}).wait()
		for v := range 20 {
			_, err := keywords.Modify(soon(t), k, Speed, float64(v))
			require.NoError(t, err)
			require.Zero(t, <-seen)
		}
	})
}

// A request that exceeds MaxStaged is refused before any hook runs.
func TestTooMuchAtOnceRunsNoHook(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	var wrote atomic.Int32
	run(t, pool, keywords.DispatcherConfig{MaxStaged: 2}, func(d *keywords.Dispatcher) {
		keywords.Serve(d, Note, keywords.Hooks[string]{})
		keywords.Serve(d, ModeOf, keywords.Hooks[Mode]{})
		keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(context.Context, float64) error { wrote.Add(1); return nil }})
	}).wait()
	k := client(t, pool)
	_, err := keywords.ModifyMany(soon(t), k, Speed.To(1), ModeOf.To(Track), Note.To("three"))
	require.ErrorIs(t, err, keywords.ErrQueueFull)
	require.Zero(t, wrote.Load())
	_, err = keywords.ModifyMany(soon(t), k, Speed.To(1), ModeOf.To(Track))
	require.NoError(t, err)
}

// No hook begins once Run ends, and Run waits for one that runs, by a schedule too.
func TestHooksEndWithRun(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	begun, let := make(chan struct{}, 10), make(chan struct{})
	var ended atomic.Bool
	hooks := keywords.Hooks[float64]{Read: func(context.Context) (float64, error) {
		begun <- struct{}{}
		<-let
		ended.Store(true)
		return 3, nil
	}}
	d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, Speed, hooks) }).wait()
	require.NoError(t, keywords.Schedule(d.Dispatcher, Speed, time.Now()))
	<-begun
	require.NoError(t, keywords.Schedule(d.Dispatcher, Speed, time.Now())) // waits for its turn
	d.stop()
	select {
	case <-d.ended:
		t.Fatal("Run has not waited")
	case <-time.After(50 * time.Millisecond):
	}
	close(let)
	require.NoError(t, <-d.ended)
	require.True(t, ended.Load())
	require.NoError(t, keywords.Schedule(d.Dispatcher, Speed, time.Now()))
	time.Sleep(20 * time.Millisecond)
	require.Empty(t, begun)
}

// A hook that ignores its context is left behind after Drain, whatever its schedule.
func TestRunLeavesHooksThatDoNotEnd(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	let := make(chan struct{})
	defer close(let)
	begun := make(chan struct{}, 1)
	d := run(t, pool, keywords.DispatcherConfig{Drain: 50 * time.Millisecond}, func(d *keywords.Dispatcher) {
		keywords.Serve(d, Speed, keywords.Hooks[float64]{Period: time.Millisecond, Read: func(context.Context) (float64, error) {
			begun <- struct{}{}
			<-let
			return 3, nil
		}})
	}).wait()
	<-begun
	d.stop()
	select {
	case err := <-d.ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Run waits for a hook")
	}
}

// The dispatcher takes none of its own writes for an external write, however often is refreshed.
func TestRefreshWhileOthersModify(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	for _, policy := range []keywords.ExternalWrites{keywords.ExternalIgnore, keywords.ExternalAccept, keywords.ExternalRevert} {
		var is atomic.Int64
		d := run(t, pool, keywords.DispatcherConfig{ExternalWrites: policy}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{
				Write: func(_ context.Context, v float64) error { is.Store(int64(v)); return nil },
				Read:  func(context.Context) (float64, error) { return float64(is.Load()), nil },
			})
		}).wait()
		ctx, cancel := context.WithCancel(t.Context())
		var refreshing sync.WaitGroup
		k := client(t, pool)
		for range 4 {
			refreshing.Go(func() {
				for ctx.Err() == nil {
					_, _ = keywords.Read(ctx, k, Speed, keywords.ReadOptions{Refresh: true})
				}
			})
		}
		for i := range 500 {
			rev, err := keywords.Modify(soon(t), k, Speed, float64(i%20))
			require.NoError(t, err)
			v, err := keywords.Read(soon(t), k, Speed)
			require.NoError(t, err)
			require.Equal(t, float64(i%20), v.V)
			require.Equal(t, rev, v.Rev)
		}
		cancel()
		refreshing.Wait()
		d.stop()
		require.NoError(t, <-d.ended)
	}
}

// Refresh returns what the Read hook returns, whatever another program has written.
func TestRefreshIsTrue(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		var policy keywords.ExternalWrites
		if strings.HasSuffix(t.Name(), "embedded") {
			policy = keywords.ExternalAccept // of what it is not told of: the other tells, and it may be accepted meanwhile
		}
		run(t, pool, keywords.DispatcherConfig{ExternalWrites: policy}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Read: func(context.Context) (float64, error) { return 5, nil }})
		}).wait()
		k := client(t, pool)
		key, err := pool.Key("kw", redisio.HashTag("stage"), "v", "SPEED")
		require.NoError(t, err)
		for _, spoil := range []func() error{
			func() error { return nil },
			func() error { return pool.Redis().HSet(t.Context(), key, "v", "9").Err() },
			func() error { return pool.Redis().Del(t.Context(), key).Err() },
			func() error { return pool.Redis().Set(t.Context(), key, "x", 0).Err() },
		} {
			require.NoError(t, spoil())
			v, err := keywords.Read(soon(t), k, Speed, keywords.ReadOptions{Refresh: true})
			require.NoError(t, err)
			require.Equal(t, 5.0, v.V)
		}
	})
}
