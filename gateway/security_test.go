package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// What an attacker tries, a test each. This file has attempts to
// get what is not allowed; limits_test.go attempts to get too much.
func TestSecurity(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"origin", origins},
		{"auth on upgrade", authOnUpgrade},
		{"auth after connect, expiry", expiry},
		{"auth after connect, refresh", refresh},
		{"auth after connect, credentials and hooks", credentialsAndHooks},
		{"auth after connect, revoked during a SUB", revokedDuringSub},
		{"idle sockets", idleSockets},
		{"broadcasts before a hook has accepted", notAcceptedYet},
		{"channel ACL", accessControl},
		{"the library's own names", ownNames},
		{"cache-key collisions", collisions},
		{"pattern escapes", patterns},
		{"keyspace channels", keyspace},
		{"key types", keyTypes},
		{"command injection", injection},
		{"command parsing", parsing},
		{"inbound size", inboundSize},
		{"compression bomb", compressionBomb},
		{"rate limit", rateLimit},
		{"rate limit of bytes", rateOfBytes},
		{"snapshot amplification", snapshotAmplification},
		{"slow consumer", slowConsumer},
		{"ping and pong", pingPong},
		{"connection caps", connectionCaps},
		{"connections per address", perAddress},
		{"accept rate", acceptRate},
		{"error leakage", errorLeakage},
		{"poison data", poison},
		{"fragment and control floods", floods},
		{"shutdown", shutdown},
	} {
		t.Run(row.name, row.test)
	}
}

// quit is a command that ends the connection from our side.
func quit(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
	c.Close(4242, "as you like")
	return nil
}

// upgrade returns the status that a handshake is answered by.
func upgrade(t *testing.T, address string, lines ...string) int {
	t.Helper()
	at, err := url.Parse(address)
	require.NoError(t, err)
	w, answer := request(t, address, handshake(at, lines...))
	_ = w.conn.Close()
	return answer.StatusCode
}

// does sends a command and returns the code of the error that it gets, if any.
func (b *browser) does(command string) (code gateway.Code) {
	b.t.Helper()
	b.send(command)
	b.send("PING")
	for {
		switch e := b.next(); {
		case e.Source == "error":
			var problem struct{ Code gateway.Code }
			require.NoError(b.t, json.Unmarshal(e.Content, &problem))
			code = problem.Code
		case string(e.Content) == `"PONG"`:
			return code
		}
	}
}

func origins(t *testing.T) {
	const ok, no = http.StatusSwitchingProtocols, http.StatusForbidden
	listed := gateway.Config{Origins: []string{"https://example.org", "https://*.example.com", "http://localhost:8080"}}
	any := gateway.Config{InsecureAnyOrigin: true}
	for _, row := range []struct {
		name   string
		cfg    gateway.Config
		origin []string // HOST is that of the request
		want   int
	}{
		{"absent", gateway.Config{}, nil, ok},
		{"absent, with a list", listed, nil, ok},
		{"same host", gateway.Config{}, []string{"http://HOST"}, ok},
		{"same host, over TLS before a proxy", gateway.Config{}, []string{"https://HOST"}, ok},
		{"same host, another port", gateway.Config{}, []string{"http://127.0.0.1:1"}, no},
		{"another host", gateway.Config{}, []string{"http://evil.com"}, no},
		{"same host as a user", gateway.Config{}, []string{"http://HOST@evil.com"}, no},
		{"same host as a label", gateway.Config{}, []string{"http://HOST.evil.com"}, no},
		{"same host as a path", gateway.Config{}, []string{"http://evil.com/HOST"}, no},
		{"no scheme", gateway.Config{}, []string{"HOST"}, no},
		{"null", gateway.Config{}, []string{"null"}, no},
		{"null, with a list", listed, []string{"null"}, no},
		{"empty", gateway.Config{}, []string{""}, no},
		{"two", gateway.Config{}, []string{"http://HOST", "http://evil.com"}, no},
		{"the same twice", gateway.Config{}, []string{"http://HOST", "http://HOST"}, no},
		{"two in one", gateway.Config{}, []string{"http://HOST http://evil.com"}, no},
		{"listed", listed, []string{"https://example.org"}, ok},
		{"listed, in capitals", listed, []string{"HTTPS://EXAMPLE.org"}, ok},
		{"listed, with its port", listed, []string{"https://example.org:443"}, ok},
		{"listed, another port", listed, []string{"https://example.org:444"}, no},
		{"listed, another scheme", listed, []string{"http://example.org"}, no},
		{"listed with a port", listed, []string{"http://localhost:8080"}, ok},
		{"listed with a port, without", listed, []string{"http://localhost"}, no},
		{"same host is not listed", listed, []string{"http://HOST"}, no},
		{"any label", listed, []string{"https://www.example.com"}, ok},
		{"no label", listed, []string{"https://example.com"}, no},
		{"an empty label", listed, []string{"https://.example.com"}, no},
		{"two labels", listed, []string{"https://a.b.example.com"}, no},
		{"part of a label", listed, []string{"https://evilexample.com"}, no},
		{"a label and more", listed, []string{"https://www.example.com.evil.com"}, no},
		{"any, another host", any, []string{"http://evil.com"}, ok},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, address := serve(t, storagetest.New(t), row.cfg)
			at, err := url.Parse(address)
			require.NoError(t, err)
			var lines []string
			for _, o := range row.origin {
				lines = append(lines, "Origin: "+strings.ReplaceAll(o, "HOST", at.Host))
			}
			require.Equal(t, row.want, upgrade(t, address, lines...))
			require.Equal(t, row.want == no, h.Stats().RefusedOrigin == 1)
		})
	}
}

