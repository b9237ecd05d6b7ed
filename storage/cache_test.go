package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func newCache(t *testing.T, pool *storage.Pool, opts ...storage.CacheOptions) *storage.Cache[string] {
	t.Helper()
	c, err := storage.NewCache[string](pool, "docs", opts...)
	require.NoError(t, err)
	return c
}

// loads returns a load function that gives v, and how often it was called.
func loads(v string, err error) (func(context.Context) (string, error), *atomic.Int32) {
	var n atomic.Int32
	return func(context.Context) (string, error) {
		n.Add(1)
		return v, err
	}, &n
}

func never(context.Context) (string, error) { panic("loaded, though it was there") }

// lockOf is the key of the lock of a cached value.
func lockOf(key string) string { return "docs:{" + key + "}:lock" }

func TestCache(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		c := newCache(t, pool)
		load, n := loads("one", nil)
		for range 3 {
			v, err := c.Get(ctx, "a", load)
			require.NoError(t, err)
			require.Equal(t, "one", v)
		}
		require.EqualValues(t, 1, n.Load())
		require.Zero(t, pool.Redis().Exists(ctx, lockOf("a")).Val(), "the lock is given back")
		require.NoError(t, c.Put(ctx, "a", "two"))
		v, err := c.Get(ctx, "a", never)
		require.NoError(t, err)
		require.Equal(t, "two", v)
		was, err := c.Delete(ctx, "a")
		require.NoError(t, err)
		require.True(t, was)
		was, err = c.Delete(ctx, "a")
		require.NoError(t, err)
		require.False(t, was)
		v, err = c.Get(ctx, "a", load)
		require.NoError(t, err)
		require.Equal(t, "one", v)
		s := c.Stats()
		require.Equal(t, storage.CacheStats{Hits: 3, Misses: 2, Loads: 2, NoLocal: "CacheOptions.MaxLocal is 0"}, s)
	})
}

func TestCacheKeepsThatThereIsNone(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		c := newCache(t, pool, storage.CacheOptions{NegativeTTL: time.Minute, Jitter: -1})
		load, n := loads("ignored", fmt.Errorf("no such row: %w", storage.ErrNotFound))
		for range 3 {
			v, err := c.Get(ctx, "a", load)
			require.ErrorIs(t, err, storage.ErrNotFound)
			require.Empty(t, v)
		}
		require.EqualValues(t, 1, n.Load())
		require.EqualValues(t, 2, c.Stats().Negative)
		require.InDelta(t, time.Minute, pool.Redis().PTTL(ctx, "docs:{a}").Val(), float64(30*time.Second))
		was, err := c.Delete(ctx, "a")
		require.NoError(t, err)
		require.True(t, was)
		load, _ = loads("here", nil)
		v, err := c.Get(ctx, "a", load)
		require.NoError(t, err)
		require.Equal(t, "here", v)

		c = newCache(t, pool, storage.CacheOptions{NegativeTTL: -1})
		load, n = loads("", storage.ErrNotFound)
		for range 3 {
			_, err := c.Get(ctx, "b", load)
			require.ErrorIs(t, err, storage.ErrNotFound)
		}
		require.EqualValues(t, 3, n.Load())
	})
}

func TestCacheKeepsNoError(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool)
		failed := errors.New("database is tired")
		load, n := loads("ignored", failed)
		for range 2 {
			v, err := c.Get(t.Context(), "a", load)
			require.Equal(t, failed, err)
			require.Empty(t, v)
		}
		require.EqualValues(t, 2, n.Load())
		require.Empty(t, pool.Redis().Keys(t.Context(), "*").Val(), "neither value nor lock")
		require.EqualValues(t, 2, c.Stats().LoadErrors)
	})
}

func TestCacheLoadsOverDamagedContent(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool, storage.CacheOptions{Codec: storage.JSON})
		for i, content := range []string{"", "x", "v", "v{", "nn"} {
			require.NoError(t, pool.Redis().Set(t.Context(), "docs:{a}", content, 0).Err())
			load, n := loads("one", nil)
			for range 2 {
				v, err := c.Get(t.Context(), "a", load)
				require.NoError(t, err)
				require.Equal(t, "one", v)
			}
			require.EqualValues(t, 1, n.Load())
			require.Positive(t, c.Stats().Damaged, i)
			require.Equal(t, `v"one"`, pool.Redis().Get(t.Context(), "docs:{a}").Val())
		}
	})
}

func TestCacheLimits(t *testing.T) {
	t.Parallel()
	pool, ctx := storagetest.New(t), t.Context()
	c := newCache(t, pool, storage.CacheOptions{MaxValue: 10, Codec: storage.Text, TTL: time.Hour, Jitter: 0.5})
	long, n := loads(strings.Repeat("x", 11), nil)
	for range 2 {
		v, err := c.Get(ctx, "a", long)
		require.NoError(t, err)
		require.Len(t, v, 11)
	}
	require.EqualValues(t, 2, n.Load())
	require.EqualValues(t, 2, c.Stats().TooLarge)
	require.Empty(t, pool.Redis().Keys(ctx, "*").Val())
	require.ErrorContains(t, c.Put(ctx, "a", strings.Repeat("x", 11)), "the value has 11 bytes, CacheOptions.MaxValue is 10")
	lives := map[time.Duration]bool{}
	for range 20 {
		require.NoError(t, c.Put(ctx, "a", strings.Repeat("x", 10)))
		ttl := pool.Redis().PTTL(ctx, "docs:{a}").Val()
		require.LessOrEqual(t, ttl, time.Hour)
		require.Greater(t, ttl, 29*time.Minute)
		lives[ttl] = true
	}
	require.Greater(t, len(lives), 10)
}

