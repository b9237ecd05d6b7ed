package keywords_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Another program has replaced a value by something else.
func TestReadManyReportsWhatReadDoes(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, ctx := client(t, pool), t.Context()
		key, err := pool.Key("kw", redisio.HashTag("stage"), "v", "SPEED")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().Set(ctx, key, "x", 0).Err())
		_, one := keywords.Read(ctx, k, Speed)
		_, many := keywords.ReadMany(ctx, k, "stage", "SPEED", "NOTE")
		for _, err := range []error{one, many} {
			var wrong *storage.WrongTypeError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, key, wrong.Key)
		}
		all, err := keywords.ReadMany(ctx, k, "stage", "NOTE")
		require.NoError(t, err)
		require.Empty(t, all, "it has no value")
	})
}

// An earlier definition kept a longer history.
func TestHistoryIsWhatTheDefinitionSays(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		k := client(t, pool)
		for _, keeps := range []int{3, 2, 0} {
			past := keywords.Define("stage", "PAST", keywords.Spec[int]{History: keeps, Persist: true})
			d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, past, keywords.Hooks[int]{}) }).wait()
			if keeps == 3 {
				for i := range keeps {
					_, err := keywords.Modify(t.Context(), k, past, i)
					require.NoError(t, err)
				}
			}
			values, err := keywords.History(t.Context(), k, "stage", "PAST", 10)
			require.NoError(t, err)
			require.Len(t, values, keeps)
			d.stop()
			require.NoError(t, <-d.ended)
		}
	})
}

// A keyword that this program has compiled as another kind is refused at its first use.
func TestAnotherKindIsRefused(t *testing.T) {
	wrong := keywords.Define("stage", "SPEED", keywords.Spec[string]{})
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, ctx := client(t, pool), soon(t)
		_, err := keywords.Read(ctx, k, wrong)
		require.ErrorIs(t, err, keywords.CodeKind)
		require.EqualError(t, err, "keywords: stage.SPEED: kind: its dispatcher defines it as double, this program as string")
		_, err = keywords.Modify(ctx, k, wrong, "7")
		require.ErrorIs(t, err, keywords.CodeKind)
		for _, err := range keywords.Watch(ctx, k, wrong) {
			require.ErrorIs(t, err, keywords.CodeKind)
		}
		_, err = keywords.Listen(ctx, k, wrong, func(keywords.Event[string]) {})
		require.ErrorIs(t, err, keywords.CodeKind)
	})
}
