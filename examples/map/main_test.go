package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 20 * time.Second

// start serves a map on a port, or any, until the test or stop ends it.
func start(t *testing.T, pool *storage.Pool, port string, objects int) (url string, stop func()) {
	t.Helper()
	var listener net.Listener
	require.Eventually(t, func() bool { // the kernel takes a moment, now and then, to give a port back
		var err error
		listener, err = net.Listen("tcp", net.JoinHostPort("localhost", port))
		return err == nil
	}, 20*time.Second, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, io.Discard, pool, listener, objects) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}

// publish has an object be somewhere, as any other program could.
func publish(t *testing.T, pool *storage.Pool, id, kind string, at point) {
	t.Helper()
	key, err := pool.Key(objectsName)
	require.NoError(t, err)
	data, err := json.Marshal(newFeature(id, kind, id, "Point", at))
	require.NoError(t, err)
	require.NoError(t, pool.Redis().Publish(t.Context(), key, data).Err())
}

// message is what the gateway sends.
type message struct {
	Source  string
	Content json.RawMessage
}

// feature returns what a message says of a feature, and its place if it has one.
func (m message) feature(t *testing.T) (id string, at *point) {
	t.Helper()
	var f struct {
		ID       string
		Geometry *struct{ Coordinates point }
	}
	require.NoError(t, json.Unmarshal(m.Content, &f))
	if f.Geometry == nil {
		return f.ID, nil
	}
	return f.ID, &f.Geometry.Coordinates
}

// client is a page without a browser.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

func dial(t *testing.T, url string) *client {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url+"/ws", nil)
	require.NoError(t, err)
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t, conn}
}

func (c *client) send(commands ...string) {
	c.t.Helper()
	for _, command := range commands {
		require.NoError(c.t, c.conn.Write(c.t.Context(), websocket.MessageText, []byte(command)))
	}
}

func (c *client) next() (m message) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	require.NoError(c.t, err)
	require.NoError(c.t, json.Unmarshal(data, &m))
	require.NotEqual(c.t, "error", m.Source, "%s", m.Content)
	return m
}

// until returns what comes up to a message that is as wanted.
func (c *client) until(wanted func(message) bool) (all []message) {
	c.t.Helper()
	for {
		m := c.next()
		all = append(all, m)
		if wanted(m) {
			return all
		}
	}
}

func says(content string) func(message) bool {
	return func(m message) bool { return strings.Contains(string(m.Content), content) }
}

func TestAPageGetsItsBoxInItsProjection(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		url, stop := start(t, pool, "0", 300)
		c := dial(t, url)
		key, err := pool.Key(groundName)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return pool.Redis().Exists(t.Context(), key).Val() == 1 }, patience, time.Millisecond)
		c.send("PROJECTION epsg:2056", "GET ground", "PING")
		towns := make(map[string]point)
		for _, m := range c.until(says("PONG")) {
			if id, at := placeOf(m); at != nil {
				towns[id] = *at
			}
		}
		require.Len(t, towns, 22)
		swiss, err := geo.Lookup(2056)
		require.NoError(t, err)
		x, y := swiss.Forward(8.54, 47.38)
		require.Equal(t, point{x, y}, towns["Zürich"])

		const west, south, east, north = 2_550_000, 1_150_000, 2_700_000, 1_250_000
		c.send("BBOX 2550000 1150000 2700000 1250000 exit=1", "SUB objects snapshot=1", "SUB stats")
		here := make(map[string]bool)
		var published total
		for published.Messages < 700 {
			switch m := c.next(); m.Source {
			case objectsName:
				id, at := m.feature(t)
				if at == nil {
					require.True(t, here[id], "%s has left, and was never here", id)
					delete(here, id)
					continue
				}
				here[id] = true
				require.True(t, at[0] > west && at[0] < east && at[1] > south && at[1] < north, "%s", m.Content)
			case statsName:
				require.NoError(t, json.Unmarshal(m.Content, &published))
			}
		}
		require.Equal(t, 300, published.Objects)
		require.Greater(t, published.Bytes, 100*published.Messages)
		require.Greater(t, len(here), 20)
		require.Less(t, len(here), 250)

		publish(t, pool, "probe", "plane", point{7.44, 46.95})
		c.until(says(`"probe"`))
		publish(t, pool, "probe", "plane", point{3, 44})
		left := c.until(says(`"probe"`))
		require.JSONEq(t, `{"type": "Feature", "id": "probe", "geometry": null}`, string(left[len(left)-1].Content))

		done := make(chan struct{})
		go func() { defer close(done); stop() }()
		c.until(says(`"closing"`))
		<-done
		for _, name := range []string{groundName, objectsName, statsName} {
			key, err := pool.Key(name)
			require.NoError(t, err)
			require.Zero(t, pool.Redis().Exists(t.Context(), key).Val(), "%s is left behind", name)
		}
	})
}

