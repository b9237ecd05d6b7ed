package keywords_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// soon bounds a test of what must not hang.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newestSpeed is what a watcher of SPEED was told.
type newestSpeed struct {
	t    *testing.T
	seen chan float64
}

// newest watches SPEED until the test ends, whose revisions must rise.
func newest(t *testing.T, k *keywords.Client) *newestSpeed {
	n := &newestSpeed{t, make(chan float64, 10_000)}
	ctx, cancel := context.WithCancel(context.Background())
	done, begun := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(done)
		var last keywords.Value[float64]
		for ev, err := range keywords.Watch(ctx, k, Speed) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			switch ev.Kind {
			case keywords.EventStale, keywords.EventDisconnected, keywords.EventGone:
				continue // of the value that was told before
			case keywords.EventGood:
				if ev.Value.Rev == last.Rev {
					continue
				}
			}
			if ev.Value.Rev.Compare(last.Rev) <= 0 {
				t.Errorf("%v %v after %v", ev.Kind, ev.Value, last)
			}
			last = ev.Value
			first()
			n.seen <- ev.Value.V
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-begun:
	case <-done:
		t.FailNow()
	}
	return n
}

// await waits until the watcher has been told a value.
func (n *newestSpeed) await(want float64) {
	n.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case v := <-n.seen:
			if v == want {
				return
			}
		case <-timeout:
			n.t.Fatal("the watcher was never told ", want)
		}
	}
}

// until yields what a channel brings until ctx ends.
func until[T any](ctx context.Context, ch <-chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for {
			select {
			case v := <-ch:
				if !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// A watcher with a constant flow of events ends with its context all the same.
func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k := client(t, pool)
	require.NoError(t, keywords.Set(soon(t), d.Dispatcher, Count, 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := 0
	for ev, err := range keywords.WatchText(ctx, k, "stage", "*") { // SPEED has a value too
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		require.Equal(t, keywords.EventInitial, ev.Kind)
		events++
		cancel()
	}
	require.Equal(t, 1, events)
}

// A dead band applies to values: a change of quality is reported all the same.
func TestADeadBandLeavesQualityAlone(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := keywords.DispatcherConfig{Lease: time.Second}
	d := run(t, pool, cfg, nil).wait()
	k := client(t, pool)
	for ev, err := range keywords.Watch(soon(t), k, Speed, keywords.WatchOptions{DeadBand: 0.5}) {
		require.NoError(t, err)
		switch {
		case ev.Kind == keywords.EventInitial:
			d.stop()
			require.NoError(t, <-d.ended)
		case ev.Value.Quality == keywords.QualityStale:
			run(t, pool, cfg, nil).wait()
		default:
			require.Equal(t, 1.0, ev.Value.V)
			return
		}
	}
}
