package keywords_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var cached = keywords.ReadOptions{Cached: true}

func TestReadCached(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, other := client(t, pool), client(t, pool)
		for name, err := range map[string]error{"COUNT": keywords.ErrNoValue, "COLOR": keywords.CodeUnknownKeyword} {
			_, got := keywords.ReadText(soon(t), k, "stage", name, cached)
			require.ErrorIs(t, got, err)
			_, plain := keywords.ReadText(soon(t), k, "stage", name)
			require.EqualError(t, got, plain.Error(), "as without Cached")
		}
		_, err := keywords.ReadText(soon(t), k, "dome", "AZ", cached)
		require.ErrorIs(t, err, keywords.CodeUnknownService)
		_, err = keywords.Read(soon(t), k, keywords.Define("stage", "SPEED", keywords.Spec[string]{}), cached)
		require.ErrorIs(t, err, keywords.CodeKind)
		_, err = keywords.Read(soon(t), k, Speed, keywords.ReadOptions{Cached: true, Refresh: true})
		require.EqualError(t, err, "keywords: ReadOptions.Cached, Refresh: they exclude each other")

		v, err := keywords.Read(soon(t), k, Speed, cached)
		require.NoError(t, err)
		require.Equal(t, 1.0, v.V)
		rev, err := keywords.Modify(soon(t), other, Speed, 2)
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond)
		begun, reads := time.Now(), k.Stats().Reads
		for range 1000 {
			v, err = keywords.Read(t.Context(), k, Speed, cached)
			require.NoError(t, err)
			require.Equal(t, rev, v.Rev)
		}
		text, err := keywords.ReadText(t.Context(), k, "stage", "SPEED", cached)
		require.NoError(t, err)
		require.Equal(t, "2", text.V)
		require.Zero(t, time.Since(begun), "virtual time: no round trip")
		require.Equal(t, reads, k.Stats().Reads)
		require.Zero(t, k.Stats().Conflated)

		d.stop()
		require.NoError(t, <-d.ended)
		time.Sleep(10 * time.Millisecond)
		v, err = keywords.Read(t.Context(), k, Speed, cached)
		require.NoError(t, err)
		require.Equal(t, 2.0, v.V)
		require.Equal(t, keywords.QualityStale, v.Quality)

		// What is not read is followed no more, and begins again.
		require.Equal(t, 2, k.Stats().Cached)
		time.Sleep(2 * time.Minute)
		require.Zero(t, k.Stats().Cached)
		require.Zero(t, k.Stats().Services)
		_, err = keywords.Read(soon(t), k, Speed, cached)
		require.NoError(t, err)
		require.Equal(t, 1, k.Stats().Services)
		require.NoError(t, k.Close())
		_, err = keywords.Read(soon(t), k, Speed, cached)
		require.ErrorIs(t, err, keywords.ErrClosed)
	})
}

func TestReadCachedWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		run(t, storagetest.Open(t, network.Config()), keywords.DispatcherConfig{}, nil).wait()
		k := client(t, wire.pool(t))
		wire.pull()
		var wg sync.WaitGroup
		for i := range 4 { // those with more time get the value
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+20*i)*time.Second)
				defer cancel()
				v, err := keywords.Read(ctx, k, Speed, cached)
				if i == 0 {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				} else {
					require.NoError(t, err)
					require.Equal(t, 1.0, v.V)
				}
			})
		}
		time.Sleep(10 * time.Second)
		wire.plug()
		wg.Wait()
		wire.pull()
		time.Sleep(10 * time.Second)
		v, err := keywords.Read(t.Context(), k, Speed, cached)
		require.NoError(t, err)
		require.Equal(t, 1.0, v.V)
		require.Equal(t, keywords.QualityDisconnected, v.Quality)
		wire.plug()
	})
}

func TestMaxCached(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, err := keywords.NewClient(pool, keywords.ClientConfig{MaxCached: 1})
		require.NoError(t, err)
		defer k.Close()
		for range 2 {
			_, err = keywords.Read(soon(t), k, Speed, cached)
			require.NoError(t, err)
			_, err = keywords.Modify(soon(t), k, ModeOf, Track)
			require.NoError(t, err)
			v, err := keywords.Read(soon(t), k, ModeOf, cached)
			require.NoError(t, err)
			require.Equal(t, Track, v.V)
			require.Equal(t, 1, k.Stats().Cached)
		}
		_, err = keywords.NewClient(pool, keywords.ClientConfig{MaxCached: -1})
		require.EqualError(t, err, "keywords: ClientConfig.MaxCached: -1 is negative")
	})
}
