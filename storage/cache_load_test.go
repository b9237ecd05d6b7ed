package storage_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCacheLoadsOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		here, there := newCache(t, pool), newCache(t, storagetest.Open(t, pool.Config()))
		var n atomic.Int32
		gate := make(chan struct{})
		load := func(context.Context) (string, error) {
			n.Add(1)
			<-gate
			return "dear", nil
		}
		var callers sync.WaitGroup
		for i := range 40 {
			callers.Go(func() {
				c := here
				if i%2 == 0 {
					c = there
				}
				if v, err := c.Get(t.Context(), "a", load); err != nil || v != "dear" {
					panic(fmt.Sprint(v, err))
				}
			})
		}
		require.Eventually(t, func() bool {
			h, e := here.Stats(), there.Stats()
			return h.Joined == 19 && e.Joined == 19 && h.Loading == 1 && e.Loading == 1 && h.Loads+e.Loads == 1
		}, 10*time.Second, time.Millisecond)
		close(gate)
		callers.Wait()
		require.EqualValues(t, 1, n.Load())
		require.EqualValues(t, 1, here.Stats().Waited+there.Stats().Waited)
		require.Zero(t, here.Stats().Loading)
	})
}

// A process that dies under a load holds up the others until the lease ends.
func TestCacheTakesOverADeadLock(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool)
		require.NoError(t, pool.Redis().Set(t.Context(), lockOf("a"), "another", 300*time.Millisecond).Err())
		load, n := loads("one", nil)
		v, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		require.Equal(t, "one", v)
		require.EqualValues(t, 1, n.Load())
		require.Zero(t, c.Stats().Unlocked)
		require.EqualValues(t, 1, pool.Redis().Exists(t.Context(), "docs:{a}").Val())
	})
}

func TestCacheWaitsNoLongerThanALoadMayTake(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool, storage.CacheOptions{LoadTimeout: 50 * time.Millisecond})
		require.NoError(t, pool.Redis().Set(t.Context(), lockOf("a"), "another", time.Hour).Err())
		load, _ := loads("one", nil)
		v, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		require.Equal(t, "one", v)
		require.EqualValues(t, 1, c.Stats().Unlocked)
		require.Zero(t, pool.Redis().Exists(t.Context(), "docs:{a}").Val(), "kept by the holder of the lock only")
		require.Equal(t, "another", pool.Redis().Get(t.Context(), lockOf("a")).Val())

		_, err = c.Get(t.Context(), "b", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCachePanicPoisonsNothing(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool)
		gate, cause := make(chan struct{}), errors.New("kaboom")
		bad := func(context.Context) (string, error) {
			<-gate
			panic(cause)
		}
		panics := make(chan any, 3)
		for range 3 {
			go func() {
				defer func() { panics <- recover() }()
				_, _ = c.Get(t.Context(), "a", bad)
			}()
		}
		require.Eventually(t, func() bool { return c.Stats().Joined == 2 }, 10*time.Second, time.Millisecond)
		close(gate)
		for range 3 {
			err, ok := (<-panics).(error)
			require.True(t, ok)
			require.ErrorIs(t, err, cause)
			require.ErrorContains(t, err, "cache_load_test.go", "the stack of the load")
		}
		_, err := c.Get(t.Context(), "a", func(context.Context) (string, error) {
			runtime.Goexit()
			return "", nil
		})
		require.ErrorContains(t, err, "load ended its goroutine")
		require.Empty(t, pool.Redis().Keys(t.Context(), "*").Val(), "neither value nor lock")
		load, _ := loads("fine", nil)
		v, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		require.Equal(t, "fine", v)
	})
}

type ctxKey struct{}

func TestCacheLoadOutlivesACaller(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := newCache(t, pool)
	gate, ended := make(chan struct{}), make(chan error, 1)
	load := func(ctx context.Context) (string, error) {
		select {
		case <-gate:
			return ctx.Value(ctxKey{}).(string), nil
		case <-ctx.Done():
			ended <- ctx.Err()
			return "", ctx.Err()
		}
	}
	first, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "of the first"))
	begun := make(chan error, 1)
	go func() {
		_, err := c.Get(first, "a", load)
		begun <- err
	}()
	require.Eventually(t, func() bool { return c.Stats().Loads == 1 }, 10*time.Second, time.Millisecond)
	got := make(chan string, 1)
	go func() {
		v, err := c.Get(t.Context(), "a", never)
		if err != nil {
			panic(err)
		}
		got <- v
	}()
	require.Eventually(t, func() bool { return c.Stats().Joined == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-begun, context.Canceled)
	close(gate)
	require.Equal(t, "of the first", <-got)

	// When no caller waits any more, the load ends, and the next Get loads again.
	gate = make(chan struct{})
	alone, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Get(alone, "b", load)
		begun <- err
	}()
	require.Eventually(t, func() bool { return c.Stats().Loads == 2 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-begun, context.Canceled)
	require.ErrorIs(t, <-ended, context.Canceled)
	fresh, _ := loads("fresh", nil)
	v, err := c.Get(t.Context(), "b", fresh)
	require.NoError(t, err)
	require.Equal(t, "fresh", v)
}

// What was read before a change is not kept behind it.
func TestCacheChangeOvertakesALoad(t *testing.T) {
	t.Parallel()
	// A Get in this process may join the load that a Delete elsewhere overtakes: the
	// last of these is not asked for before that load ends.
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, elsewhere := newCache(t, pool), newCache(t, storagetest.Open(t, pool.Config()))
		for i, change := range []func(ctx context.Context, key string) error{
			func(ctx context.Context, key string) error { return c.Put(ctx, key, "new") },
			func(ctx context.Context, key string) error { return elsewhere.Put(ctx, key, "new") },
			func(ctx context.Context, key string) error { _, err := c.Delete(ctx, key); return err },
			func(ctx context.Context, key string) error { _, err := elsewhere.Delete(ctx, key); return err },
		} {
			key := fmt.Sprint("k", i)
			begun, gate, old := make(chan struct{}), make(chan struct{}), make(chan string, 1)
			go func() {
				v, err := c.Get(t.Context(), key, func(context.Context) (string, error) {
					close(begun)
					<-gate
					return "old", nil
				})
				if err != nil {
					panic(err)
				}
				old <- v
			}()
			<-begun
			require.NoError(t, change(t.Context(), key))
			load, n := loads("new", nil)
			if i < 3 { // seen at once, though a load is under way
				v, err := c.Get(t.Context(), key, load)
				require.NoError(t, err)
				require.Equal(t, "new", v)
			}
			close(gate)
			require.Equal(t, "old", <-old, "its load was under way before")
			require.EqualValues(t, i+1, c.Stats().Overtaken)
			v, err := c.Get(t.Context(), key, load)
			require.NoError(t, err)
			require.Equal(t, "new", v)
			require.LessOrEqual(t, n.Load(), int32(1))
		}
	})
}
