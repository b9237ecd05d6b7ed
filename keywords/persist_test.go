package keywords_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// reads are the functions that read from Redis without a subscription.
func reads(k *keywords.Client) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Read":     func(ctx context.Context) error { _, err := keywords.Read(ctx, k, Speed); return err },
		"ReadText": func(ctx context.Context) error { _, err := keywords.ReadText(ctx, k, "stage", "SPEED"); return err },
		"ReadMany": func(ctx context.Context) error { _, err := keywords.ReadMany(ctx, k, "stage", "SPEED"); return err },
		"History": func(ctx context.Context) error {
			_, err := keywords.History(ctx, k, "stage", "SPEED", 1)
			return err
		},
		"Describe":    func(ctx context.Context) error { _, err := k.Describe(ctx, "stage", "SPEED"); return err },
		"Keywords":    func(ctx context.Context) error { _, err := k.Keywords(ctx, "stage"); return err },
		"Services":    func(ctx context.Context) error { _, err := k.Services(ctx); return err },
		"Dispatchers": func(ctx context.Context) error { _, err := k.Dispatchers(ctx, "stage"); return err },
	}
}

func TestReadsWaitForRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, storagetest.Open(t, network.Config()))
		for name, read := range reads(k) {
			network.Down()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			err := read(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.ErrorContains(t, err, "connection refused", name)
			ended := make(chan error)
			go func() { ended <- read(t.Context()) }()
			time.Sleep(10 * time.Second)
			network.Up()
			require.NoError(t, <-ended, name)
		}
		network.Down()
		ended := make(chan error)
		go func() { _, err := keywords.Read(t.Context(), k, Speed); ended <- err }()
		time.Sleep(time.Second)
		require.NoError(t, k.Close())
		require.ErrorIs(t, <-ended, keywords.ErrClosed)
	})
}

// A Redis whose memory is full still answers reads.
func TestReadsOfAFullRedis(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{Lease: time.Minute}, nil).wait()
	k := client(t, storagetest.Open(t, srv.Config()))
	require.NoError(t, pool.Redis().ConfigSet(t.Context(), "maxmemory", "1").Err())
	for name, read := range reads(k) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		require.NoError(t, read(ctx), name)
		cancel()
	}
	require.NoError(t, pool.Redis().ConfigSet(t.Context(), "maxmemory", "0").Err())
}

// The definitions of a service with more keywords than one command is about are
// written, read, taken back and cleared in pieces.
func TestAServiceOfManyKeywords(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		many := func(from, to int) func(d *keywords.Dispatcher) {
			return func(d *keywords.Dispatcher) {
				for i := from; i < to; i++ {
					keywords.Serve(d, keywords.Define("stage", fmt.Sprintf("K%d", i), keywords.Spec[int]{Initial: new(i)}), keywords.Hooks[int]{})
				}
			}
		}
		k := client(t, pool)
		d := run(t, pool, keywords.DispatcherConfig{}, many(0, 1000)).wait()
		defs, err := k.Keywords(t.Context(), "stage")
		require.NoError(t, err)
		require.Len(t, defs, 1000)
		v, err := keywords.ReadText(t.Context(), k, "stage", "K999")
		require.NoError(t, err)
		require.Equal(t, "999", v.V)
		require.ErrorIs(t, k.Clear(t.Context(), "stage"), keywords.ErrServed)
		d.stop()
		require.NoError(t, <-d.ended)

		d = run(t, pool, keywords.DispatcherConfig{}, many(700, 1300)).wait()
		defs, err = k.Keywords(t.Context(), "stage")
		require.NoError(t, err)
		require.Len(t, defs, 600)
		_, err = keywords.ReadText(t.Context(), k, "stage", "K699")
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
		d.stop()
		require.NoError(t, <-d.ended)
		require.NoError(t, k.Clear(t.Context(), "stage"))
		left, err := pool.Redis().Keys(t.Context(), "*kw:{stage}:*").Result()
		require.NoError(t, err)
		require.Len(t, left, 1, "the fencing numbers stay for a day: %v", left)
		_, err = k.Keywords(t.Context(), "stage")
		require.ErrorIs(t, err, keywords.CodeUnknownService)
	})
}
