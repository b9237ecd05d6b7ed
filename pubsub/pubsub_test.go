package pubsub_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 20 * time.Second

type Position struct {
	Axis string  `json:"axis"`
	At   float64 `json:"at"`
}

var (
	Positions = pubsub.NewTopic[Position]("stage:positions")
	Numbers   = pubsub.NewTopic[int]("numbers")
)

func client(t testing.TB, pool *storage.Pool, cfg pubsub.Config) *pubsub.Client {
	t.Helper()
	c, err := pubsub.NewClient(pool, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// subscribe subscribes until the test ends.
func subscribe[T any](t testing.TB, c *pubsub.Client, from pubsub.Source[T], opts ...pubsub.SubscribeOptions) *pubsub.Subscription[T] {
	t.Helper()
	sub, err := pubsub.Subscribe(t.Context(), c, from, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Close() })
	return sub
}

// next returns the next message.
func next[T any](t testing.TB, sub *pubsub.Subscription[T]) pubsub.Message[T] {
	t.Helper()
	select {
	case m, ok := <-sub.C():
		require.True(t, ok, "the subscription has ended: %v", sub.Err())
		return m
	case <-time.After(patience):
		require.Fail(t, "no message")
		panic("unreachable")
	}
}

// said is next without the number that the client has given the message.
func said[T any](t testing.TB, sub *pubsub.Subscription[T]) pubsub.Message[T] {
	t.Helper()
	m := next(t, sub)
	m.Seq = 0
	return m
}

// ends waits for the end of a subscription, and returns what it still got.
func ends[T any](t testing.TB, sub *pubsub.Subscription[T]) (last []pubsub.Message[T]) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m, ok := <-sub.C():
			if !ok {
				return last
			}
			last = append(last, m)
		case <-timeout:
			require.Fail(t, "the subscription goes on")
		}
	}
}

func publish[T any](t testing.TB, c *pubsub.Client, to pubsub.Topic[T], values ...T) {
	t.Helper()
	for _, v := range values {
		_, err := pubsub.Publish(t.Context(), c, to, v)
		require.NoError(t, err)
	}
}

// cut closes all connections that subscribe, and returns how many they were.
func cut(t testing.TB, pool *storage.Pool) int {
	t.Helper()
	n, err := pool.Redis().ClientKillByFilter(context.Background(), "type", "pubsub").Result()
	require.NoError(t, err)
	return int(n)
}

// eventually waits for what must happen soon.
func eventually(t testing.TB, ok func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond, msgAndArgs...)
}
