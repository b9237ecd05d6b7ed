package server_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The documentation of filtered_websocket, "A Closer Look At Redis Integration" and the
// quickstart, line by line. Its fws_server is this program, and its Redis at
// localhost:6379 is the test's. The storage object is tested in package fws. The
// environment excludes parallel tests.
func TestThePageOfFilteredWebsocket(t *testing.T) {
	t.Setenv("STORAGE_OBJECT_MODULE", "filtered_websocket.storage_objects.redis")
	t.Run("fws_server -h", func(t *testing.T) {
		var stdout, stderr strings.Builder
		require.Zero(t, server.Main(t.Context(), []string{"-h"}, &stdout, &stderr))
		for _, option := range []string{"-p", "-port", "-c", "-config", "-f", "-filters", "-key", "-cert", "-redis_host", "-redis_port", "-redis_channels", "-redis_key"} {
			require.Contains(t, stderr.String(), "\n  "+option+" ")
		}
	})
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		host, port, _ := strings.Cut(pool.Config().Redis.Addrs[0], ":")
		redis := []string{"--redis_host", host, "--redis_port", port}
		fws := func(args ...string) *program { return start(t, append(args, redis...)...) }

		// fws_server -f filtered_websocket.filters.stdout_pubsub
		p := fws("-f", "filtered_websocket.filters.stdout_pubsub")
		require.Eventually(t, func() bool { // no client is connected
			_ = pool.Redis().Publish(t.Context(), "global", "hello from the server!")
			return strings.Contains(p.stdout.String(), "hello from the server!")
		}, patience, 10*time.Millisecond)

		// fws_server -f filtered_websocket.filters.broadcast_pubsub
		p = fws("-f", "filtered_websocket.filters.broadcast_pubsub")
		ann := dial(t, p.ws)
		ann.follows(pool, "global")
		publish(t, pool, "global", "hello from the server!")
		ann.hears("hello from the server!")

		// python -m filtered_websocket.server -f … --redis_channels global
		p = fws("-f", "filtered_websocket.filters.broadcast_pubsub", "--redis_channels", "global")
		ann = dial(t, p.ws)
		ann.follows(pool, "global")

		// python -m filtered_websocket.server -f filtered_websocket.filters.broadcast_messages
		p = fws("-f", "filtered_websocket.filters.broadcast_messages", "filtered_websocket.filters.stdout_rawdata")
		ann = dial(t, p.ws)
		bob := dial(t, p.ws)
		bob.heardBy(ann)
		p.stdout.Await(t, "raw ")

		// python -m filtered_websocket.server -c config.json
		config := t.TempDir() + "/config.json"
		require.NoError(t, os.WriteFile(config, []byte(`{
			"port": "0",
			"flags": ["redis"],
			"filters": ["filtered_websocket.filters.broadcast_messages_by_token", "filtered_websocket.filters.stdout_messages"]
		}`), 0o600))
		p = fws("-c", config, "--redis_key", "my_app")
		ann, bob = dial(t, p.ws), dial(t, p.ws)
		for _, b := range []browser{ann, bob} {
			b.send("token:x")
			b.hears("Successfully registered with broadcast group: x")
		}
		ann.send("hello")
		bob.hears("hello")
		p.stdout.Await(t, `"hello"`)
		n, err := pool.Redis().Exists(t.Context(), "{fws:my_app}:owners").Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "--redis_key is in the names of keys")
	})
}

// heardBy sends until another client hears it: a client that has just connected may not be
// listed yet. It sends less often than Limits.Commands allows: what that refuses is no
// message.
func (b browser) heardBy(other browser) {
	b.t.Helper()
	heard := make(chan string, 1)
	go func() {
		_, data, _ := other.conn.Read(b.t.Context())
		heard <- string(data)
	}()
	limit := time.After(patience)
	for {
		b.send("hello")
		select {
		case data := <-heard:
			require.Equal(b.t, "hello", data)
			return
		case <-time.After(50 * time.Millisecond):
		case <-limit:
			require.Fail(b.t, "not heard")
		}
	}
}

func TestTheStorageObjectModule(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	for module, want := range map[string]string{
		"filtered_websocket.storage_objects.redis": "no Redis: ", // at localhost:1
		"my_module": `$STORAGE_OBJECT_MODULE: "my_module" is neither filtered_websocket.storage_objects.redis nor .default`,
	} {
		t.Setenv("STORAGE_OBJECT_MODULE", module)
		var stdout, stderr strings.Builder
		require.NotZero(t, server.Main(t.Context(), []string{"-p", "0", "--redis_port", "1"}, &stdout, &stderr))
		require.Contains(t, stderr.String(), want)
	}
	t.Setenv("STORAGE_OBJECT_MODULE", "filtered_websocket.storage_objects.default")
	start(t)
}
