package keywords_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A value written by redis-cli reaches every watcher, or is reverted.
func TestExternalWrites(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	ctx, rdb := t.Context(), pool.Redis()
	require.NoError(t, rdb.ConfigSet(ctx, "notify-keyspace-events", "El").Err())
	k := client(t, pool)
	key := "kw:{stage}:v:SPEED"
	becomes := func(want string) {
		t.Helper()
		require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.SPEED == "+want))
		require.Eventually(t, func() bool { return rdb.HGet(ctx, key, "v").Val() == want }, patience, 1e6)
	}
	for _, policy := range []keywords.ExternalWrites{keywords.ExternalAccept, keywords.ExternalRevert} {
		d := run(t, pool, keywords.DispatcherConfig{ExternalWrites: policy}, nil).wait()
		require.NoError(t, d.Notifications())
		flags, err := rdb.ConfigGet(ctx, "notify-keyspace-events").Result()
		require.NoError(t, err)
		for _, flag := range "ElKhgxe$" {
			require.Contains(t, flags["notify-keyspace-events"], string(flag))
		}
		rev, err := keywords.Modify(ctx, k, Speed, 2)
		require.NoError(t, err)
		require.NoError(t, rdb.HSet(ctx, key, "v", "7").Err())
		if policy == keywords.ExternalAccept {
			becomes("7")
			require.Eventually(t, func() bool {
				v, err := keywords.Read(ctx, k, Speed)
				return err == nil && v.Rev.N > rev.N && v.Source == "redis"
			}, patience, 1e6)
			require.NoError(t, rdb.HSet(ctx, key, "v", "far too fast").Err())
			becomes("7")
		} else {
			becomes("2")
		}
		_, err = keywords.Modify(ctx, k, Speed, 3)
		require.NoError(t, err)
		require.NoError(t, rdb.Del(ctx, key).Err())
		becomes("3")
		require.NoError(t, rdb.Set(ctx, key, "9", 0).Err())
		becomes("3")
		require.NoError(t, rdb.PExpire(ctx, key, 1e6).Err())
		require.Eventually(t, func() bool { return rdb.PTTL(ctx, key).Val() == -1 }, patience, 1e6)
		becomes("3")
		for i := range 100 { // its own writes are not taken for others'
			_, err = keywords.Modify(ctx, k, Speed, float64(i%20))
			require.NoError(t, err)
		}
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 19.0, v.V)
		d.stop()
		require.NoError(t, <-d.ended)
	}
	// Without a dispatcher watchers see it all the same.
	require.NoError(t, rdb.HSet(ctx, key, "v", "11").Err())
	require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.SPEED == 11"))
}

func TestNotificationsUnavailable(t *testing.T) {
	t.Parallel()
	for name, pool := range map[string]func() *storage.Pool{
		"embedded": func() *storage.Pool { return storagetest.New(t) },
		"denied": func() *storage.Pool {
			return storagetest.Open(t, storagetest.Start(t, "--rename-command", "CONFIG", "").Config())
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := pool()
			d := run(t, p, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
			require.ErrorIs(t, d.Notifications(), keywords.ErrNotificationsUnavailable)
			require.ErrorContains(t, d.Notifications(), "CONFIG SET notify-keyspace-events")
			_, err := keywords.Modify(t.Context(), client(t, p), Speed, 2)
			require.NoError(t, err)
			require.NoError(t, func() error { d.stop(); return <-d.ended }())
		})
	}
}

func TestHistoryKeepsTheLastValues(t *testing.T) {
	t.Parallel()
	past := keywords.Define("stage", "PAST", keywords.Spec[int]{History: 3})
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, past, keywords.Hooks[int]{}) }).wait()
		k := client(t, pool)
		for i := range 10 {
			_, err := keywords.ModifyAsync(t.Context(), k, past, i).Wait(t.Context())
			require.NoError(t, err)
		}
		values, err := keywords.History(t.Context(), k, "stage", "PAST", 10)
		require.NoError(t, err)
		require.Len(t, values, 3)
		for i, want := range []string{"9", "8", "7"} {
			require.Equal(t, want, values[i].V)
			require.False(t, values[i].Time.IsZero())
		}
		require.Greater(t, values[0].Rev.N, values[1].Rev.N)
	})
}

func TestKeywordsThatDoNotBroadcastArePolled(t *testing.T) {
	t.Parallel()
	quiet := keywords.Define("stage", "QUIET", keywords.Spec[int]{NoBroadcast: true})
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, quiet, keywords.Hooks[int]{}) }).wait()
		k := client(t, pool)
		_, err := keywords.Modify(t.Context(), k, quiet, 1)
		require.NoError(t, err)
		for ev, err := range keywords.Watch(t.Context(), k, quiet) {
			require.NoError(t, err)
			if ev.Value.V == 2 {
				break
			}
			_, err = keywords.Modify(t.Context(), k, quiet, 2)
			require.NoError(t, err)
		}
	})
}

// Keywords are polled at their Period, not once a second.
func TestThePeriodOfPolling(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		quiet := keywords.Define("stage", "QUIET", keywords.Spec[int]{NoBroadcast: true, Period: 5 * time.Millisecond})
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, quiet, keywords.Hooks[int]{}) }).wait()
		require.NoError(t, keywords.Set(t.Context(), d.Dispatcher, quiet, 0))
		seen := 0
		for ev, err := range keywords.Watch(soon(t), client(t, pool), quiet) {
			require.NoError(t, err)
			seen++
			if seen == 100 { // a minute and a half, at one a second
				return
			}
			require.NoError(t, keywords.Set(t.Context(), d.Dispatcher, quiet, ev.Value.V+1))
		}
	})
}

// A keyword that no client may set is not set by a write into Redis either.
func TestAnExternalWriteToAReadOnlyKeywordIsReverted(t *testing.T) {
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	d := run(t, pool, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
	require.NoError(t, d.Notifications())
	ctx := t.Context()
	require.NoError(t, keywords.Set(ctx, d.Dispatcher, Count, 7))
	const key = "kw:{stage}:v:COUNT"
	require.NoError(t, pool.Redis().HSet(ctx, key, "v", "8").Err())
	require.Eventually(t, func() bool { return pool.Redis().HGet(ctx, key, "v").Val() == "7" }, patience, time.Millisecond)
}
