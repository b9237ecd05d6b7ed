package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// everything has all there is switched on.
func everything() gateway.Config {
	return gateway.Config{
		Channels: []gateway.Channel{
			{Pattern: "history", History: &pubsub.History{Size: 10, TTL: time.Minute}},
			{Pattern: "presence", Presence: true},
			{Pattern: "newest", Slow: gateway.SlowConflate},
			{Pattern: "*", Slow: gateway.SlowDropOldest},
		},
		Keys: []string{"*"},
		Refresh: func(_ context.Context, _ *gateway.Conn, name string) (gateway.Principal, error) {
			if name == "" {
				return gateway.Principal{}, errors.New("no name")
			}
			return gateway.Principal{Name: name}, nil
		},
		ClientPublish: true,
		Compression:   true,
		Hooks:         []gateway.Hooks{echoes},
		Limits:        gateway.Limits{Channels: 8, Commands: 1e9, CommandBurst: 1e9},
	}
}

// seeds are one message of every command and more, in both protocols.
var seeds = []string{
	"PING", "HELP", "GET hash", "GET hash a", `GET "hash" a "my ref"`, "GET none", "SUB c", "SUB c ack=1", "SUB hash snapshot=1", "DEL c", `PUB c "{\"a\": 1}"`,
	"SUB history since=", "SUB history snapshot=1", "SUB history since=abc:1", "SUB presence", "WHO presence", "AUTH alice", `PUB history "1"`, "SUB newest ack=1",
	"", " ", `"`, "=", "\x00", "GET string", "GET __keyspace@0__:x", "SUB *", "PING" + strings.Repeat(" x", 17),
	`{"id": 1, "command": "PING"}`, `{"id": "a", "command": "HELP"}`, `{"id": 2, "command": "GET", "args": ["hash", "a"]}`, `{"command": "GET", "args": ["hash"]}`,
	`{"id": 3, "command": "SUB", "args": ["hash"], "options": {"snapshot": true}}`, `{"id": 4, "command": "SUB", "args": ["history"], "options": {"since": "abc:1", "ack": 1}}`,
	`{"id": 5, "command": "PUB", "args": ["c", {"a": [1, 2, null]}]}`, `{"id": 6, "command": "WHO", "args": ["presence"]}`, `{"id": 7, "command": "AUTH", "args": ["alice"]}`,
	`{"id": 8, "command": "DEL", "args": ["c"]}`, `{"id": {}}`, `[]`, `{"command": "GET", "args": [null]}`, `{`,
}

// target is a gateway with data, to be shot at.
func target(t testing.TB) (*gateway.Handler, string) {
	t.Helper()
	pool := storagetest.New(t)
	hash, err := pool.Key("hash")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().HSet(t.Context(), hash, "a", `{"v": 1}`, "b", "not JSON").Err())
	text, err := pool.Key("string")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().Set(t.Context(), text, "x", 0).Err())
	return serve(t, pool, everything())
}

// shoot sends bytes to a connection and takes what it says until the end.
func shoot(t testing.TB, address string, data []byte, lines ...string) {
	t.Helper()
	w := connect(t, address, lines...)
	defer w.conn.Close()
	go func() {
		_, _ = w.conn.Write(data)
		_, _ = w.conn.Write(closing(1000, ""))
		_ = w.conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	for {
		f, err := readFrame(w.in)
		if err != nil { // it is closed, cleanly or by a reset: more has come than was read
			return
		}
		require.False(t, f.Header.Masked)
	}
}

// framed makes frames of data: of each a first byte, a length and a payload.
func framed(data []byte) []byte {
	var all []byte
	for len(data) > 2 {
		n := min(int(data[1]), len(data)-2)
		all = append(all, frame(data[0], string(data[2:2+n]))...)
		data = data[2+n:]
	}
	return all
}

var deflate = "Sec-WebSocket-Extensions: permessage-deflate"

func FuzzFrames(f *testing.F) {
	for _, row := range rfc {
		if len(row.send) < 1000 {
			f.Add(row.send)
		}
	}
	for _, seed := range seeds {
		f.Add(append([]byte{fin | text, byte(len(seed))}, seed...))
	}
	h, address := target(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		shoot(t, address, data)
		shoot(t, address, framed(data), deflate)
		gone(t, h)
	})
}

