package server_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) {
	_ = os.Unsetenv("REDIS_URL") // of the environment of the tests
	storagetest.Main(m)
}

// patience ends a test that waits for what does not happen. It is no limit for a loaded
// machine.
const patience = 2 * time.Minute

// program is a gateway that runs.
type program struct {
	ws, http       string // its URLs
	stdout, stderr printed.Page
	stop           context.CancelFunc
	status         chan int
}

var banner = regexp.MustCompile(`gateway: (wss?://\S+), and a page at (https?://\S+)\n`)

// start runs a gateway until the end of the test, or until stop.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &program{stop: stop, status: make(chan int, 1)}
	go func() {
		defer close(p.status)
		for {
			status := server.Main(ctx, append([]string{"-p", "0"}, args...), &p.stdout, &p.stderr)
			if !strings.Contains(p.stderr.String(), "address already in use") || ctx.Err() != nil {
				p.status <- status
				return
			}
			time.Sleep(10 * time.Millisecond) // the kernel takes a moment, now and then, to give a port back
		}
	}()
	t.Cleanup(func() {
		stop()
		select {
		case status := <-p.status:
			require.Zero(t, status, p.stderr.String())
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
	require.Eventually(t, func() bool { return len(p.status) > 0 || banner.MatchString(p.stderr.String()) }, patience, time.Millisecond)
	urls := banner.FindStringSubmatch(p.stderr.String())
	require.NotNil(t, urls, p.stderr.String())
	p.ws, p.http = urls[1], urls[2]
	return p
}

// browser is a client.
type browser struct {
	t    *testing.T
	conn *websocket.Conn
}

func dial(t *testing.T, url string) browser {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return browser{t, conn}
}

func (b browser) send(messages ...string) {
	b.t.Helper()
	for _, m := range messages {
		require.NoError(b.t, b.conn.Write(b.t.Context(), websocket.MessageText, []byte(m)))
	}
}

func (b browser) hears(want string) {
	b.t.Helper()
	require.Equal(b.t, want, b.next())
}

func (b browser) next() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	_, data, err := b.conn.Read(ctx)
	require.NoError(b.t, err)
	return string(data)
}

// frame reads an envelope, and returns its source and content.
func (b browser) frame() (source, content string) {
	b.t.Helper()
	var e map[string]json.RawMessage
	data := b.next()
	require.NoError(b.t, json.Unmarshal([]byte(data), &e), data)
	require.Len(b.t, e, 4, data)
	require.Contains(b.t, e, "client_reference")
	require.Regexp(b.t, `^\d{13}\.\d+$`, string(e["timestamp"]))
	require.NoError(b.t, json.Unmarshal(e["source"], &source))
	return source, string(e["content"])
}

func (b browser) gets(source, content string) {
	b.t.Helper()
	gotSource, gotContent := b.frame()
	require.Equal(b.t, source, gotSource, gotContent)
	require.JSONEq(b.t, content, gotContent)
}

// closed returns the code by which the connection ends.
func (b browser) closed() int {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := b.conn.Read(ctx); err != nil {
			return int(websocket.CloseStatus(err))
		}
	}
}

// redisURL is how a program finds the Redis of a pool.
func redisURL(pool *storage.Pool) string { return "redis://" + pool.Config().Redis.Addrs[0] }

// publish publishes, once there is a receiver.
func publish(t *testing.T, pool *storage.Pool, channel, message string) {
	t.Helper()
	n, err := pool.Redis().Publish(t.Context(), channel, message).Result()
	require.NoError(t, err)
	require.NotZero(t, n, "it has a receiver")
}

// follows returns when the client gets what is published on a channel, of which
// there is no other sign in the plain protocol.
func (b browser) follows(pool *storage.Pool, channel string) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = pool.Redis().Publish(ctx, channel, "anybody there?")
		}
	}()
	b.hears("anybody there?")
	cancel()
	<-ended
	publish(b.t, pool, channel, "yes")
	for b.next() != "yes" {
	}
}

