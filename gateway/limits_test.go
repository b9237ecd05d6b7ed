package gateway_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func injection(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		for i, name := range []string{"a b", "a=b", `a"b`, `a\b`, "κ"} {
			require.NoError(t, pool.Redis().HSet(ctx, "odd:"+name, "f g", fmt.Sprint(i)).Err())
		}
		cfg := anything
		cfg.KeyPrefix = "odd:"
		_, address := serve(t, pool, cfg)
		b := open(t, address)
		for command, want := range map[string]string{
			`GET "a b"`: "0", `GET "a=b"`: "1", `GET "a\"b"`: "2", `GET "a\\b"`: "3", "GET κ": "4",
			`GET "a b" "f g"`: "0", "GET\t\"a b\"\n": "0", `"GET" "a b"`: "0",
			"GET nothing \"\r\nFLUSHALL\r\n\"": "null", "GET nothing \x00": "null", `GET nothing "*3\r"`: "",
		} {
			b.send(command)
			if e := b.next(); want == "" {
				require.Equal(t, "error", e.Source, command)
			} else {
				require.Equal(t, want, string(e.Content), command)
			}
		}
		for _, command := range []string{
			"GET \"a\r\nFLUSHALL\r\n\"", "GET a\x00b", "GET \"a\nb\"", "GET a\x7f", `GET ""`, "SUB \"a\r\nb\"", `SUB "a b"`, "SUB {a}",
		} {
			require.Equal(t, gateway.CodeBadName, b.does(command), "%q", command)
		}
		for _, command := range []string{"FLUSHALL", "EVAL return 0", "CONFIG GET *", "get a", "HGETALL a", "GET\x00 a", "PSUBSCRIBE *"} {
			require.Equal(t, gateway.CodeBadCommand, b.does(command), "%q", command)
		}
		n, err := pool.Redis().Exists(ctx, "odd:a b", "odd:κ").Result()
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
	})
}

