package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// client is what two libraries have in common.
type client interface {
	write(t *testing.T, message string)
	writeInParts(t *testing.T, parts ...string)
	read(t *testing.T) string
	ping(t *testing.T)                    // and awaits the pong, with nothing else to read
	closed(t *testing.T) (int, string)    // what the server says last
	close(t *testing.T, code int) (n int) // sends a close frame; returns the code that the server answers
}

// dialer connects a client.
type dialer func(t *testing.T, address string, compress bool, protocols ...string) client

var dialers = map[string]dialer{
	"coder": func(t *testing.T, address string, compress bool, protocols ...string) client {
		options := &websocket.DialOptions{Subprotocols: protocols}
		if compress {
			options.CompressionMode = websocket.CompressionContextTakeover
			options.CompressionThreshold = 1
		}
		conn, answer, err := websocket.Dial(t.Context(), address, options)
		require.NoError(t, err)
		require.Equal(t, compress, answer.Header.Get("Sec-WebSocket-Extensions") != "")
		t.Cleanup(func() { _ = conn.CloseNow() })
		conn.SetReadLimit(16 << 20)
		return coder{conn}
	},
	"gorilla": func(t *testing.T, address string, compress bool, protocols ...string) client {
		d := gorilla.Dialer{Subprotocols: protocols, EnableCompression: compress}
		conn, answer, err := d.DialContext(t.Context(), address, nil)
		require.NoError(t, err)
		require.Equal(t, compress, answer.Header.Get("Sec-WebSocket-Extensions") != "")
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		return gorillas{conn}
	},
}

type coder struct{ *websocket.Conn }

func (c coder) write(t *testing.T, message string) {
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte(message)))
}

func (c coder) writeInParts(t *testing.T, parts ...string) {
	w, err := c.Writer(t.Context(), websocket.MessageText)
	require.NoError(t, err)
	for _, part := range parts {
		_, err = io.WriteString(w, part)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
}

func (c coder) read(t *testing.T) string {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, data, err := c.Read(ctx)
	require.NoError(t, err)
	return string(data)
}

func (c coder) ping(t *testing.T) {
	done := make(chan struct{})
	go func() { defer close(done); _, _, _ = c.Read(t.Context()) }() // takes the pong, and then the PONG
	require.NoError(t, c.Ping(t.Context()))
	c.write(t, "PING")
	<-done
}

func (c coder) closed(t *testing.T) (int, string) {
	_, _, err := c.Read(t.Context())
	for ; err == nil; _, _, err = c.Read(t.Context()) {
	}
	var e websocket.CloseError
	require.ErrorAs(t, err, &e)
	return int(e.Code), e.Reason
}

func (c coder) close(t *testing.T, code int) int {
	require.NoError(t, c.Close(websocket.StatusCode(code), "bye")) // the answer was the same
	return code
}

type gorillas struct{ *gorilla.Conn }

func (g gorillas) write(t *testing.T, message string) {
	require.NoError(t, g.WriteMessage(gorilla.TextMessage, []byte(message)))
}

func (g gorillas) writeInParts(t *testing.T, parts ...string) {
	w, err := g.NextWriter(gorilla.TextMessage)
	require.NoError(t, err)
	for _, part := range parts {
		_, err = io.WriteString(w, part)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
}

func (g gorillas) read(t *testing.T) string {
	_, data, err := g.ReadMessage()
	require.NoError(t, err)
	return string(data)
}

func (g gorillas) ping(t *testing.T) {
	pong := ""
	g.SetPongHandler(func(data string) error { pong = data; return nil })
	require.NoError(t, g.WriteMessage(gorilla.PingMessage, []byte("are you there?")))
	g.write(t, "PING")
	g.read(t)
	require.Equal(t, "are you there?", pong)
}

func (g gorillas) closed(t *testing.T) (int, string) {
	_, _, err := g.ReadMessage()
	for ; err == nil; _, _, err = g.ReadMessage() {
	}
	var e *gorilla.CloseError
	require.ErrorAs(t, err, &e)
	_ = g.Close()
	return e.Code, e.Text
}

func (g gorillas) close(t *testing.T, code int) int {
	require.NoError(t, g.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, "bye")))
	got, _ := g.closed(t)
	return got
}

// content returns the content of a frame of the text protocol.
func content(t *testing.T, frame string) string {
	var e envelope
	require.NoError(t, json.Unmarshal([]byte(frame), &e), frame)
	return string(e.Content)
}