// What the page examples/demo.html of redis_websocket_api sends, to the path that
// it has.
func TestAClientOfRedisWebsocketAPI(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx, redis := t.Context(), pool.Redis()
		require.NoError(t, redis.HSet(ctx, "example_channel_1", "initial_data_1", `{"some_json": "no GeoJSON"}`).Err())
		p := start(t, "-redis", redisURL(pool), "-channels", "example_channel_[12],example_other")
		b := dial(t, p.ws+"/ws")
		b.gets("websocket", `{"status": "open"}`)
		b.send("PROJECTION epsg:3857", "BBOX 0 0 1500000 7000000")
		b.send("GET example_channel_1", "GET example_channel_2", "GET example_channel_1 initial_data_1")
		b.gets("example_channel_1", `{"some_json": "no GeoJSON"}`)
		b.gets("example_channel_2", `null`)
		b.gets("example_channel_1 initial_data_1", `{"some_json": "no GeoJSON"}`)
		b.send("SUB example_channel_1", "SUB example_channel_2", "PING")
		b.gets("websocket", `"PONG"`)
		publish(t, pool, "example_channel_2", `{"id": 7}`)
		b.gets("example_channel_2", `{"id": 7}`)
		publish(t, pool, "example_channel_2", `{"type": "Point", "coordinates": [-0.1, 3.5]}`) // outside
		publish(t, pool, "example_channel_2", `{"type": "Point", "coordinates": [0, 0.5]}`)    // on the edge
		publish(t, pool, "example_channel_2", `{"type": "Point", "coordinates": [0.1, 3.5]}`)
		source, content := b.frame()
		require.Equal(t, "example_channel_2", source)
		var point struct{ Coordinates []float64 }
		require.NoError(t, json.Unmarshal([]byte(content), &point))
		require.InDeltaSlice(t, []float64{11131.949079326665, 389860.7582541955}, point.Coordinates, 1e-8)
		b.send("DEL example_channel_2", "PING")
		b.gets("websocket", `"PONG"`)
		require.NoError(t, redis.Publish(ctx, "example_channel_2", `{"id": 8}`).Err())
		publish(t, pool, "example_channel_1", `{"id": 9}`)
		b.gets("example_channel_1", `{"id": 9}`)
		b.send("GET example_channel_3")
		source, content = b.frame()
		require.Equal(t, "error", source)
		require.Contains(t, content, "forbidden")
	})
}

func TestClientsOfFilteredWebsocket(t *testing.T) {
	t.Parallel()
	t.Run("broadcast_messages", func(t *testing.T) {
		p := start(t, "-filters", "broadcast_messages,stdout_messages,stdout_rawdata")
		ann, bob := dial(t, p.ws), dial(t, p.ws)
		bob.heardBy(ann)
		ann.send("welcome")  // ann has heard from bob, so both are connected
		bob.hears("welcome") // and not what bob has sent
		require.Eventually(t, func() bool {
			out := p.stdout.String()
			return strings.Count(out, "raw ") >= 2 && strings.Count(out, "message ") == strings.Count(out, "raw ") && strings.Contains(out, `"welcome"`)
		}, patience, time.Millisecond, "%s", &p.stdout)
	})
	t.Run("broadcast_messages_by_token", func(t *testing.T) {
		p := start(t, "-f", "filtered_websocket.filters.broadcast_messages_by_token", "-storage", "memory")
		ann, bob := dial(t, p.ws), dial(t, p.ws)
		ann.send("hello")
		ann.hears("Error: No token has been set")
		ann.send("token:x")
		ann.hears("Successfully registered with broadcast group: x")
		bob.send("my token:x")
		bob.hears("Successfully registered with broadcast group: x")
		ann.send("hello")
		bob.hears("hello")
	})
	t.Run("broadcast_pubsub", func(t *testing.T) {
		storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
			host, port, _ := strings.Cut(pool.Config().Redis.Addrs[0], ":")
			p := start(t, "-f", "filtered_websocket.filters.broadcast_pubsub", "filtered_websocket.filters.stdout_pubsub",
				"--redis_host", host, "--redis_port", port, "--redis_channels", "global", "other")
			ann := dial(t, p.ws)
			ann.follows(pool, "global")
			ann.follows(pool, "other")
			publish(t, pool, "global", "hello")
			ann.hears("hello")
			publish(t, pool, "other", `{"a": 1}`)
			ann.hears(`{"a": 1}`)
			p.stdout.Await(t, "publication other: ")
		})
	})
}

func TestTwoProgramsShareTokens(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		args := []string{"-f", "broadcast_messages_by_token", "-redis", redisURL(pool), "--redis_key", "my_app"}
		one, two := start(t, args...), start(t, args...)
		ann, bob := dial(t, one.ws), dial(t, two.ws)
		for _, b := range []browser{ann, bob} {
			b.send("token:tuesday")
			b.hears("Successfully registered with broadcast group: tuesday")
		}
		ann.send("hello")
		bob.hears("hello")
		bob.send("hello yourself")
		ann.hears("hello yourself")
		n, err := pool.Redis().Exists(t.Context(), "{fws:my_app}:owners").Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	})
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	p := start(t, "-read_timeout", "0.1")
	require.Equal(t, 4000, dial(t, p.ws).closed())
	p = start(t, "-keep_alive_timeout", "100ms")
	require.Equal(t, 4002, dial(t, p.ws).closed())
}

