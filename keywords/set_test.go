package keywords_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// What a standby sets is never committed, also after it has taken over.
func TestSetByAStandby(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		cfg := keywords.DispatcherConfig{Lease: time.Second}
		first := run(t, pool, cfg, nil).wait()
		second := run(t, pool, cfg, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, keywords.Set(ctx, second.Dispatcher, Count, 111), context.DeadlineExceeded)
		require.NoError(t, keywords.Set(soon(t), first.Dispatcher, Count, 5))
		waiting := make(chan error, 1)
		go func() { waiting <- keywords.Set(soon(t), second.Dispatcher, Speed, 6) }()
		first.stop()
		require.NoError(t, <-first.ended)
		second.wait()
		require.NoError(t, <-waiting, "it has waited for its lease")
		_, err := keywords.Read(soon(t), client(t, pool), Count)
		require.ErrorIs(t, err, keywords.ErrNoValue)
	})
}

func TestSetAfterRun(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	d.stop()
	require.NoError(t, <-d.ended)
	require.ErrorIs(t, keywords.Set(soon(t), d.Dispatcher, Count, 1), keywords.ErrClosed)
	require.EqualError(t, d.Run(t.Context()), "keywords: dispatcher main of stage was run before")

	standby := run(t, pool, keywords.DispatcherConfig{Lease: time.Hour}, nil).wait()
	second := run(t, pool, keywords.DispatcherConfig{}, nil)
	ended := make(chan error, 1)
	go func() { ended <- keywords.Set(soon(t), second.Dispatcher, Count, 1) }()
	second.stop()
	require.ErrorIs(t, <-ended, keywords.ErrClosed)
	require.NoError(t, keywords.Set(soon(t), standby.Dispatcher, Count, 2))
}

// What a hook sets last is committed also where its ctx has ended.
func TestSetWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k := client(t, pool)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 20 {
		_ = keywords.Set(ended, d.Dispatcher, Count, i)
		_, err := keywords.WaitFor(soon(t), k, Count, func(v int) bool { return v == i })
		require.NoError(t, err)
	}
}
