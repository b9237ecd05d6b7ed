package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func newLog(t *testing.T, pool *storage.Pool, opts ...storage.LogOptions) *storage.Log {
	t.Helper()
	l, err := storage.NewLog(pool, t.Name(), opts...)
	require.NoError(t, err)
	return l
}

func records(lines ...string) (r [][]byte) {
	for _, l := range lines {
		r = append(r, []byte(l))
	}
	return r
}

func TestLogKeepsTheNewest(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		l := newLog(t, pool, storage.LogOptions{MaxLen: 3})
		last, err := l.Last(ctx, 1)
		require.NoError(t, err)
		require.Empty(t, last)
		require.NoError(t, l.Append(ctx))
		require.NoError(t, l.Append(ctx, records("a", "", "c", "d")...))
		require.NoError(t, l.Append(ctx, []byte("e")))

		last, err = l.Last(ctx, 100)
		require.NoError(t, err)
		require.Equal(t, records("c", "d", "e"), last)
		last, err = l.Last(ctx, 2)
		require.NoError(t, err)
		require.Equal(t, records("d", "e"), last)
		n, err := l.Len(ctx)
		require.NoError(t, err)
		require.Equal(t, 3, n)

		was, err := l.Clear(ctx)
		require.NoError(t, err)
		require.True(t, was)
		was, err = l.Clear(ctx)
		require.NoError(t, err)
		require.False(t, was)
	})
}

func TestLogAppendsMoreThanLuaUnpacks(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		l := newLog(t, pool, storage.LogOptions{MaxLen: 20_000})
		var all [][]byte
		for i := range 20_100 {
			all = append(all, fmt.Append(nil, i))
		}
		require.NoError(t, l.Append(t.Context(), all...))
		last, err := l.Last(t.Context(), len(all))
		require.NoError(t, err)
		require.Equal(t, all[100:], last)
	})
}

func TestLogTTLBeginsAnewWithAppend(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		l := newLog(t, pool, storage.LogOptions{TTL: time.Hour})
		require.NoError(t, l.Append(ctx, []byte("a")))
		require.NoError(t, pool.Redis().PExpire(ctx, l.Key(), time.Minute).Err())
		_, err := l.Last(ctx, 1)
		require.NoError(t, err)
		require.LessOrEqual(t, pool.Redis().PTTL(ctx, l.Key()).Val(), time.Minute)
		require.NoError(t, l.Append(ctx, []byte("b")))
		require.Greater(t, pool.Redis().PTTL(ctx, l.Key()).Val(), time.Minute)
	})
}

func TestLogBadInput(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for want, opts := range map[string]storage.LogOptions{
		"LogOptions.MaxLen: -1":                          {MaxLen: -1},
		"LogOptions.MaxRecord: -1":                       {MaxRecord: -1},
		"LogOptions.TTL: -1s":                            {TTL: -time.Second},
		"LogOptions.TTL: 1µs is less than a millisecond": {TTL: time.Microsecond},
	} {
		_, err := storage.NewLog(pool, "l", opts)
		require.ErrorContains(t, err, want)
	}
	_, err := storage.NewLog(pool, "l", storage.LogOptions{}, storage.LogOptions{})
	require.ErrorContains(t, err, "2 storage.LogOptions, at most one")
	for _, name := range []string{"", "a b", "a*", "{a"} {
		_, err := storage.NewLog(pool, name)
		require.ErrorContains(t, err, "name", "%q", name)
	}
	_, err = storage.NewLog(nil, "l")
	require.ErrorContains(t, err, "nil pool")

	l := newLog(t, pool, storage.LogOptions{MaxRecord: 4})
	require.ErrorContains(t, l.Append(t.Context(), records("four", "fiver")...), "record 1 has 5 bytes, LogOptions.MaxRecord is 4")
	n, err := l.Len(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = l.Last(t.Context(), 0)
	require.ErrorContains(t, err, "Last: 0 records")
}

func TestLogManyWriters(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		l := newLog(t, pool, storage.LogOptions{MaxLen: 1000})
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for i := range 50 {
					record := fmt.Append(nil, w, i)
					if err := l.Append(t.Context(), record); err != nil {
						panic(err)
					}
					clear(record) // ours again
				}
			})
		}
		writers.Wait()
		last, err := l.Last(t.Context(), 1000)
		require.NoError(t, err)
		require.Len(t, last, 400)
		for _, r := range last {
			require.NotContains(t, string(r), "\x00")
		}
	})
}

// An append whose fate is unknown is not made a second time.
func TestLogAppendIsIndeterminate(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	l := newLog(t, pool)
	require.NoError(t, l.Append(t.Context(), []byte("a")))
	srv.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := l.Append(ctx, []byte("b"))
	srv.Resume()
	require.ErrorIs(t, err, storage.ErrIndeterminate)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool {
		last, err := l.Last(t.Context(), 10)
		return err == nil && bytes.Equal(bytes.Join(last, nil), []byte("ab"))
	}, 5*time.Second, 10*time.Millisecond)
}