func TestItClosesConnectionsWhenItEnds(t *testing.T) {
	t.Parallel()
	p := start(t)
	b := dial(t, p.ws)
	b.gets("websocket", `{"status": "open"}`)
	p.stop()
	source, content := b.frame()
	require.Equal(t, "websocket", source)
	require.Regexp(t, `^\{"reconnect_ms": ?\d+, ?"status": ?"closing"\}$`, content)
	require.Equal(t, 1012, b.closed())
}

func TestOriginsThatMayConnect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		origins, origin string
		want            int
	}{
		{"", "https://example.org", http.StatusForbidden}, {"", "null", http.StatusForbidden}, {"", "", http.StatusSwitchingProtocols},
		{"https://example.org", "https://example.org", http.StatusSwitchingProtocols}, {"https://example.org", "https://example.com", http.StatusForbidden},
		{"*", "https://example.com", http.StatusSwitchingProtocols},
	} {
		p := start(t, "-origins", c.origins)
		header := http.Header{}
		if c.origin != "" {
			header.Set("Origin", c.origin)
		}
		conn, resp, err := websocket.Dial(t.Context(), p.ws, &websocket.DialOptions{HTTPHeader: header})
		if err == nil {
			_ = conn.CloseNow()
		}
		require.NotNil(t, resp)
		require.Equal(t, c.want, resp.StatusCode, "%+v", c)
	}
}

func TestRequestsThatAreNoWebSocket(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, c := range []struct {
		method, path string
		want         int
		body         string
	}{
		{"GET", "/?upgrade=h2c", 200, "<title>"},
		{"GET", "/", 200, "<title>heliograph gateway</title>"}, {"GET", "/?x=1", 200, "<title>"}, {"HEAD", "/", 200, ""},
		{"GET", "/favicon.ico", 404, "404"}, {"POST", "/", 405, "a page, or a WebSocket"}, {"GET", "/%2e%2e/", 404, "404"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, p.http+c.path, nil)
		require.NoError(t, err)
		if protocol := req.URL.Query().Get("upgrade"); protocol != "" {
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocol}}
		}
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, c.want, resp.StatusCode, "%+v", c)
		require.Contains(t, string(body), c.body)
	}
}

func TestThePrefixAndTheDemoFeed(t *testing.T) {
	t.Parallel()
	p := start(t, "-prefix", "demo", "-storage", "memory")
	b := dial(t, p.ws)
	b.gets("websocket", `{"status": "open"}`)
	b.send("SUB trains snapshot=1")
	seen := make(map[string]int) // by train
	for len(seen) < 5 || seen["IC 6"] < 3 {
		source, content := b.frame()
		if source == "websocket" {
			continue
		}
		require.Equal(t, "trains", source)
		var f struct {
			ID       string
			Geometry struct{ Coordinates [2]float64 }
		}
		require.NoError(t, json.Unmarshal([]byte(content), &f))
		require.InDelta(t, 8.5, f.Geometry.Coordinates[0], 1.5)
		require.InDelta(t, 46.8, f.Geometry.Coordinates[1], 1)
		seen[f.ID]++
	}
}

// The page follows what of the feed clients may read.
func TestThePageKnowsWhatMayBeRead(t *testing.T) {
	t.Parallel()
	resp, err := http.Get(start(t, "-storage", "memory", "-channels", "c*,other").http)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `const follow = ["clock"] || []`)
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestTheConfigurationFile(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	require.NoError(t, pool.Redis().HSet(t.Context(), "site:b", "x", "1").Err())
	path := file(t, `{"redis": "`+redisURL(pool)+`", "prefix": "site", "channels": ["a", "b"], "read_timeout": 60, "filters": "stdout_messages", "p": "1"}`)
	p := start(t, "-c", path) // -p 0 wins
	b := dial(t, p.ws)
	b.gets("websocket", `{"status": "open"}`)
	b.send("GET b", "GET a")
	b.gets("b", "1")
	b.gets("a", "null")
	require.Contains(t, p.stdout.String(), `"GET b"`)

	b = dial(t, start(t, "--config", path, "-channels", "a", "-filters", "").ws)
	b.gets("websocket", `{"status": "open"}`)
	b.send("GET b")
	_, content := b.frame()
	require.Contains(t, content, "forbidden", "a flag wins")
}