func parsing(t *testing.T) {
	_, address := serve(t, storagetest.New(t), anything)
	b := open(t, address)
	for _, command := range []string{
		"", " \t\r\n", "nonsense", "GET", "GET a b c d", "SUB", "SUB a b", "DEL", "GET a=b", "GET a b=c", "SUB a snapshot=2", "SUB a snapshot=",
		"SUB a since=x", "SUB a snapshot=1 since=x", "SUB a =", "SUB a foo=1", `GET "a`, `GET "a\n"`, `GET "a\`, `SUB a since="1`, "=", `"`,
		"PING" + strings.Repeat(" x", 17), "PING x=1", `GET a ""`,
	} {
		require.Equal(t, gateway.CodeBadCommand, b.does(command), "%q", command)
	}
	for _, command := range []string{"GET " + strings.Repeat("n", 255), "DEL never", `SUB "a" snapshot="1"`} {
		require.Empty(t, b.does(command), command)
	}
	b.send("PING" + strings.Repeat(" x", 16))
	require.Equal(t, `"PONG"`, b.from("websocket"))
	require.Equal(t, gateway.CodeBadName, b.does("GET "+strings.Repeat("n", 256)))
	require.Equal(t, gateway.CodeBadName, b.does("SUB "+strings.Repeat("é", 128)), "bytes, not characters")

	cfg := anything
	cfg.ClientPublish = true
	_, publishing := serve(t, storagetest.New(t), cfg)
	b, reader := open(t, publishing), open(t, publishing)
	require.Empty(t, reader.does("SUB a"))
	for command, want := range map[string]string{
		`PUB a {"text": "a = b"} `: `{"text": "a = b"}`, `PUB a [1, {"a": 2}]`: `[1, {"a": 2}]`, `PUB a "{\"a\": 1}"`: `{"a": 1}`, `PUB a {x}`: `"{x}"`,
	} {
		require.Empty(t, b.does(command), command)
		require.Equal(t, want, reader.from("a"), command)
	}
	require.Equal(t, gateway.CodeBadCommand, b.does(`PUB a {"a": 1} 2`))
	require.Empty(t, b.does("GET {a}:b [c]"), "names may begin so")

	j := open(t, address, "heliograph.json.v1")
	for command, want := range map[string]string{
		``: "bad_command", `{`: "bad_command", `null`: "bad_command", `[]`: "bad_command", `7`: "bad_command", `{}`: "bad_command",
		`{"command": 7}`: "bad_command", `{"command": "PING", "what": 1}`: "bad_command", `{"command": "PING"} {}`: "bad_command",
		`{"command": "PING"}}`: "bad_command", `{"command": "PING"}]`: "bad_command", `{"command": "GET", "args": "a"}`: "bad_command",
		`{"command": "GET", "args": [null]}`: "bad_command", `{"command": "GET", "args": ["a\u0000"]}`: "bad_name",
		`{"command": "GET", "args": ["__x"]}`: "bad_name", `{"command": "SUB", "args": ["a"], "options": {"snapshot": 7}}`: "bad_command",
		`{"command": "PING", "id": {}}`: "bad_command", `{"command": "PING", "id": [1]}`: "bad_command",
		`{"command": "PING", "id": "` + strings.Repeat("x", 200) + `"}`:             "bad_command",
		`{"command": "GET", "args": [` + strings.Repeat("[", 20_000):                "bad_command",
		`{"command": "PING", "args": [` + strings.Repeat(`1,`, 16) + `1]}`:          "bad_command",
		`{"id": 1, "command": "GET", "args": ["` + strings.Repeat("n", 256) + `"]}`: "bad_name",
	} {
		j.send(command)
		var e struct{ Type, Code string }
		require.NoError(t, json.Unmarshal([]byte(j.raw()), &e))
		require.Equal(t, "error "+want, e.Type+" "+e.Code, command)
	}
	j.send(`{"id": "x", "command": "PING"}`)
	require.JSONEq(t, `{"type": "value", "id": "x", "source": "websocket", "content": "PONG"}`, j.raw())
	require.JSONEq(t, `{"type": "done", "id": "x"}`, j.raw())
}

func inboundSize(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Message: 100}
	h, address := serve(t, storagetest.New(t), cfg)
	for want, sent := range map[string][]byte{
		`"PONG"`:      frame(fin|text, "PING"+strings.Repeat(" ", 96)),
		`"PONG" `:     frames(frame(text, "PING"+strings.Repeat(" ", 95)), frame(fin|more, " ")),
		"close 1009":  frame(fin|text, "PING"+strings.Repeat(" ", 97)),
		"close 1009 ": frames(frame(text, strings.Repeat(" ", 100)), frame(fin|more, " ")),
	} {
		w := connect(t, address)
		w.send(sent)
		require.Equal(t, strings.TrimSpace(want), w.said())
	}
	require.EqualValues(t, 2, h.Stats().BadFrames)
}

// packed returns s as the payload of a message of permessage-deflate.
func packed(t testing.TB, s string) string {
	t.Helper()
	var out bytes.Buffer
	f, err := flate.NewWriter(&out, flate.BestCompression)
	require.NoError(t, err)
	_, _ = f.Write([]byte(s))
	require.NoError(t, f.Flush())
	return strings.TrimSuffix(out.String(), "\x00\x00\xff\xff")
}

func compressionBomb(t *testing.T) {
	cfg := anything
	cfg.Compression = true
	_, address := serve(t, storagetest.New(t), cfg)
	ping, bomb := packed(t, "PING"), packed(t, strings.Repeat(" ", 32<<20))
	require.Less(t, len(bomb), 64<<10)
	for name, row := range map[string]struct {
		send []byte
		want string
	}{
		"in a frame":              {frame(fin|rsv1|text, ping), `"PONG"`},
		"in fragments":            {frames(frame(rsv1|text, ping[:2]), frame(fin|pings, ""), frame(fin|more, ping[2:])), `pong , "PONG"`},
		"and then not":            {frames(frame(fin|rsv1|text, ping), frame(fin|text, "PING")), `"PONG", "PONG"`},
		"the longest message":     {frame(fin|rsv1|text, packed(t, "PING"+strings.Repeat(" ", 64<<10-4))), `"PONG"`},
		"one byte more":           {frame(fin|rsv1|text, packed(t, "PING"+strings.Repeat(" ", 64<<10-3))), "close 1009"},
		"a bomb":                  {frame(fin|rsv1|text, bomb), "close 1009"},
		"a bomb in fragments":     {frames(frame(rsv1|text, bomb[:100]), frame(fin|more, bomb[100:])), "close 1009"},
		"not deflated":            {frame(fin|rsv1|text, "PING"), "close 1007"},
		"cut off":                 {frame(fin|rsv1|text, bomb[:4]), "close 1007"},
		"not UTF-8":               {frame(fin|rsv1|text, packed(t, "GET \xff")), "close 1007"},
		"the bit on a fragment":   {frames(frame(rsv1|text, ping[:2]), frame(fin|rsv1|more, ping[2:])), "close 1002"},
		"the bit on a ping":       {frame(fin|rsv1|pings, ""), "close 1002"},
		"the other bits":          {frame(fin|rsv2|text, "PING"), "close 1002"},
		"nothing, which is wrong": {frame(fin|rsv1|text, ""), "bad_command"},
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
			w.send(row.send)
			var got []string
			for range strings.Split(row.want, ", ") {
				got = append(got, w.said())
			}
			require.Equal(t, row.want, strings.Join(got, ", "))
		})
	}
	for _, offer := range []string{"permessage-deflate; bogus=1", "permessage-deflate; server_max_window_bits=99", "x-webkit-deflate-frame", "permessage-deflate; server_max_window_bits=9"} {
		w := connect(t, address, "Sec-WebSocket-Extensions: "+offer)
		w.send(frame(fin|rsv1|text, ping))
		require.Equal(t, "close 1002", w.said(), "%s: declined", offer)
	}
}

// Whatever a client sends counts, also what is not a command.
func rateLimit(t *testing.T) {
	pool := storagetest.New(t)
	key, err := pool.Key("hash")
	require.NoError(t, err)
	for i := range 1000 {
		require.NoError(t, pool.Redis().HSet(t.Context(), key, fmt.Sprint(i), "1").Err())
		require.NoError(t, pool.Redis().HSet(t.Context(), key+"r", fmt.Sprint(i), "larger").Err())
	}
	hooked := make(chan string, 100)
	cfg := anything
	cfg.Limits = gateway.Limits{Commands: 0.01, CommandBurst: 5, Bytes: 1000}
	cfg.Commands = map[string]gateway.Command{"DEAR": {Run: func(context.Context, *gateway.Conn, gateway.Request) error { return nil }, Cost: 4.5}}
	cfg.Hooks = []gateway.Hooks{{Message: func(_ context.Context, _ *gateway.Conn, data []byte) ([]byte, error) {
		hooked <- string(data)
		return data, nil
	}}}
	_, address := serve(t, pool, cfg)
	for name, row := range map[string]struct {
		send  []byte
		times int
	}{
		"commands":         {frame(fin|text, "DEL x"), 5},
		"unknown commands": {frame(fin|text, "x"), 5},
		"not commands":     {frame(fin|text, `"`), 5},
		"nothing":          {frame(fin|text, ""), 5},
		"pings":            {frame(fin|pings, ""), 5},
		"dear commands":    {frame(fin|text, "DEAR"), 1},
		"large hashes":     {frame(fin|text, "GET hash"), 1},
		"too large hashes": {frame(fin|text, "GET hashr"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address)
			w.send(frames(bytes.Repeat(row.send, row.times), frame(fin|text, "PING"), frame(fin|pings, "")))
			for got := ""; got != "too_fast"; got = w.said() {
				require.NotEqual(t, `"PONG"`, got)
			}
			for len(hooked) > 0 {
				require.NotEqual(t, "PING", <-hooked, "hooks don't see it")
			}
			w.send(closing(1000, ""))
			require.Equal(t, "close 1000", w.said(), "and there was no pong")
		})
	}
	j := open(t, address, "heliograph.json.v1")
	for range 5 {
		j.send(`{"id": 1, "command": "DEL", "args": ["x"]}`)
		require.JSONEq(t, `{"type": "done", "id": 1}`, j.raw())
	}
	j.send(`{"id": 6, "command": "PING"}`)
	require.Contains(t, j.raw(), `"id":6,"code":"too_fast"`)
}