func authOnUpgrade(t *testing.T) {
	cfg := anything
	cfg.Authenticate = func(r *http.Request) (gateway.Principal, error) {
		switch r.Header.Get("Authorization") {
		case "Bearer alice":
			return gateway.Principal{Name: "alice"}, nil
		case "":
			return gateway.Principal{}, errors.New("no token: the secret is 42")
		}
		return gateway.Principal{}, gateway.ErrForbidden
	}
	seen := make(chan string, 10)
	cfg.Hooks = []gateway.Hooks{{
		Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
			seen <- "connect " + c.Principal().Name
			return nil
		},
		Raw: func(_ *gateway.Conn, data []byte) ([]byte, error) { seen <- "raw"; return data, nil },
	}}
	h, address := serve(t, storagetest.New(t), cfg)
	at, err := url.Parse(address)
	require.NoError(t, err)
	for token, status := range map[string]int{"": http.StatusUnauthorized, "Bearer mallory": http.StatusForbidden} {
		w, answer := request(t, address, handshake(at, "Authorization: "+token)+string(frame(fin|text, "PING")))
		require.Equal(t, status, answer.StatusCode)
		body := make([]byte, 100)
		n, _ := answer.Body.Read(body)
		require.Equal(t, http.StatusText(status), strings.TrimSpace(string(body[:n])), "and not why")
		_ = w.conn.Close()
	}
	require.Empty(t, seen, "nothing was read")
	require.EqualValues(t, 2, h.Stats().RefusedAuth)
	require.Zero(t, h.Stats().Connections)

	w := connect(t, address, "Authorization: Bearer alice")
	require.Equal(t, "connect alice", <-seen)
	w.send(frame(fin|text, "PING"))
	require.Equal(t, `"PONG"`, w.said())
}

func expiry(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Write: 20 * time.Millisecond}
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) {
		return gateway.Principal{Name: "alice", Expires: time.Now().Add(30 * time.Millisecond)}, nil
	}
	h, address := serve(t, storagetest.New(t), cfg)
	require.Equal(t, gateway.CloseExpired, open(t, address).closed())
	require.EqualValues(t, 1, h.Stats().Ended)

	require.NoError(t, h.Close())
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) { return gateway.Principal{Name: "alice"}, nil }
	h, address = serve(t, storagetest.New(t), cfg)
	b, other := open(t, address), open(t, address)
	require.Equal(t, 2, h.Disconnect("alice"))
	require.Zero(t, h.Disconnect("bob"))
	require.Equal(t, gateway.CloseDisconnected, b.closed())
	require.Equal(t, gateway.CloseDisconnected, other.closed())
}

// Hooks, which may print or broadcast what they see, don't see credentials.
func credentialsAndHooks(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	see := func(data []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(data))
		return data, nil
	}
	cfg := anything
	cfg.Compression = true
	cfg.Refresh = func(_ context.Context, _ *gateway.Conn, credentials string) (gateway.Principal, error) {
		if credentials != "secret" {
			return gateway.Principal{}, errors.New("no")
		}
		return gateway.Principal{Name: "ada"}, nil
	}
	cfg.Hooks = []gateway.Hooks{{
		Raw:     func(_ *gateway.Conn, data []byte) ([]byte, error) { return see(data) },
		Message: func(_ context.Context, _ *gateway.Conn, data []byte) ([]byte, error) { return see(data) },
	}}
	_, address := serve(t, storagetest.New(t), cfg)
	w := connect(t, address, deflate)
	const done, no, bad = `{"status":"authenticated"}`, "forbidden", "bad_command"
	for _, row := range []struct {
		send []byte
		want string
	}{
		{frame(fin|text, "AUTH secret"), done},
		{frames(frame(text, "AU"), frame(more, "TH sec"), frame(fin|more, "ret")), done},
		{frame(fin|rsv1|text, packed(t, "AUTH secret")), done},
		{frame(fin|text, `  "AUTH" secret`), done},
		{frame(fin|text, "AUTH secret1"), no},
		{frame(fin|text, "AUTH my secret"), bad},
		{frame(fin|text, `AUTH "secret`), bad},
		{frame(fin|text, "PING"), `"PONG"`},
	} {
		w.send(row.send)
		require.Equal(t, row.want, w.said(), "%q", row.send)
	}
	mu.Lock()
	require.Equal(t, []string{"PING", "PING"}, seen)
	mu.Unlock()

	j := open(t, address, "heliograph.json.v1")
	j.send(`{"id": 1, "args": ["secret"], "command": "AUTH"}`)
	require.Contains(t, j.raw(), `"status":"authenticated"`)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 2)
}