func TestTheRedisOfTheEnvironment(t *testing.T) {
	pool := storagetest.New(t)
	t.Setenv("REDIS_URL", redisURL(pool))
	require.NoError(t, pool.Redis().HSet(t.Context(), "trains", "x", `"of the environment"`).Err())
	for _, c := range []struct{ storage, want string }{{"", `"of the environment"`}, {"redis", `"of the environment"`}, {"memory", ""}} {
		p := start(t, "-storage", c.storage, "-channels", "trains")
		b := dial(t, p.ws)
		b.gets("websocket", `{"status": "open"}`)
		b.send("GET trains x")
		b.gets("trains x", cmp.Or(c.want, "null"))
	}
	p := start(t)
	require.Contains(t, p.stderr.String(), "gateway: clients may read nothing: -channels says what they may\n")
	b := dial(t, p.ws)
	b.gets("websocket", `{"status": "open"}`)
	b.send("GET trains")
	_, content := b.frame()
	require.Contains(t, content, "forbidden")
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	taken, err := url.Parse(start(t).http)
	require.NoError(t, err)
	for _, c := range []struct {
		args   string
		status int
		want   string // FILE is that of -c
	}{
		{"-x", 2, "flag provided but not defined: -x"},
		{"-port", 2, "flag needs an argument: -port"},
		{"-p abc", 2, `invalid value "abc" for flag -p: parse error`},
		{"--port 70000", 2, "-port: there is no 70000"},
		{"stray", 2, `"stray" is not a flag`},
		{"-key k", 2, "-key, -cert: one needs the other"},
		{"-key " + nowhere + " -cert " + nowhere, 1, "-cert, -key: open " + nowhere + ": no such file or directory"},
		{"-filters nope", 2, `-filters: no "nope"; there are broadcast_messages, `},
		{"-storage disk", 2, `-storage: "disk" is neither redis nor memory`},
		{"-storage memory -redis redis://h", 2, "-storage memory: and yet a Redis is named"},
		{"-redis redis://h --redis_host h", 2, "-redis, -redis_host: one is enough"},
		{"--redis_host h --redis_port 0", 2, "-redis_port: there is no 0"},
		{"-redis http://h", 1, `storage: Config.URL: unknown scheme "http"`},
		{"-redis redis://127.0.0.1:1", 1, "no Redis: dial tcp 127.0.0.1:1: "},
		{"-storage memory --redis_port 6379", 2, "-storage memory: and yet a Redis is named"},
		{"-f broadcast_pubsub --redis_channels a a*", 2, `-redis_channels: "a*" is not the name of a channel`},
		{"--redis_channels __keyspace@0__:a", 2, `-redis_channels: "__keyspace@0__:a" is not the name`},
		{"-channels a -f stdout_pubsub broadcast_messages", 2, "-channels: with a filter that broadcasts, clients send no commands"},
		{"-channels [a", 2, `-channels: "[a" is not a glob`},
		{"-origins example.org", 1, `Config.Origins[0]: "example.org" is not like https://example.org`},
		{"-prefix a*", 1, `storage: Config.Prefix: name "a*": `},
		{"-f broadcast_messages_by_token --redis_key a* -redis redis://127.0.0.1:1", 1, "no Redis: "},
		{"-read_timeout soon", 2, `invalid value "soon" for flag -read_timeout: not a number of seconds, nor a time like 1m30s`},
		{"-keep_alive_timeout -1", 2, `invalid value "-1" for flag -keep_alive_timeout: not `},
		{"-p " + taken.Port(), 1, "listen tcp 127.0.0.1:" + taken.Port() + ": bind: address already in use"},
		{"-c " + nowhere, 2, "open " + nowhere + ": no such file or directory"},
		{`-c=[]`, 2, "FILE: not a JSON object: "},
		{`-c={"port":8765}{}`, 2, "FILE: more follows after the object"},
		{`-c={"color":"red"}`, 2, `FILE: unknown key "color"`},
		{`-c={"config":"x"}`, 2, `FILE: unknown key "config"`},
		{`-c={"p":1,"port":2}`, 2, `FILE: "p" and "port" are the same`},
		{`-c={"port":{}}`, 2, `FILE: "port": must be a string, a number, true, false or a list of strings`},
		{`-c={"port":true}`, 2, `FILE: "port": parse error`},
		{`-c={"port":1.5}`, 2, `FILE: "port": parse error`},
		{`-c={"redis_port":1}`, 1, "no Redis: dial tcp "},
		{`-c={"filters":[1]}`, 2, `FILE: "filters": a list must be of strings`},
		{`-c={"filters":"nope"}`, 2, `-filters: no "nope"; `},
	} {
		args, name := strings.Fields(c.args), ""
		if content, ok := strings.CutPrefix(c.args, "-c="); ok {
			name = file(t, content)
			args = []string{"-c", name}
		}
		var stdout, stderr printed.Page
		require.Equal(t, c.status, server.Main(t.Context(), args, &stdout, &stderr), "%s: %s", c.args, &stderr)
		require.True(t, strings.HasPrefix(stderr.String(), "gateway: "+strings.Replace(c.want, "FILE", name, 1)), "%s: %s", c.args, &stderr)
		require.Equal(t, 1, strings.Count(stderr.String(), "\n"), "%s: %s", c.args, &stderr)
		require.Empty(t, stdout.String())
	}
	var stdout, stderr printed.Page
	require.Zero(t, server.Main(t.Context(), []string{"--help"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "usage: gateway [flags]")
}
