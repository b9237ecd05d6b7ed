package storage_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The ACL line of README.md allows every object everything.
func TestACLOfObjects(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	setUser(t, admin)
	cfg := srv.Config()
	cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = "obs", "app", "secret"
	pool := storagetest.Open(t, cfg)
	ctx := t.Context()
	require.NoError(t, pool.Health(ctx))
	ok := func(_ any, err error) { t.Helper(); require.NoError(t, err) }

	for _, ttl := range []time.Duration{0, time.Minute} {
		set, err := storage.NewSet[int](pool, "set", storage.ObjectOptions{TTL: ttl})
		require.NoError(t, err)
		ok(set.Add(ctx, 1, 2))
		ok(set.Contains(ctx, 1))
		ok(set.Len(ctx))
		ok(set.Get(ctx))
		for _, err := range set.All(ctx) {
			require.NoError(t, err)
		}
		ok(set.Remove(ctx, 1))
		ok(set.Clear(ctx))

		m, err := storage.NewMap[int](pool, "map", storage.ObjectOptions{TTL: ttl})
		require.NoError(t, err)
		require.NoError(t, m.Put(ctx, "a", 1))
		ok(m.PutIfAbsent(ctx, "b", 1))
		ok(m.CompareAndSwap(ctx, "a", 1, 2))
		_, _, err = m.Get(ctx, "a")
		require.NoError(t, err)
		ok(m.Len(ctx))
		for _, err := range m.All(ctx) {
			require.NoError(t, err)
		}
		ok(m.Delete(ctx, "a"))

		v, err := storage.NewValue[int](pool, "value", storage.ObjectOptions{TTL: ttl})
		require.NoError(t, err)
		require.NoError(t, v.Set(ctx, 1))
		_, _, err = v.Get(ctx)
		require.NoError(t, err)
		ok(v.Update(ctx, func(old int, _ bool) (int, error) { return old + 1, nil }))

		records, err := storage.NewLog(pool, "log", storage.LogOptions{TTL: ttl})
		require.NoError(t, err)
		require.NoError(t, records.Append(ctx, []byte("x")))
		ok(records.Last(ctx, 1))
		ok(records.Len(ctx))
	}
	cache, err := storage.NewCache[int](pool, "cache")
	require.NoError(t, err)
	load := func(context.Context) (int, error) { return 1, nil }
	ok(cache.Get(ctx, "k", load))
	ok(cache.Get(ctx, "k", load))
	require.NoError(t, cache.Put(ctx, "k", 2))
	ok(cache.Delete(ctx, "k"))
	require.Zero(t, cache.Stats().RedisErrors)

	presence, err := storage.NewPresence[string](pool, "presence")
	require.NoError(t, err)
	ok(presence.Add(ctx, "ada", "grace"))
	ok(presence.Contains(ctx, "ada"))
	ok(presence.Owners(ctx))
	for _, err := range presence.All(ctx) {
		require.NoError(t, err)
	}
	ok(presence.Remove(ctx, "ada"))
	require.NoError(t, presence.Close())

	other := srv.Config()
	other.Prefix, other.Redis.Username, other.Redis.Password = "other", "app", "secret"
	set, err := storage.NewSet[int](storagetest.Open(t, other), "set")
	require.NoError(t, err)
	_, err = set.Add(ctx, 1)
	require.ErrorContains(t, err, "NOPERM")
}

// setUser makes the user of the ACL line in README.md.
func setUser(t *testing.T, admin *storage.Pool) {
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(page)) {
		if line, ok := strings.CutPrefix(line, "    ACL SETUSER "); ok {
			words := []any{"acl", "setuser"}
			for _, word := range strings.Fields(line) {
				words = append(words, word)
			}
			require.NoError(t, admin.Redis().Do(t.Context(), words...).Err())
			return
		}
	}
	t.Fatal("README.md has no ACL line")
}