func TestCacheKeysAreAnyString(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool)
		keys := []string{"a", "a:b", "{a}", "a b", "*", "https://example.org/?q=1#x", "é", "\x00", strings.Repeat("k", 300), "#",
			"#ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
		for range 2 {
			for _, key := range keys {
				v, err := c.Get(t.Context(), key, func(context.Context) (string, error) { return key, nil })
				require.NoError(t, err, "%q", key)
				require.Equal(t, key, v)
			}
		}
		require.EqualValues(t, len(keys), c.Stats().Loads)
		_, err := c.Get(t.Context(), "", never)
		require.ErrorContains(t, err, "empty key")
		require.ErrorContains(t, c.Put(t.Context(), "", "x"), "empty key")
		_, err = c.Get(t.Context(), "a", nil)
		require.ErrorContains(t, err, "nil load")
	})
}

func TestCacheRefusesAKeyOfAnotherType(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := newCache(t, pool)
		require.NoError(t, pool.Redis().SAdd(t.Context(), "docs:{a}", "x").Err())
		_, err := c.Get(t.Context(), "a", never)
		var wrong *storage.WrongTypeError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, "docs:{a}", wrong.Key)
		require.ErrorAs(t, c.Put(t.Context(), "a", "x"), &wrong)
		_, err = c.Delete(t.Context(), "a")
		require.ErrorAs(t, err, &wrong)
	})
}

func TestCacheWithoutRedisLoads(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	c := newCache(t, storagetest.Open(t, srv.Config()))
	load, n := loads("one", nil)
	_, err := c.Get(t.Context(), "a", load)
	require.NoError(t, err)
	srv.Kill()
	for range 2 {
		v, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		require.Equal(t, "one", v)
	}
	require.EqualValues(t, 3, n.Load())
	require.EqualValues(t, 2, c.Stats().Unlocked)
	require.EqualValues(t, 2, c.Stats().RedisErrors)
	require.Error(t, c.Put(t.Context(), "a", "x"), "who changes must know")
	srv.Restart()
	require.Eventually(t, func() bool { // go-redis may not dial again for a second
		before := n.Load()
		_, err := c.Get(t.Context(), "a", load)
		require.NoError(t, err)
		return n.Load() == before
	}, patience, 10*time.Millisecond, "kept again")

	srv.Pause()
	defer srv.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = c.Get(ctx, "a", never)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestCacheInACluster(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	pool := storagetest.Open(t, storagetest.StartCluster(t).Config())
	c := newCache(t, pool, storage.CacheOptions{MaxLocal: 100})
	for i := range 20 {
		load, _ := loads("one", nil)
		key := fmt.Sprint(i)
		_, err := c.Get(t.Context(), key, load)
		require.NoError(t, err)
		_, err = c.Get(t.Context(), key, never)
		require.NoError(t, err)
		require.NoError(t, c.Put(t.Context(), key, "two"))
		was, err := c.Delete(t.Context(), key)
		require.NoError(t, err)
		require.True(t, was)
	}
	require.Equal(t, "not a standalone server", c.Stats().NoLocal)
	require.Zero(t, c.Stats().Unlocked)
}

func TestCacheEndsWithThePool(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := newCache(t, pool, storage.CacheOptions{MaxLocal: 10})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Get(t.Context(), "a", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		ended <- err
	}()
	require.Eventually(t, func() bool { return c.Stats().Loads == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, pool.Close())
	require.ErrorIs(t, <-ended, storage.ErrClosed)
	_, err := c.Get(t.Context(), "a", never)
	require.ErrorIs(t, err, storage.ErrClosed)
	require.ErrorIs(t, c.Put(t.Context(), "a", "x"), storage.ErrClosed)
	require.NoError(t, c.Close())
	_, err = storage.NewCache[int](pool, "x")
	require.ErrorIs(t, err, storage.ErrClosed)
}

func TestCacheBadInput(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for want, opts := range map[string]storage.CacheOptions{
		"CacheOptions.Codec: no codec(7)":           {Codec: 7},
		"CacheOptions.TTL: -1s is negative":         {TTL: -time.Second},
		"CacheOptions.LoadTimeout: -1s is negative": {LoadTimeout: -time.Second},
		"CacheOptions.LocalTTL: 1ns is less than":   {LocalTTL: 1},
		"CacheOptions.Jitter: 1 is not less than 1": {Jitter: 1},
		"CacheOptions.MaxValue: -1 is negative":     {MaxValue: -1},
		"CacheOptions.MaxLocal: -1 is negative":     {MaxLocal: -1},
		"CacheOptions.MaxLocalBytes: -1":            {MaxLocalBytes: -1},
	} {
		_, err := storage.NewCache[int](pool, "x", opts)
		require.ErrorContains(t, err, want)
	}
	_, err := storage.NewCache[int](pool, "")
	require.ErrorContains(t, err, "empty name")
	_, err = storage.NewCache[int](pool, "x", storage.CacheOptions{}, storage.CacheOptions{})
	require.ErrorContains(t, err, "at most one")
	require.Zero(t, pool.Stats().Owned)

	c, err := storage.NewCache[string](pool, "x", storage.CacheOptions{Codec: storage.Raw})
	require.NoError(t, err)
	load, _ := loads("no bytes", nil)
	_, err = c.Get(t.Context(), "a", load)
	require.ErrorContains(t, err, `cache "x": storage: encode string as raw`)
	require.ErrorContains(t, c.Put(t.Context(), "a", "x"), "encode string as raw")
	require.Empty(t, pool.Redis().Keys(t.Context(), "*").Val())
}
