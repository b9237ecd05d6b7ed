package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
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

// patience bounds what must happen soon.
const patience = 20 * time.Second

// anything allows everything.
var anything = gateway.Config{Channels: []gateway.Channel{{Pattern: "*"}}, Keys: []string{"*"}}

// follows makes every client follow a channel.
func follows(channel string) gateway.Hooks {
	return gateway.Hooks{Connect: func(ctx context.Context, c *gateway.Conn, _ *http.Request) error {
		return c.Subscribe(ctx, channel)
	}}
}

// serve runs a handler on a server of its own and returns its address.
func serve(t testing.TB, pool *storage.Pool, cfg gateway.Config) (*gateway.Handler, string) {
	t.Helper()
	h, err := gateway.New(pool, cfg)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		_ = h.Close()
		srv.Close()
	})
	return h, strings.Replace(srv.URL, "http", "ws", 1) + "/ws"
}

// browser is a client.
type browser struct {
	t    testing.TB
	conn *websocket.Conn
}

// envelope is what the text protocol sends.
type envelope struct {
	Source    string          `json:"source"`
	Content   json.RawMessage `json:"content"`
	Timestamp float64         `json:"timestamp"`
	Ref       *string         `json:"client_reference"`
	Offset    string          `json:"offset"`
}

// open connects and takes the frame that says so.
func open(t testing.TB, url string, protocols ...string) *browser {
	t.Helper()
	b := dial(t, url, protocols...)
	if len(protocols) == 0 {
		require.JSONEq(t, `{"status": "open"}`, string(b.status().Content))
	} else {
		b.raw()
	}
	return b
}

func dial(t testing.TB, url string, protocols ...string) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: protocols})
	require.NoError(t, err)
	conn.SetReadLimit(16 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &browser{t, conn}
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

// next returns the next message of the text protocol.
func (b *browser) next() (e envelope) {
	b.t.Helper()
	raw := b.raw()
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.DisallowUnknownFields()
	require.NoError(b.t, dec.Decode(&e), raw)
	require.InDelta(b.t, float64(time.Now().UnixMilli()), e.Timestamp, 60_000)
	return e
}

// from returns the content of the next message, which must be of a source.
func (b *browser) from(source string) string {
	b.t.Helper()
	e := b.next()
	require.Equal(b.t, source, e.Source, string(e.Content))
	return string(e.Content)
}

func (b *browser) status() envelope {
	b.t.Helper()
	e := b.next()
	require.Equal(b.t, "websocket", e.Source, string(e.Content))
	return e
}

// fails returns the code of the next message, which must be an error.
func (b *browser) fails() gateway.Code {
	b.t.Helper()
	e := b.next()
	require.Equal(b.t, "error", e.Source, string(e.Content))
	var said struct{ Code gateway.Code }
	require.NoError(b.t, json.Unmarshal(e.Content, &said))
	return said.Code
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

func TestABrowserOfTheOriginal(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, url := serve(t, pool, anything)
		ctx := t.Context()
		key := func(name string) string { k, _ := pool.Key(name); return k }
		require.NoError(t, pool.Redis().HSet(ctx, key("trains"), "1", `{"v": 1}`).Err())

		b := open(t, url)
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"))
		b.send("GET trains")
		require.Equal(t, `{"v": 1}`, b.from("trains"))
		b.send("GET trains 1 mine")
		e := b.next()
		require.Equal(t, "trains 1", e.Source)
		require.Equal(t, "mine", *e.Ref)
		b.send("GET trains 2")
		require.Equal(t, "null", b.from("trains 2"))
		b.send("GET nothing")
		require.Equal(t, "null", b.from("nothing"))

		b.send("SUB trains")
		b.send("PING")
		b.from("websocket")
		require.NoError(t, pool.Redis().Publish(ctx, key("trains"), `{"v": 2}`).Err())
		require.Equal(t, `{"v": 2}`, b.from("trains"))
		b.send("DEL trains")
		b.send("PING")
		b.from("websocket")
		require.NoError(t, pool.Redis().Publish(ctx, key("trains"), `{"v": 3}`).Err())
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"))
		b.send("nonsense")
		require.Equal(t, gateway.CodeBadCommand, b.fails())
		require.NoError(t, b.conn.Close(websocket.StatusNormalClosure, ""))
	})
}

func TestTheArgumentsOfTheOriginalHaveNames(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, url := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "trains"}}, Keys: []string{"trains"}})
	key, err := pool.Key("trains")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().HSet(t.Context(), key, "1", `{"v": 1}`).Err())
	b := open(t, url)
	for command, want := range map[string]string{
		"GET trains client_ref=7":                    "trains/7",
		"GET trains ref=1":                           "trains 1/",
		"GET trains 1 client_ref=7":                  "trains 1/7",
		"GET client_ref=7 ref=1 channel_name=trains": "trains 1/7",
		`GET trains "" 7`:                            "trains/7",
		"GET staff 1 7":                              "error/7",
		"GET staff client_ref=7":                     "error/7",
		"GET trains 1 ref=1":                         "error/",
		"GET ref=1 client_ref=7":                     "error/7",
		"DEL trains name=trains":                     "error/",
	} {
		b.send(command)
		e := b.next()
		if e.Ref == nil {
			e.Ref = new("")
		}
		require.Equal(t, want, e.Source+"/"+*e.Ref, command)
	}
	b.send("SUB channel_name=trains ack=1")
	require.Contains(t, b.from("websocket"), "subscribed")
	b.send("DEL channel_name=trains")
	b.send("PING")
	require.Equal(t, `"PONG"`, b.from("websocket"))
	require.NoError(t, pool.Redis().Publish(t.Context(), key, "1").Err())
	b.send("PING")
	require.Equal(t, `"PONG"`, b.from("websocket"))

	j := open(t, url, "heliograph.json.v1")
	j.send(`{"id": 8, "command": "GET", "args": ["trains", 1], "options": {"client_ref": 7}}`)
	require.JSONEq(t, `{"type": "value", "id": 8, "source": "trains 1", "content": {"v": 1}}`, j.raw(), "it has an id")
	require.JSONEq(t, `{"type": "done", "id": 8}`, j.raw())
}

// Of a flood some commands succeed, as many as are allowed.
func TestAFloodOfCommands(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Limits = gateway.Limits{Commands: 50, CommandBurst: 20, CommandExcess: 300 * time.Millisecond}
	_, url := serve(t, storagetest.New(t), cfg)
	b := open(t, url)
	go func() {
		for b.conn.Write(t.Context(), websocket.MessageText, []byte("PING")) == nil {
			time.Sleep(4 * time.Millisecond)
		}
	}()
	require.Equal(t, gateway.CloseTooFast, b.closed())
}

func TestTooManyCommands(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Limits = gateway.Limits{Commands: 1, CommandBurst: 5, CommandExcess: 50 * time.Millisecond, Write: 200 * time.Millisecond}
	h, url := serve(t, storagetest.New(t), cfg)
	b := open(t, url)
	for range 5 {
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"))
	}
	b.send("PING")
	require.Equal(t, gateway.CodeTooFast, b.fails())
	require.Eventually(t, func() bool {
		return b.conn.Write(t.Context(), websocket.MessageText, []byte("PING")) != nil || h.Stats().Connections == 0
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, gateway.CloseTooFast, b.closed())
}
