package keywords_test

import (
	"iter"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A dispatcher that takes over a value which persists does not write it again:
// a watcher that was told that it is stale is told once that it is good again.
func TestStaleValuesBecomeGoodAgain(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := soon(t)
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		rev, err := keywords.Modify(ctx, k, Note, "all is well")
		require.NoError(t, err)
		type event = keywords.Event[string]
		next, stop := iter.Pull2(keywords.Watch(ctx, k, Note))
		defer stop()
		await := func(kind keywords.EventKind, quality keywords.Quality, text string) event {
			t.Helper()
			ev, err, _ := next()
			require.NoError(t, err)
			require.Equal(t, kind, ev.Kind)
			require.Equal(t, quality, ev.Value.Quality)
			require.Equal(t, text, ev.Value.V)
			return ev
		}
		await(keywords.EventInitial, keywords.QualityGood, "all is well")
		d.stop()
		await(keywords.EventStale, keywords.QualityStale, "all is well")

		late, stopLate := iter.Pull2(keywords.Watch(ctx, k, Note))
		defer stopLate()
		ev, err, _ := late()
		require.NoError(t, err)
		require.Equal(t, keywords.EventInitial, ev.Kind)
		require.Equal(t, keywords.QualityStale, ev.Value.Quality)

		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ev = await(keywords.EventGood, keywords.QualityGood, "all is well")
		require.Positive(t, ev.Value.Rev.Compare(rev), "the tenure is another")
		ev, err, _ = late()
		require.NoError(t, err)
		require.Equal(t, keywords.EventGood, ev.Kind)
		_, err = keywords.Modify(ctx, k, Note, "still")
		require.NoError(t, err)
		await(keywords.EventChange, keywords.QualityGood, "still")
	})
}

// A write-only keyword is refused if it is named, and left out of globs.
func TestWriteOnlyKeywords(t *testing.T) {
	t.Parallel()
	secret := keywords.Define("stage", "SECRET", keywords.Spec[string]{WriteOnly: true, Initial: new("x")})
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := soon(t)
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{})
			keywords.Serve(d, secret, keywords.Hooks[string]{})
		}).wait()
		k := client(t, pool)
		refused := map[string]error{}
		_, refused["Read"] = keywords.Read(ctx, k, secret)
		_, refused["ReadText"] = keywords.ReadText(ctx, k, "stage", "SECRET")
		_, refused["ReadMany"] = keywords.ReadMany(ctx, k, "stage", "SPEED", "SECRET")
		_, refused["WaitFor"] = keywords.WaitFor(ctx, k, secret, func(string) bool { return true })
		refused["WaitForExpr"] = keywords.WaitForExpr(ctx, k, "$stage.SECRET == x")
		_, refused["Listen"] = keywords.Listen(ctx, k, secret, func(keywords.Event[string]) {})
		for _, err := range keywords.Watch(ctx, k, secret) {
			refused["Watch"] = err
			break
		}
		for _, err := range keywords.WatchText(ctx, k, "stage", "SECRET") {
			refused["WatchText"] = err
			break
		}
		require.Len(t, refused, 8)
		for what, err := range refused {
			require.ErrorIs(t, err, keywords.CodeWriteOnly, what)
		}
		for ev, err := range keywords.WatchText(ctx, k, "stage", "S*") {
			require.NoError(t, err)
			require.Equal(t, "SPEED", ev.Keyword)
			if ev.Value.V == "2" {
				break
			}
			_, err = keywords.Modify(ctx, k, secret, "y")
			require.NoError(t, err)
			_, err = keywords.Modify(ctx, k, Speed, 2)
			require.NoError(t, err)
		}
	})
}

// A value at the edge of the dead band is within it, as in Spec.DeadBand.
func TestDeadBandOfAWatcher(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := soon(t)
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		var seen []float64
		for ev, err := range keywords.Watch(ctx, k, Speed, keywords.WatchOptions{DeadBand: 0.5}) {
			require.NoError(t, err)
			if seen = append(seen, ev.Value.V); len(seen) == 2 {
				break
			}
			for _, v := range []float64{1.5, 0.5, 1.5625} {
				_, err := keywords.Modify(ctx, k, Speed, v)
				require.NoError(t, err)
			}
		}
		require.Equal(t, []float64{1, 1.5625}, seen)
	})
}

// A client that may not read gets the ACL's error.
func TestAReaderThatTheACLDenies(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	require.NoError(t, pool.Redis().Do(t.Context(), "acl", "setuser", "guest", "on", ">secret", "~other:*", "+@all").Err())
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "guest", "secret"
	_, err := keywords.Read(soon(t), client(t, storagetest.Open(t, cfg)), Speed)
	require.ErrorContains(t, err, "NOPERM")
	require.True(t, redis.IsPermissionError(err))
}
