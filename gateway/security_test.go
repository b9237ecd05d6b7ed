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
	"github.com/heliograph/heliograph/storage"
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

func accessControl(t *testing.T) {
	a := []gateway.Channel{{Pattern: "a*"}}
	yes := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return true }
	no := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return false }
	gets := func(_ context.Context, _ *gateway.Conn, op gateway.Op, _ string) bool { return op == gateway.OpGet }
	const forbidden, none = gateway.CodeForbidden, gateway.CodeBadCommand
	for _, row := range []struct {
		name            string
		cfg             gateway.Config
		sub, get, getB  gateway.Code // of a, and of b
		both, subB, pub gateway.Code
	}{
		{"nothing", gateway.Config{}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"channels", gateway.Config{Channels: a}, "", forbidden, forbidden, forbidden, forbidden, none},
		{"keys", gateway.Config{Keys: []string{"a*"}}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"both", gateway.Config{Channels: a, Keys: []string{"a*"}}, "", "", forbidden, "", forbidden, none},
		{"allow", gateway.Config{Allow: yes}, "", "", "", "", "", none},
		{"allow nothing", gateway.Config{Allow: no}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"allow to get", gateway.Config{Allow: gets}, forbidden, "", "", forbidden, forbidden, none},
		{"channels, allow", gateway.Config{Channels: a, Allow: yes}, "", forbidden, forbidden, forbidden, forbidden, none},
		{"channels, allow nothing", gateway.Config{Channels: a, Allow: no}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"keys, allow", gateway.Config{Keys: []string{"a*"}, Allow: yes}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"both, allow", gateway.Config{Channels: a, Keys: []string{"a*"}, Allow: yes}, "", "", forbidden, "", forbidden, none},
		{"both, allow to get", gateway.Config{Channels: a, Keys: []string{"a*"}, Allow: gets}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"publish", gateway.Config{ClientPublish: true}, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden},
		{"publish, keys", gateway.Config{ClientPublish: true, Keys: []string{"a*"}}, forbidden, "", forbidden, forbidden, forbidden, forbidden},
		{"publish, channels", gateway.Config{ClientPublish: true, Channels: a}, "", forbidden, forbidden, forbidden, forbidden, ""},
		{"publish, allow to get", gateway.Config{ClientPublish: true, Channels: a, Allow: gets}, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, address := serve(t, storagetest.New(t), row.cfg)
			b := open(t, address)
			require.Equal(t, row.sub, b.does("SUB a"))
			require.Equal(t, row.get, b.does("GET a"))
			require.Equal(t, row.get, b.does("GET a field"))
			require.Equal(t, row.getB, b.does("GET b"))
			require.Equal(t, row.both, b.does("SUB a snapshot=1"))
			require.Equal(t, row.subB, b.does("SUB b"))
			require.Equal(t, row.pub, b.does("PUB a 1"))
			require.Equal(t, none, b.does("WHO a"), "nothing keeps it")
			require.Equal(t, none, b.does("AUTH x"), "there is no Refresh")
		})
	}
}

// A star doesn't reach the keys and channels of this module: a pattern must name them.
func ownNames(t *testing.T) {
	const forbidden = gateway.CodeForbidden
	star := []gateway.Channel{{Pattern: "*"}}
	yes := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return true }
	for _, row := range []struct {
		name      string
		cfg       gateway.Config
		get, subs gateway.Code
	}{
		{"star", gateway.Config{Channels: star, Keys: []string{"*"}}, forbidden, forbidden},
		{"star, allow", gateway.Config{Channels: star, Keys: []string{"*"}, Allow: yes}, forbidden, forbidden},
		{"allow", gateway.Config{Allow: yes}, forbidden, forbidden},
		{"part of the name", gateway.Config{Channels: []gateway.Channel{{Pattern: "k*"}}, Keys: []string{"?w:*"}}, forbidden, forbidden},
		{"by name", gateway.Config{Channels: []gateway.Channel{{Pattern: "kw:stage:*"}}, Keys: []string{"kw:{stage}:v:*"}}, "", ""},
		{"star and name", gateway.Config{Channels: append(star, gateway.Channel{Pattern: "kw:*"}), Keys: []string{"*", "kw:*"}}, "", ""},
		{"name, allow", gateway.Config{Channels: []gateway.Channel{{Pattern: "kw:*"}}, Keys: []string{"kw:*"}, Allow: yes}, "", ""},
		{"prefix of its own", gateway.Config{Channels: star, Keys: []string{"*"}, KeyPrefix: "web:", ChannelPrefix: "web:"}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.ClientPublish = true
			_, address := serve(t, storagetest.New(t), row.cfg)
			b := open(t, address)
			require.Equal(t, row.get, b.does("GET kw:{stage}:v:TEMP"))
			require.Equal(t, row.subs, b.does("SUB kw:stage:0:changes"))
			require.Equal(t, row.subs, b.does("PUB kw:stage:0:changes 1"))
		})
	}
	_, address := serve(t, storagetest.New(t), gateway.Config{Channels: star, Keys: []string{"*"}, KeyPrefix: "k", ChannelPrefix: "k"})
	b := open(t, address)
	require.Equal(t, forbidden, b.does("GET w:{stage}:v:TEMP"), "the prefix makes it one")
	require.Equal(t, forbidden, b.does("SUB w:stage:0:changes"))
	for _, name := range []string{"bus:a", "pubsub:a", "gateway:a", "fws:a", "jobs:a"} {
		_, address := serve(t, storagetest.New(t), anything)
		require.Equal(t, forbidden, open(t, address).does("GET "+name), name)
	}
}