// gone is empty that does not wait for ticks: for fuzzing, where there is one after
// the other.
func gone(t testing.TB, h *gateway.Handler) {
	for begun := time.Now(); h.Stats().Connections > 0; {
		require.Less(t, time.Since(begun), 20*time.Second, "a connection is left")
		time.Sleep(20 * time.Microsecond)
	}
}

// speak sends a message and then asks whether the connection is still there. All
// answers must be JSON.
func speak(t testing.TB, address, message, ping, pong string, lines ...string) {
	w := connect(t, address, lines...)
	defer w.conn.Close()
	first := byte(fin | text)
	if !utf8.ValidString(message) {
		first = fin | binaries
	}
	w.send(frames(frame(first, message), frame(fin|text, ping)))
	for f := w.next(); ; f = w.next() {
		if strings.Contains(string(f.Payload), pong) {
			return
		}
		require.NotEqual(t, ws.OpClose, f.Header.OpCode, "%q", f.Payload)
		switch said := string(f.Payload); said {
		case message, ping, lastWords: // broadcast, by the client before as well
		default:
			require.True(t, json.Valid(f.Payload), said)
		}
	}
}

// lastWords are the ping of the text protocol. A message that is answered like it
// ends the client before they are carried out.
const lastWords = "PING x"

func FuzzCommands(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	h, address := target(f)
	f.Fuzz(func(t *testing.T, message string) {
		if len(message) > 64<<10 {
			return
		}
		speak(t, address, message, lastWords, `"content": "PONG"`)
		speak(t, address, message, `{"id": "the last", "command": "PING"}`, `{"type":"done","id":"the last"}`, "Sec-WebSocket-Protocol: heliograph.json.v1")
		gone(t, h)
	})
}

func FuzzText(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, message string) {
		r, err := gateway.Text.Parse([]byte(message), 16)
		if err == nil { // what it understood it understands again, in quotes
			again := `"` + quote.Replace(r.Command) + `"`
			for _, arg := range r.Args {
				again += ` "` + quote.Replace(arg) + `"`
			}
			same, err := gateway.Text.Parse([]byte(again), 16)
			require.NoError(t, err)
			require.Equal(t, r.Command, same.Command)
			require.True(t, slices.Equal(r.Args, same.Args))
		}
		j, _ := gateway.JSON.Parse([]byte(message), 16)
		for _, p := range []gateway.Protocol{gateway.Text, gateway.JSON} {
			for kind := range gateway.KindBroadcast {
				f := gateway.Frame{Kind: kind, Source: message, Ref: j.Ref, Code: "c", Message: message, Command: message, Offset: message}
				if b := p.Append(nil, &f); len(b) > 0 {
					require.True(t, json.Valid(b), "%s", b)
					require.True(t, utf8.Valid(b), "%q", b)
				}
			}
		}
	})
}

// A megabyte of anything, each way.
func TestRandomBytes(t *testing.T) {
	t.Parallel()
	h, address := target(t)
	const size, part = 1 << 20, 4 << 10
	random := rand.NewChaCha8([32]byte{'h'})
	chunk := make([]byte, part)
	for name, shot := range map[string]func(data []byte){
		"on the socket":      func(data []byte) { shoot(t, address, data) },
		"as frames":          func(data []byte) { shoot(t, address, framed(data)) },
		"as deflated frames": func(data []byte) { shoot(t, address, framed(data), deflate) },
		"as bytes":           func(data []byte) { shoot(t, address, frame(fin|binaries, string(data))) },
		"as commands": func(data []byte) {
			var all []byte
			for line := range strings.SplitSeq(strings.ToValidUTF8(string(data), ""), " ") {
				all = append(all, frame(fin|text, line)...)
			}
			shoot(t, address, all)
		},
		"behind commands": func(data []byte) {
			speak(t, address, fmt.Sprintf("%s %q", seeds[int(data[0])%len(seeds)], data), "PING x", `"content": "PONG"`)
		},
		"as a handshake": func(data []byte) {
			conn := dialTCP(t, address)
			defer conn.Close()
			_, _ = conn.Write(append([]byte("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "), data...))
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range size / part {
				_, _ = random.Read(chunk)
				shot(chunk)
			}
			empty(t, h)
			require.Zero(t, h.Stats().Panics)
			require.Equal(t, http.StatusSwitchingProtocols, upgrade(t, address))
		})
	}
}

// echoes sends every message of a client to all clients.
var echoes = gateway.Hooks{Message: func(_ context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
	gateway.Broadcast(data, c.Handler().Conns()...)
	return data, nil
}}
