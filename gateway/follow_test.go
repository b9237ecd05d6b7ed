package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// published publishes until a hook has seen the text.
func published(t *testing.T, pool *storage.Pool, channel, text string, seen <-chan string) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, channel), text).Err())
		for {
			select {
			case got := <-seen:
				if got == channel+" "+text {
					return true
				}
			case <-time.After(time.Millisecond):
				return false
			}
		}
	}, patience, time.Millisecond)
}

func TestTheHandlerFollowsChannelsWithoutClients(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		seen := make(chan string, 1000)
		h, address := serve(t, pool, gateway.Config{
			Follow: []string{"global", "other"},
			Hooks: []gateway.Hooks{{Publication: func(h *gateway.Handler, m *gateway.Message) *gateway.Message {
				seen <- m.Name + " " + string(m.Content)
				gateway.Broadcast(m.Content, h.Conns()...) // a hook of publications reaches all clients
				return m
			}}},
		})
		published(t, pool, "global", "1", seen)
		published(t, pool, "other", "2", seen)
		require.Zero(t, h.Stats().Accepted)
		require.Equal(t, 2, h.Stats().Channels)
		require.Zero(t, h.Stats().Subscriptions)

		b := open(t, address)
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "global"), "3").Err())
		require.Equal(t, "3", b.raw())
	})
}

// fickle is a source whose subscriptions fail at first.
type fickle struct {
	asked   chan int
	deliver chan func(gateway.Publication)
}

func (f fickle) Follow(_ context.Context, _ string, deliver func(gateway.Publication)) (stop func(), err error) {
	if n := <-f.asked; n < 3 {
		return nil, pubsub.ErrClosed
	}
	f.deliver <- deliver
	return func() {}, nil
}

func TestAChannelThatCantBeFollowedIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := fickle{make(chan int, 3), make(chan func(gateway.Publication), 1)}
	seen := make(chan string, 1)
	_, _ = serve(t, storagetest.New(t), gateway.Config{
		Source: f, Follow: []string{"global"},
		Hooks: []gateway.Hooks{{Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message {
			seen <- string(m.Content)
			return m
		}}},
	})
	for n := range 3 {
		f.asked <- n + 1
	}
	(<-f.deliver)(gateway.Publication{Data: []byte("1")})
	require.Equal(t, "1", <-seen)
}

func TestFollowNamesChannels(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(storagetest.New(t), gateway.Config{Follow: []string{"a", "b*"}})
	require.EqualError(t, err, `gateway: Config.Follow[1]: "b*" is not the name of a channel`)
}
