package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A principal that is changed while a SUB sends the snapshot: the client is told that it
// is unsubscribed and why the SUB failed, and nothing else comes.
func TestRevokedDuringASnapshot(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) { return gateway.Principal{Name: "alice"}, nil }
	cfg.Allow = func(_ context.Context, c *gateway.Conn, _ gateway.Op, _ string) bool {
		return c.Principal().Name == "alice"
	}
	cfg.Hooks = append(cfg.Hooks, gateway.Hooks{Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
		n := 0
		c.SetFilter("revoke", func(m *gateway.Message) *gateway.Message {
			if n++; n == 2 {
				done := make(chan struct{})
				go func() { // as the host does
					defer close(done)
					c.SetPrincipal(context.Background(), gateway.Principal{Name: "mallory"})
				}()
				<-done
			}
			return m
		})
		return nil
	}})
	h, url := serve(t, pool, cfg)
	for _, field := range []string{"a", "b", "c", "d"} {
		require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "secrets"), field, 1).Err())
	}
	b := open(t, url, "heliograph.json.v1")
	b.send(`{"id": 1, "command": "SUB", "args": ["secrets"], "options": {"snapshot": true}}`)
	b.send(`{"id": 2, "command": "PING"}`)
	var said []string
	for {
		raw := b.raw()
		var m struct {
			Type, Status, Code string
			ID                 int
		}
		require.NoError(t, json.Unmarshal([]byte(raw), &m), raw)
		if m.ID == 2 {
			break
		}
		t.Log(raw)
		said = append(said, m.Type+m.Status+m.Code)
	}
	require.Equal(t, []string{"value", "statusunsubscribed", "errorforbidden"}, said)
	require.Zero(t, h.Stats().Subscriptions)
}
