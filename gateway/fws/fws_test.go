package fws_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// serve runs a handler on a server of its own and returns its address.
func serve(t testing.TB, pool *storage.Pool, cfg gateway.Config) (*gateway.Handler, string) {
	t.Helper()
	h, err := gateway.New(pool, cfg)
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		_ = h.Close()
		srv.Close()
	})
	return h, strings.Replace(srv.URL, "http", "ws", 1)
}

// browser is a client.
type browser struct {
	t    testing.TB
	conn *websocket.Conn
}

func dial(t testing.TB, url string) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &browser{t, conn}
}

// open connects with the text protocol and takes the frame that says so.
func open(t testing.TB, url string) *browser {
	t.Helper()
	b := dial(t, url)
	require.Equal(t, `{"status":"open"}`, b.from("websocket"))
	return b
}

func (b *browser) send(message string) {
	b.t.Helper()
	require.NoError(b.t, b.conn.Write(b.t.Context(), websocket.MessageText, []byte(message)))
}

// raw returns the next message.
func (b *browser) raw() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	_, data, err := b.conn.Read(ctx)
	require.NoError(b.t, err)
	return string(data)
}

// from returns the content of the next message of the text protocol, which must be of
// a source.
func (b *browser) from(source string) string {
	b.t.Helper()
	var e struct {
		Source  string
		Content json.RawMessage
	}
	raw := b.raw()
	require.NoError(b.t, json.Unmarshal([]byte(raw), &e), raw)
	require.Equal(b.t, source, e.Source)
	return string(e.Content)
}

// closed returns the close code of a connection from which nothing else comes.
func (b *browser) closed() gateway.CloseCode {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for {
		if _, _, err := b.conn.Read(ctx); err != nil {
			return gateway.CloseCode(websocket.CloseStatus(err))
		}
	}
}