// placeOf returns the name and place of a town, if a message is about one.
func placeOf(m message) (name string, at *point) {
	var f struct {
		Properties struct{ Kind, Name string }
		Geometry   struct{ Coordinates json.RawMessage }
	}
	if json.Unmarshal(m.Content, &f) != nil || f.Properties.Kind != "town" || json.Unmarshal(f.Geometry.Coordinates, &at) != nil {
		return "", nil
	}
	return f.Properties.Name, at
}

// Pages may see what is for them, and nothing else of that Redis.
func TestOtherNamesAreNotForPages(t *testing.T) {
	t.Parallel()
	url, _ := start(t, storagetest.New(t), "0", 1)
	c := dial(t, url)
	c.next() // it is open
	for _, command := range []string{"GET other", "SUB ground", "SUB other", "PUB objects {}"} {
		c.send(command)
		_, data, err := c.conn.Read(t.Context())
		require.NoError(t, err)
		require.Regexp(t, `"source": "error".*"(forbidden|bad_command)"`, string(data), command)
	}
}

// While Redis is unreachable one line is printed; once it is back, so is everything.
func TestRedisGoesAndComes(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	srv := storagetest.Start(t)
	f, err := newFeed(storagetest.Open(t, srv.Config()), 10)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	complaints, ended := make(chan error, 100), make(chan struct{})
	go func() { defer close(ended); f.run(ctx, func(err error) { complaints <- err }) }()
	pool := storagetest.Open(t, srv.Config())
	there := func() bool {
		for name, n := range map[string]int64{groundName: 70, objectsName: 10, statsName: 1} {
			key, err := pool.Key(name)
			require.NoError(t, err)
			if pool.Redis().HLen(ctx, key).Val() < n {
				return false
			}
		}
		return true
	}
	require.Eventually(t, there, patience, 10*time.Millisecond)
	srv.Kill()
	require.Error(t, <-complaints)
	srv.Restart() // and it is empty
	require.Eventually(t, there, patience, 10*time.Millisecond)
	cancel()
	<-ended
	require.Empty(t, complaints)
}

func TestTheProgram(t *testing.T) {
	for _, server := range []string{"embedded", "redis"} {
		t.Run(server, func(t *testing.T) {
			t.Setenv("REDIS_URL", "")
			if server == "redis" {
				t.Setenv("REDIS_URL", "redis://"+storagetest.Start(t).Addr())
			}
			ctx, cancel := context.WithCancel(t.Context())
			out, in := io.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, in, 0, 10) }()
			line := make([]byte, 100)
			n, err := out.Read(line)
			require.NoError(t, err)
			_, url, ok := strings.Cut(strings.TrimSpace(string(line[:n])), "map: ")
			require.True(t, ok, "%s", line)
			for path, kind := range map[string]string{"": "text/html", "style.css": "text/css", "map.js": "text/javascript", "view.js": "text/javascript", "draw.js": "text/javascript"} {
				resp, err := http.Get(url + "/" + path)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, http.StatusOK, resp.StatusCode, path)
				require.Contains(t, resp.Header.Get("Content-Type"), kind)
				require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'self'")
			}
			http.DefaultClient.CloseIdleConnections()
			cancel()
			require.NoError(t, <-ended)
		})
	}
}

func TestWhatCanNotBe(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	taken, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	defer taken.Close()
	require.ErrorContains(t, run(t.Context(), io.Discard, taken.Addr().(*net.TCPAddr).Port, 1), "-port: ")
	require.EqualError(t, run(t.Context(), io.Discard, 65536, 1), "-port: 65536; want 0 to 65535")
	require.EqualError(t, run(t.Context(), io.Discard, 0, 0), "-objects: 0; want 1 to 4000")
	require.EqualError(t, run(t.Context(), io.Discard, 0, 4001), "-objects: 4001; want 1 to 4000")
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1")
	require.ErrorContains(t, run(t.Context(), io.Discard, 0, 1), "REDIS_URL: ")
	t.Setenv("REDIS_URL", "http://h")
	require.ErrorContains(t, run(t.Context(), io.Discard, 0, 1), `REDIS_URL: storage: Config.URL: unknown scheme "http"`)
}
