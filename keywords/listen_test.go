package keywords_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestListenersAreCalledInTurn(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		var mu sync.Mutex
		var calls []string
		add := func(name string, opts ...keywords.ListenOptions) *keywords.Listener {
			l, err := keywords.Listen(t.Context(), k, Speed, func(ev keywords.Event[float64]) {
				mu.Lock()
				defer mu.Unlock()
				if ev.Value.V == 5 {
					calls = append(calls, name)
				}
				if name == "bad" {
					panic(name)
				}
			}, opts...)
			require.NoError(t, err)
			return l
		}
		add("first")
		add("bad")
		gone := add("gone")
		add("preferred", keywords.ListenOptions{Preferred: true})
		add("preferred too", keywords.ListenOptions{Preferred: true})
		require.NoError(t, gone.Close())
		_, err := keywords.Modify(t.Context(), k, Speed, 5)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(calls) == 4
		}, patience, 1e6)
		require.Equal(t, []string{"preferred", "preferred too", "first", "bad"}, calls)

		// One that comes later is told the newest value.
		told := make(chan float64, 10)
		l, err := keywords.Listen(t.Context(), k, Speed, func(ev keywords.Event[float64]) { told <- ev.Value.V })
		require.NoError(t, err)
		require.Equal(t, 5.0, <-told)
		require.NoError(t, l.Close())
		color := keywords.Define("stage", "COLOR", keywords.Spec[string]{})
		_, err = keywords.Listen(t.Context(), k, color, func(keywords.Event[string]) {})
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
	})
}

// A listener that is closed before its turn is not told the newest value.
func TestAClosedListenerIsNotCalled(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		entered, leave := make(chan struct{}), make(chan struct{})
		_, err := keywords.Listen(t.Context(), k, Speed, func(keywords.Event[float64]) {
			close(entered)
			<-leave
		})
		require.NoError(t, err)
		<-entered
		called := false
		l, err := keywords.Listen(t.Context(), k, Speed, func(keywords.Event[float64]) { called = true })
		require.NoError(t, err)
		require.NoError(t, l.Close())
		close(leave)
		synctest.Wait()
		require.False(t, called)
	})
}

// A listener in a dispatcher's process is told of every change, by the dispatcher or by
// another program, and may set other keywords.
func TestListenBesideADispatcher(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	ctx := soon(t)
	d := run(t, pool, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
	require.NoError(t, d.Notifications())
	k := client(t, pool)
	_, err := keywords.Listen(ctx, k, Speed, func(ev keywords.Event[float64]) {
		if err := keywords.Set(context.Background(), d.Dispatcher, Count, int(ev.Value.V)); err != nil {
			t.Error(err)
		}
	})
	require.NoError(t, err)
	told := func(want int) {
		t.Helper()
		_, err := keywords.WaitFor(ctx, k, Count, func(n int) bool { return n == want })
		require.NoError(t, err)
	}
	told(1)
	_, err = keywords.Modify(ctx, k, Speed, 2)
	require.NoError(t, err)
	told(2)
	require.NoError(t, keywords.Set(ctx, d.Dispatcher, Speed, 3))
	told(3)
	require.NoError(t, pool.Redis().HSet(ctx, "kw:{stage}:v:SPEED", "v", "4").Err())
	told(4)
}
