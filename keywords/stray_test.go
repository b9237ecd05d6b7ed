package keywords_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A key that another program has replaced by another type is replaced: the next value
// replaces it, and no other keyword suffers.
func TestKeysOfAnotherType(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		logged := keywords.Define("stage", "LOGGED", keywords.Spec[int]{History: 3, Persist: true})
		cfg := keywords.DispatcherConfig{Lease: time.Second}
		serve := func(d *keywords.Dispatcher) {
			keywords.Serve(d, logged, keywords.Hooks[int]{})
			serveAll(d)
		}
		d := run(t, pool, cfg, serve).wait()
		k := client(t, pool)
		_, err := keywords.Modify(soon(t), k, logged, 1)
		require.NoError(t, err)
		spoil := func(parts ...string) {
			key, err := pool.Key(append([]string{"kw", redisio.HashTag("stage")}, parts...)...)
			require.NoError(t, err)
			require.NoError(t, pool.Redis().Set(t.Context(), key, "x", 0).Err())
		}
		spoil("v", "LOGGED")
		_, err = keywords.Read(soon(t), k, logged)
		require.ErrorAs(t, err, new(*storage.WrongTypeError))
		_, err = keywords.Modify(soon(t), k, Speed, 3)
		require.NoError(t, err, "another")
		spoil("log", "LOGGED")
		_, err = keywords.Modify(soon(t), k, logged, 2)
		require.NoError(t, err)
		v, err := keywords.Read(soon(t), k, logged)
		require.NoError(t, err)
		require.Equal(t, 2, v.V)
		past, err := keywords.History(soon(t), k, "stage", "LOGGED", 3)
		require.NoError(t, err)
		require.Len(t, past, 1)

		epoch := v.Rev.Epoch
		spoil("meta", "main")
		rev, err := keywords.Modify(soon(t), k, logged, 4)
		require.NoError(t, err)
		require.NotEqual(t, epoch, rev.Epoch)

		d.stop()
		require.NoError(t, <-d.ended)
		spoil("v", "LOGGED")
		spoil("meta", "main")
		run(t, pool, cfg, serve).wait()
		_, err = keywords.Read(soon(t), k, logged)
		require.ErrorIs(t, err, keywords.ErrNoValue)
	})
}

// A value that an earlier version of the program stored is not valid any more.
func TestAPersistentValueThatNoLongerFits(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		of := func(limit int) keywords.Keyword[int] {
			return keywords.Define("stage", "LIMITED", keywords.Spec[int]{Persist: true, Max: &limit})
		}
		begin := func(kw keywords.Keyword[int]) *running {
			return run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, func(d *keywords.Dispatcher) { keywords.Serve(d, kw, keywords.Hooks[int]{}) }).wait()
		}
		k, wide, narrow := client(t, pool), of(100), of(10)
		d := begin(wide)
		_, err := keywords.Modify(soon(t), k, wide, 15)
		require.NoError(t, err)
		d.stop()
		require.NoError(t, <-d.ended)
		begin(narrow)
		_, err = keywords.Read(soon(t), k, narrow)
		require.ErrorIs(t, err, keywords.ErrNoValue)
	})
}