// What a client causes costs it by its size: after each of these, nothing of the burst is
// left.
func rateOfBytes(t *testing.T) {
	pool := storagetest.New(t)
	const large = 60 << 10
	require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "hash"), "f", strings.Repeat("1", 100<<10)).Err())
	client, err := pubsub.NewClient(pool, pubsub.Config{})
	require.NoError(t, err)
	topic := pubsub.NewTopic[string]("log").WithCodec(storage.JSON).WithHistory(kept)
	publish := func() {
		_, err := pubsub.Publish(t.Context(), client, topic, strings.Repeat("x", large))
		require.NoError(t, err)
	}
	cfg := gateway.Config{
		Channels: []gateway.Channel{{Pattern: "log", History: &kept}, {Pattern: "*"}}, Keys: []string{"*"},
		ClientPublish: true, Compression: true,
	}
	_, address := serve(t, pool, cfg)
	first := open(t, address)
	first.send("SUB log")
	first.status()
	publish()
	since := first.next().Offset
	publish()
	publish()
	cfg.Limits = gateway.Limits{Commands: 1e-3, CommandBurst: 5}
	_, address = serve(t, pool, cfg)
	for name, send := range map[string][]byte{
		"a large field":          frame(fin|text, "GET hash f"),
		"a large hash":           frame(fin|text, "GET hash"),
		"a snapshot":             frame(fin|text, "SUB hash snapshot=1"),
		"a recall":               frame(fin|text, "SUB log since="+since),
		"a publication":          frame(fin|text, "PUB a "+strings.Repeat("1", large)),
		"a compressed one":       frame(fin|rsv1|text, packed(t, "PUB a "+strings.Repeat("1", large))),
		"a message in fragments": frames(frame(text, "DEL x"), frame(fin|more, strings.Repeat(" ", large))),
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address, deflate)
			w.send(frames(send, frame(fin|text, "PING")))
			for got := ""; got != "too_fast"; got = w.said() {
				require.NotEqual(t, `"PONG"`, got)
			}
		})
	}
}

