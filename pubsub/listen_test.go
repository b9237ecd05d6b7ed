package pubsub_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func listen[T any](t testing.TB, c *pubsub.Client, from pubsub.Source[T], handler func(context.Context, pubsub.Message[T]) error, opts ...pubsub.SubscribeOptions) *pubsub.Listener {
	t.Helper()
	l, err := pubsub.Listen(t.Context(), c, from, handler, opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-l.Done()
	})
	return l
}

func TestListenersDontSilenceEachOther(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{Linger: -1})
		got := [4]chan int{}
		var listeners []*pubsub.Listener
		for i := range got {
			got[i] = make(chan int, 10)
			opts := pubsub.SubscribeOptions{Concurrency: 1 + 7*(i%2)} // in order, and not
			listeners = append(listeners, listen(t, c, Numbers, func(_ context.Context, m pubsub.Message[int]) error {
				got[i] <- m.Value
				return nil
			}, opts))
		}
		for left := range listeners {
			publish(t, c, Numbers, left)
			for i := left; i < len(got); i++ {
				require.Equal(t, left, <-got[i])
			}
			require.NoError(t, listeners[left].Close())
			<-listeners[left].Done()
		}
		for i := range got {
			require.Empty(t, got[i])
			require.NoError(t, listeners[i].Err())
		}
	})
}

func TestListenIsInOrderOrAsConcurrentAsAsked(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		const n, limit = 500, 5
		var inOrder []int
		var running, most atomic.Int32
		var all sync.WaitGroup
		all.Add(2 * n)
		full := make(chan bool)
		var once sync.Once
		listen(t, c, Numbers, func(_ context.Context, m pubsub.Message[int]) error {
			defer all.Done()
			inOrder = append(inOrder, m.Value) // no lock: one after the other
			return nil
		})
		listen(t, c, Numbers, func(context.Context, pubsub.Message[int]) error {
			defer all.Done()
			now := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			if now == limit {
				once.Do(func() { close(full) })
			}
			<-full
			return nil
		}, pubsub.SubscribeOptions{Concurrency: limit})
		for i := range n {
			pubsub.PublishAsync(t.Context(), c, Numbers, i)
		}
		all.Wait()
		for i, v := range inOrder {
			require.Equal(t, i, v)
		}
		require.EqualValues(t, limit, most.Load())
	})
}

func TestAPanicEndsThatCallOnly(t *testing.T) {
	t.Parallel()
	cfg := storagetest.New(t).Config()
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	pool := storagetest.Open(t, cfg)
	c := client(t, pool, pubsub.Config{})
	got := make(chan int, 10)
	l := listen(t, c, Numbers, func(_ context.Context, m pubsub.Message[int]) error {
		switch m.Value {
		case 1:
			panic("one is too much")
		case 2:
			return errors.New("two as well")
		}
		got <- m.Value
		return nil
	})
	publish(t, c, Numbers, 1, 2, 3)
	require.Equal(t, 3, <-got)
	require.EqualValues(t, 1, c.Stats().Panics)
	require.EqualValues(t, 1, c.Stats().Failed)
	require.NoError(t, l.Close())
	<-l.Done()
	require.Contains(t, log.String(), "one is too much")
	require.Contains(t, log.String(), "listen_test.go", "with its stack")
	require.Contains(t, log.String(), "two as well")
}

func TestUnlistenClosesAllOfOneChannel(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{Linger: -1})
		nop := func(context.Context, pubsub.Message[int]) error { return nil }
		a, b := listen(t, c, Numbers, nop), listen(t, c, Numbers, nop, pubsub.SubscribeOptions{Concurrency: 2})
		other := pubsub.NewTopic[int]("other")
		kept, sub := listen(t, c, other, nop), subscribe(t, c, Numbers)
		globbed := listen(t, c, pubsub.NewPattern[int]("num*"), nop)
		require.Equal(t, 2, c.Unlisten("numbers"))
		<-a.Done()
		<-b.Done()
		require.Zero(t, c.Unlisten("numbers"))
		require.Equal(t, 1, c.Unlisten("num*"))
		<-globbed.Done()
		publish(t, c, Numbers, 1)
		require.Equal(t, 1, next(t, sub).Value, "a subscription is no listener")
		select {
		case <-kept.Done():
			require.Fail(t, "another channel's listener was closed")
		default:
		}
	})
}

func TestAListenerMayCloseItself(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, pubsub.Config{})
	var l *pubsub.Listener
	ready, calls := make(chan bool), 0
	l = listen(t, c, Numbers, func(ctx context.Context, _ pubsub.Message[int]) error {
		<-ready
		calls++
		require.NoError(t, l.Close())
		require.Error(t, ctx.Err())
		return nil
	})
	close(ready)
	publish(t, c, Numbers, 1, 2, 3)
	<-l.Done()
	require.Equal(t, 1, calls)
}

type ctxKey struct{}

func TestTheHandlersContextHasValuesButNoDeadline(t *testing.T) {
	t.Parallel()
	c := client(t, storagetest.New(t), pubsub.Config{})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "me"))
	got := make(chan any, 1)
	l, err := pubsub.Listen(ctx, c, Numbers, func(ctx context.Context, _ pubsub.Message[int]) error {
		got <- ctx.Value(ctxKey{})
		return ctx.Err()
	})
	require.NoError(t, err)
	defer l.Close()
	cancel()
	publish(t, c, Numbers, 1)
	require.Equal(t, "me", <-got)
	require.Zero(t, c.Stats().Failed)
	_, err = pubsub.Listen[int](t.Context(), c, Numbers, nil)
	require.ErrorContains(t, err, "pubsub: listen to numbers: no handler")
}
