package storage_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCacheInTheProcess(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool, ctx := storagetest.Open(t, srv.Config()), t.Context()
	c := newCache(t, pool, storage.CacheOptions{MaxLocal: 100})
	elsewhere := newCache(t, storagetest.Open(t, srv.Config()))
	load, _ := loads("one", nil)
	get := func() string {
		v, err := c.Get(ctx, "a", load)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "one", get())
	require.Eventually(t, func() bool { // once no news of the change is under way
		get()
		return c.Stats().LocalHits > 10
	}, 10*time.Second, time.Millisecond)
	require.Empty(t, c.Stats().NoLocal)
	require.Positive(t, c.Stats().LocalValues)
	require.Positive(t, c.Stats().LocalBytes)

	// Redis tells what others change.
	require.NoError(t, elsewhere.Put(ctx, "a", "two"))
	require.Eventually(t, func() bool { return get() == "two" }, 10*time.Second, time.Millisecond)
	_, err := elsewhere.Delete(ctx, "a")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return get() == "one" }, 10*time.Second, time.Millisecond)

	// What this process changes it sees at once.
	for i := range 500 {
		want := fmt.Sprint(i)
		require.NoError(t, c.Put(ctx, "a", want))
		require.Equal(t, want, get())
		require.Equal(t, want, get())
	}
	_, err = c.Delete(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "one", get())

	// What was kept when Redis went away is not believed when it is back.
	srv.Restart()
	require.NoError(t, elsewhere.Put(ctx, "a", "three"))
	require.Eventually(t, func() bool { return get() == "three" }, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
}

func TestCacheInTheProcessIsBounded(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c := newCache(t, pool, storage.CacheOptions{MaxLocal: 10})
	load, _ := loads("one", nil)
	for range 3 {
		for i := range 100 {
			_, err := c.Get(t.Context(), fmt.Sprint(i), load)
			require.NoError(t, err)
		}
	}
	require.Positive(t, c.Stats().LocalValues)
	require.LessOrEqual(t, c.Stats().LocalValues, 10)
}

// LocalTTL bounds what a value that Redis does not speak of may be late.
func TestCacheInTheProcessForgets(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c := newCache(t, pool, storage.CacheOptions{MaxLocal: 10, LocalTTL: time.Millisecond})
	require.NoError(t, c.Put(t.Context(), "a", "one"))
	asked := func() int64 {
		info, err := pool.Redis().InfoMap(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		var n int64
		_, err = fmt.Sscanf(info["Commandstats"]["cmdstat_get"], "calls=%d", &n)
		if err != nil {
			return 0
		}
		return n
	}
	before := asked()
	require.Eventually(t, func() bool {
		_, err := c.Get(t.Context(), "a", never)
		require.NoError(t, err)
		return asked() > before+5
	}, 10*time.Second, 2*time.Millisecond)
}

func TestCacheSaysWhyItIsNotInTheProcess(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--user", "tame", "on", "nopass", "~*", "+@all", "-client|tracking")
	why := func(pool *storage.Pool) string {
		t.Helper()
		c := newCache(t, pool, storage.CacheOptions{MaxLocal: 10})
		require.Empty(t, c.Stats().NoLocal, "not known yet")
		load, _ := loads("one", nil)
		for range 2 {
			v, err := c.Get(t.Context(), "a", load)
			require.NoError(t, err)
			require.Equal(t, "one", v)
		}
		return c.Stats().NoLocal
	}
	require.Contains(t, why(storagetest.New(t)), "ERR", "miniredis can't")
	require.Empty(t, why(storagetest.Open(t, srv.Config())))
	open := func(change func(o *redis.UniversalOptions)) *storage.Pool {
		cfg := srv.Config()
		change(&cfg.Redis)
		return storagetest.Open(t, cfg)
	}
	require.Equal(t, "database 2", why(open(func(o *redis.UniversalOptions) { o.DB = 2 })))
	require.Equal(t, "RESP2", why(open(func(o *redis.UniversalOptions) { o.Protocol = 2 })))
	require.Equal(t, "a provider of credentials", why(open(func(o *redis.UniversalOptions) {
		o.CredentialsProvider = func() (string, string) { return "default", "" }
	})))
	require.Equal(t, "CLIENT TRACKING was refused", why(open(func(o *redis.UniversalOptions) { o.Username, o.Password = "tame", "any" })))

	host := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer host.Close()
	pool, err := storage.New(host, storage.Config{})
	require.NoError(t, err)
	defer pool.Close()
	require.Empty(t, why(pool))

	failover := redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: []string{srv.Addr()}, MasterName: "m", MaxRetries: -1})
	defer failover.Close()
	hosted, err := storage.New(failover, storage.Config{})
	require.NoError(t, err)
	defer hosted.Close()
	require.Equal(t, "not a standalone server", why(hosted))
}

// Objects read from Redis, whatever the host's client has in its own cache.
func TestObjectsAreNotReadFromAClientsCache(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cfg := srv.Config()
	cfg.Redis.ClientSideCache = redis.NewLocalCache(redis.CacheConfig{})
	pool, other := storagetest.Open(t, cfg), storagetest.Open(t, srv.Config())
	mine, err := storage.NewValue[int](pool, "n")
	require.NoError(t, err)
	theirs, err := storage.NewValue[int](other, "n")
	require.NoError(t, err)
	for i := range 300 {
		require.NoError(t, theirs.Set(t.Context(), i))
		n, _, err := mine.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, i, n)
	}
}