// A principal that is changed while Allow decides about the former one.
func revokedDuringSub(t *testing.T) {
	cfg := anything
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) { return gateway.Principal{Name: "alice"}, nil }
	cfg.Allow = func(ctx context.Context, c *gateway.Conn, _ gateway.Op, _ string) bool {
		if c.Principal().Name != "alice" {
			return false
		}
		c.SetPrincipal(ctx, gateway.Principal{Name: "mallory"})
		return true
	}
	h, address := serve(t, storagetest.New(t), cfg)
	require.Equal(t, gateway.CodeForbidden, open(t, address).does("SUB secrets"))
	require.Zero(t, h.Stats().Subscriptions)
}

func refresh(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Write: 20 * time.Millisecond}
	expires := time.Now().Add(time.Second)
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) {
		return gateway.Principal{Name: "alice", Expires: expires}, nil
	}
	cfg.Refresh = func(_ context.Context, _ *gateway.Conn, credentials string) (gateway.Principal, error) {
		if credentials != "the token" {
			return gateway.Principal{}, errors.New("ERR the secret is 42")
		}
		return gateway.Principal{Name: "bob"}, nil
	}
	cfg.Allow = func(_ context.Context, c *gateway.Conn, _ gateway.Op, name string) bool {
		return strings.HasPrefix(name, c.Principal().Name) || name == "all"
	}
	_, address := serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	b.send("SUB alice.1")
	b.send("SUB all")
	require.Equal(t, gateway.CodeForbidden, b.does("SUB bob.1"))
	b.send("AUTH wrong")
	require.NotContains(t, b.from("error"), "42")
	b.send(`AUTH "the token"`)
	require.JSONEq(t, `{"status": "unsubscribed", "channel": "alice.1"}`, b.from("websocket"))
	require.JSONEq(t, `{"status": "authenticated"}`, b.from("websocket"))
	require.Equal(t, gateway.CodeForbidden, b.does("SUB alice.1"))
	require.Empty(t, b.does("SUB bob.1"))
	require.Eventually(t, func() bool { return time.Now().After(expires.Add(50 * time.Millisecond)) }, 10*time.Second, time.Millisecond)
	require.Empty(t, b.does("PING"), "the former principal does not expire")
}

func idleSockets(t *testing.T) {
	for code, limits := range map[gateway.CloseCode]gateway.Limits{
		gateway.CloseIdle:     {Idle: 30 * time.Millisecond, Ping: 5 * time.Millisecond}, // pongs are no sign of life
		gateway.CloseLifetime: {Lifetime: 30 * time.Millisecond},
	} {
		cfg := anything
		cfg.Limits = limits
		h, address := serve(t, storagetest.New(t), cfg)
		require.Equal(t, code, open(t, address).closed())
		require.EqualValues(t, 1, h.Stats().Ended)
		empty(t, h)
	}
}

// A connection gets no broadcasts while a Connect hook decides about it.
func notAcceptedYet(t *testing.T) {
	asked, refuse := make(chan *gateway.Conn), make(chan error)
	cfg := anything
	cfg.Hooks = []gateway.Hooks{{Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
		asked <- c
		return <-refuse
	}}}
	h, address := serve(t, storagetest.New(t), cfg)
	t.Cleanup(func() { close(refuse) })
	for _, err := range []error{errors.New("no"), nil} {
		b := open(t, address)
		<-asked
		require.Empty(t, h.Conns())
		gateway.Broadcast([]byte(`{"source": "host", "content": "for members"}`), h.Conns()...)
		refuse <- err
		if err != nil {
			_, _, closed := b.conn.Read(t.Context())
			require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(closed), "and nothing before")
			continue
		}
		require.Eventually(t, func() bool { return len(h.Conns()) == 1 }, patience, time.Millisecond)
	}
}