// Allow is asked each time, with the names unchanged.
func collisions(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	cfg := gateway.Config{KeyPrefix: "k:", ChannelPrefix: "c:", Allow: func(_ context.Context, c *gateway.Conn, op gateway.Op, name string) bool {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, string(op)+" "+name)
		return name == "a_b"
	}}
	pool := storagetest.New(t)
	secret, err := pool.Key("secret")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().HSet(t.Context(), secret, "f", `"secret"`).Err())
	_, address := serve(t, pool, cfg)
	b := open(t, address)
	require.Empty(t, b.does("GET a_b"))
	require.Equal(t, gateway.CodeForbidden, b.does("GET a b"))
	require.Equal(t, gateway.CodeForbidden, b.does("GET a:b"))
	require.Empty(t, b.does("GET a_b"))
	require.Empty(t, b.does("SUB a_b"))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET "a_b "`))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET ../secret`))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET secret`))
	require.Equal(t, []string{"get a_b", "get a", "get a:b", "get a_b", "subscribe a_b", "get a_b ", "get ../secret", "get secret"}, asked)
}

func patterns(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, address := serve(t, pool, anything)
		b := open(t, address)
		key, err := pool.Key("trains")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().HSet(t.Context(), key, "1", "1").Err())
		for _, name := range []string{"*", "t*", "train?", "[t]rains", "trains*"} {
			require.Equal(t, gateway.CodeBadName, b.does("SUB "+name), name)
			b.send("GET " + name)
			require.Equal(t, "null", b.from(name), "a key of that name, which there is not")
		}
		n, err := pool.Redis().PubSubNumPat(t.Context()).Result()
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, pool.Redis().Publish(t.Context(), key, `1`).Err())
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"), "and nothing before")
	})
}

func keyspace(t *testing.T) {
	cfg := anything
	cfg.ClientPublish = true
	_, address := serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	for _, name := range []string{"__keyspace@0__:trains", "__keyevent@0__:hset", "__redis__:invalidate", "__"} {
		for _, command := range []string{"SUB ", "GET ", "DEL "} {
			require.Equal(t, gateway.CodeBadName, b.does(command+name))
		}
		require.Equal(t, gateway.CodeBadName, b.does(`PUB `+name+` 1`))
	}
}

func keyTypes(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, address := serve(t, pool, anything)
		ctx, c := t.Context(), pool.Redis()
		key := func(name string) string { k, _ := pool.Key(name); return k }
		require.NoError(t, c.Set(ctx, key("string"), "x", 0).Err())
		require.NoError(t, c.RPush(ctx, key("list"), "x").Err())
		require.NoError(t, c.SAdd(ctx, key("set"), "x").Err())
		require.NoError(t, c.Do(ctx, "ZADD", key("zset"), 1, "x").Err())
		require.NoError(t, c.Do(ctx, "XADD", key("stream"), "*", "f", "x").Err())
		b := open(t, address)
		for _, name := range []string{"string", "list", "set", "zset", "stream"} {
			require.Equal(t, gateway.CodeNotAHash, b.does("GET "+name), name)
			require.Equal(t, gateway.CodeNotAHash, b.does("GET "+name+" x"), name)
			require.Equal(t, gateway.CodeNotAHash, b.does("SUB "+name+" snapshot=1"), name)
			require.Empty(t, b.does("SUB "+name), "a channel may have any name")
		}
		require.Equal(t, 1, h.Stats().Connections)
	})
}