func TestClientLibraries(t *testing.T) {
	t.Parallel()
	for name, dial := range dialers {
		for mode, compress := range map[string]bool{"plain": false, "compressed": true} {
			t.Run(name+"/"+mode, func(t *testing.T) { testClient(t, dial, compress) })
		}
	}
}

func testClient(t *testing.T, dial dialer, compress bool) {
	cfg := anything
	cfg.Compression = compress
	cfg.Commands = map[string]gateway.Command{"QUIT": {Run: quit}}
	pool := storagetest.New(t)
	h, address := serve(t, pool, cfg)
	channel, err := pool.Key("c")
	require.NoError(t, err)

	c := dial(t, address, compress)
	require.Equal(t, `{"status":"open"}`, content(t, c.read(t)))
	c.write(t, "PING")
	require.Equal(t, `"PONG"`, content(t, c.read(t)))
	c.ping(t)
	c.writeInParts(t, "SUB ", "c", strings.Repeat(" ", 20_000), "ack=1")
	require.Contains(t, c.read(t), "subscribed")
	for _, size := range []int{0, 1, 125, 126, 127, 200, 65_535, 65_536, 1 << 20} {
		payload := `"` + strings.Repeat("x", size) + `"`
		require.NoError(t, pool.Redis().Publish(t.Context(), channel, payload).Err())
		require.Equal(t, payload, content(t, c.read(t)))
	}
	for _, code := range []int{1000, 1001, 3000, 4999} {
		other := dial(t, address, compress)
		other.read(t)
		require.Equal(t, code, other.close(t, code))
	}
	c.write(t, "QUIT")
	code, reason := c.closed(t)
	require.Equal(t, 4242, code)
	require.Equal(t, "as you like", reason)

	j := dial(t, address, compress, "other", "heliograph.json.v1")
	require.JSONEq(t, `{"type": "status", "status": "open"}`, j.read(t))
	j.write(t, `{"id": 1, "command": "SUB", "args": ["c"]}`)
	require.JSONEq(t, `{"type": "done", "id": 1}`, j.read(t))
	payload := `{"long": "` + strings.Repeat("x", 1000) + `"}`
	require.NoError(t, pool.Redis().Publish(t.Context(), channel, payload).Err())
	var m struct {
		Type, Channel string
		Content       json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(j.read(t)), &m))
	require.Equal(t, payload, string(m.Content))
	require.Equal(t, "message c", m.Type+" "+m.Channel)
	j.write(t, strings.Repeat(" ", 64<<10+1))
	code, _ = j.closed(t)
	require.EqualValues(t, gateway.CloseTooLong, code)

	none := dial(t, address, compress, "other")
	require.Equal(t, `{"status":"open"}`, content(t, none.read(t)), "the first protocol, and none is named")
	require.Equal(t, 1000, none.close(t, 1000))
	empty(t, h)
}

// wrapped is what a middleware makes of a ResponseWriter: no http.Hijacker.
type wrapped struct{ inner http.ResponseWriter }

func (w wrapped) Header() http.Header         { return w.inner.Header() }
func (w wrapped) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w wrapped) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w wrapped) Unwrap() http.ResponseWriter { return w.inner }