func snapshotAmplification(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := anything
		cfg.Limits = gateway.Limits{Fields: 10, Bytes: 100}
		_, address := serve(t, pool, cfg)
		b := open(t, address)
		for name, row := range map[string]struct {
			fields, bytes int
			want          gateway.Code
		}{"fits": {10, 10, ""}, "fields": {11, 1, gateway.CodeTooLarge}, "bytes": {10, 11, gateway.CodeTooLarge}, "one": {1, 101, gateway.CodeTooLarge}} {
			key, err := pool.Key(name)
			require.NoError(t, err)
			for i := range row.fields {
				require.NoError(t, pool.Redis().HSet(t.Context(), key, i, strings.Repeat("1", row.bytes)).Err())
			}
			require.Equal(t, row.want, b.does("GET "+name), name)
			require.Equal(t, row.want, b.does("SUB "+name+" snapshot=1"), name)
		}
		require.Equal(t, gateway.CodeTooLarge, b.does("GET one 0"))
		require.Empty(t, b.does("GET fields 0"))
	})
}

func slowConsumer(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Write: 100 * time.Millisecond, LogBytes: 256 << 10}
	pool := storagetest.New(t)
	h, address := serve(t, pool, cfg)
	slow := connect(t, address)
	slow.send(frame(fin|text, "SUB c ack=1"))
	slow.text()
	b := open(t, address)
	require.Empty(t, b.does("SUB c"))
	key, err := pool.Key("c")
	require.NoError(t, err)
	payload := `"` + strings.Repeat("x", 60<<10) + `"`
	require.Eventually(t, func() bool {
		require.NoError(t, pool.Redis().Publish(t.Context(), key, payload).Err())
		require.Equal(t, payload, b.from("c"), "the other one has them all")
		return h.Stats().Slow == 1 && h.Stats().Connections == 1
	}, 20*time.Second, time.Millisecond)
}

// A client that reads a large answer slowly is not silent: the ping that it should
// answer comes after it.
func pingPong(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Ping: 10 * time.Millisecond, Pong: time.Second, Bytes: 64 << 20, Write: 20 * time.Second}
	pool := storagetest.New(t)
	h, address := serve(t, pool, cfg)
	key, err := pool.Key("large")
	require.NoError(t, err)
	value := `"` + strings.Repeat("x", 1<<20) + `"`
	for i := range 16 {
		require.NoError(t, pool.Redis().HSet(t.Context(), key, i, value).Err())
	}
	w := connect(t, address)
	w.send(frame(fin|text, "GET large"))
	values, answered := 0, 0
	for values < 16 || answered < 5 { // a client that answers pings stays
		if f := w.next(); f.Header.Length == 0 {
			w.send(frame(fin|pongs, ""))
			answered++
			continue
		}
		values++
		if values == 1 { // the rest fills all buffers
			begun := time.Now()
			require.Eventually(t, func() bool { return time.Since(begun) > 1500*time.Millisecond }, 10*time.Second, 10*time.Millisecond)
		}
	}
	require.Zero(t, h.Stats().Dropouts)
	require.Eventually(t, func() bool { return h.Stats().Dropouts == 1 }, 10*time.Second, time.Millisecond, "a client that does not answer is dropped")
}

// No limit is measured by the system's clock, which may be set while clients are
// connected: a step of -60 s emptied every bucket.
func TestNoLimitIsMeasuredByTheSystemsClock(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.HasSuffix(file, "_test.go") {
			require.NotRegexp(t, `\.Unix(Nano|Milli)?\(\)`, string(source), file)
		}
	}
}
