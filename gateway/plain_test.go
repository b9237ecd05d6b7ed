package gateway_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestPlainClientsGetWhatWasPublished(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, url := serve(t, pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{follows("global")},
	})
	b := dial(t, url)
	var heard atomic.Bool
	quiet := make(chan struct{})
	go func() { // until the client follows: it gets no answer that says so
		for !heard.Load() {
			_ = pool.Redis().Publish(t.Context(), "global", "first")
		}
		close(quiet)
	}()
	require.Equal(t, "first", b.raw())
	heard.Store(true)
	<-quiet
	require.NoError(t, pool.Redis().Publish(t.Context(), "global", "last").Err())
	for b.raw() != "last" {
	}
	for _, published := range []string{"hello", `"hello"`, `{"a": 1}`, "a \"word\"", "\xff"} {
		require.NoError(t, pool.Redis().Publish(t.Context(), "global", published).Err())
		require.Equal(t, published, b.raw())
	}
}

// commanded is Plain for clients that send commands.
type commanded struct{ gateway.Protocol }

func (commanded) Parse(message []byte, args int) (gateway.Request, error) {
	return gateway.Text.Parse(message, args)
}

// Messages held while a client joins are sent unchanged, too.
func TestPlainClientsGetWhatWasHeldForThem(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Protocols = []gateway.Protocol{commanded{gateway.Plain}}
	const all = 100 // more than are handed out at once
	var came atomic.Int32
	cfg.Hooks = []gateway.Hooks{{Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message {
		came.Add(1)
		return m
	}}}
	cfg.Commands = map[string]gateway.Command{"HOLD": {Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
		c.SetFilter("hold", func(m *gateway.Message) *gateway.Message {
			if string(m.Content) == `"state"` {
				for range all {
					_ = pool.Redis().Publish(t.Context(), key(t, pool, "news"), "hello").Err()
				}
				for came.Load() < all {
					time.Sleep(time.Millisecond)
				}
			}
			return m
		})
		return nil
	}}}
	require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), "s", `"state"`).Err())
	_, url := serve(t, pool, cfg)
	b := dial(t, url)
	b.send("HOLD")
	b.send("SUB news snapshot=1")
	for range all {
		require.Equal(t, "hello", b.raw())
	}
}