// Where a host puts the handler.
func TestWhereItIsMounted(t *testing.T) {
	t.Parallel()
	for name, mount := range map[string]func(t *testing.T, h http.Handler) (srv *httptest.Server, path string){
		"at the root": func(_ *testing.T, h http.Handler) (*httptest.Server, string) { return httptest.NewServer(h), "/" },
		"beside others": func(_ *testing.T, h http.Handler) (*httptest.Server, string) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the page") })
			mux.Handle("GET /live/{room}/ws", h)
			return httptest.NewServer(mux), "/live/42/ws?token=x"
		},
		"under a prefix that is stripped": func(_ *testing.T, h http.Handler) (*httptest.Server, string) {
			return httptest.NewServer(http.StripPrefix("/app", h)), "/app/ws"
		},
		"in a middleware": func(_ *testing.T, h http.Handler) (*httptest.Server, string) {
			return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapped{wrapped{w}}, r) })), "/"
		},
		"with timeouts": func(_ *testing.T, h http.Handler) (*httptest.Server, string) {
			srv := httptest.NewUnstartedServer(h)
			srv.Config.ReadTimeout, srv.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
			srv.Start()
			return srv, "/"
		},
		"over TLS": func(_ *testing.T, h http.Handler) (*httptest.Server, string) { return httptest.NewTLSServer(h), "/" },
		"over TLS, where there is HTTP/2": func(_ *testing.T, h http.Handler) (*httptest.Server, string) {
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = true
			srv.StartTLS()
			return srv, "/"
		},
		"behind a proxy": func(t *testing.T, h http.Handler) (*httptest.Server, string) {
			inner := httptest.NewServer(h)
			t.Cleanup(inner.Close)
			to, err := url.Parse(inner.URL)
			require.NoError(t, err)
			return httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(to)), "/"
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := gateway.New(storagetest.New(t), anything)
			require.NoError(t, err)
			srv, path := mount(t, h)
			t.Cleanup(func() { _ = h.Close(); srv.Close() })
			var d gorilla.Dialer
			if srv.TLS != nil {
				d.TLSClientConfig = &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			}
			conn, _, err := d.DialContext(t.Context(), strings.Replace(srv.URL, "http", "ws", 1)+path, nil)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
			c := gorillas{conn}
			require.Equal(t, `{"status":"open"}`, content(t, c.read(t)))
			if name == "with timeouts" { // they were those of the request
				begun := time.Now()
				require.Eventually(t, func() bool { return time.Since(begun) > 150*time.Millisecond }, 10*time.Second, 10*time.Millisecond)
			}
			c.writeInParts(t, "PI", "NG", strings.Repeat(" ", 10_000))
			require.Equal(t, `"PONG"`, content(t, c.read(t)))
			require.Equal(t, 4000, c.close(t, 4000))
			empty(t, h)
		})
	}
}

// Whatever is no handshake gets an answer of HTTP.
func TestNotAHandshake(t *testing.T) {
	t.Parallel()
	h, address := serve(t, storagetest.New(t), anything)
	at, err := url.Parse(address)
	require.NoError(t, err)
	good := handshake(at)
	for name, row := range map[string]struct {
		request string
		status  int
	}{
		"no upgrade":      {"GET /ws HTTP/1.1\r\nHost: " + at.Host + "\r\n\r\n", http.StatusUpgradeRequired},
		"another upgrade": {strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1), http.StatusUpgradeRequired},
		"no connection":   {strings.Replace(good, "Connection: Upgrade", "Connection: close", 1), http.StatusBadRequest},
		"POST":            {strings.Replace(good, "GET", "POST", 1), http.StatusMethodNotAllowed},
		"no key":          {strings.Replace(good, "Sec-WebSocket-Key", "X-Key", 1), http.StatusBadRequest},
		"half a key":      {strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 1), http.StatusBadRequest},
		"no version":      {strings.Replace(good, "Sec-WebSocket-Version", "X-Version", 1), http.StatusBadRequest},
		"version 8":       {strings.Replace(good, "Version: 13", "Version: 8", 1), http.StatusUpgradeRequired},
		"HTTP/1.0":        {strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), http.StatusHTTPVersionNotSupported},
		"a bad protocol":  {strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: (\r\n\r\n", 1), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w, answer := request(t, address, row.request)
			require.Equal(t, row.status, answer.StatusCode)
			_ = w.conn.Close()
		})
	}
	require.Eventually(t, func() bool { return h.Stats().RefusedRequest == 10 }, 10*time.Second, time.Millisecond)
	require.Zero(t, h.Stats().Connections)
}

// A browser that opens the address is told what is there.
func TestAPageOfTheEndpoint(t *testing.T) {
	t.Parallel()
	_, address := serve(t, storagetest.New(t), anything)
	answer, err := http.Get(strings.Replace(address, "ws", "http", 1))
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusUpgradeRequired, answer.StatusCode)
	require.Equal(t, "this is a WebSocket endpoint: connect with new WebSocket(url), or new WebSocket(url, \"heliograph.json.v1\"); or GET ?sub=channel with Accept: text/event-stream\n", string(body))
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	h, err := gateway.New(storagetest.New(t), anything)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() { _ = h.Close(); srv.Close() })
	answer, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, 2, answer.ProtoMajor)
	require.Equal(t, http.StatusHTTPVersionNotSupported, answer.StatusCode)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, `this is a WebSocket endpoint: connect with new WebSocket(url), or new WebSocket(url, "heliograph.json.v1"); or GET ?sub=channel with Accept: text/event-stream; `+
		"WebSocket over HTTP/2 (RFC 8441) is not supported, use HTTP/1.1\n", string(body))
	require.Empty(t, answer.Header.Get("Upgrade"))
}
