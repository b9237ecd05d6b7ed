package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func connectionCaps(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{Connections: 2}
	h, address := serve(t, storagetest.New(t), cfg)
	first := connect(t, address)
	connect(t, address)
	require.Equal(t, http.StatusServiceUnavailable, upgrade(t, address))
	require.EqualValues(t, 1, h.Stats().RefusedBusy)
	_ = first.conn.Close()
	require.Eventually(t, func() bool { return h.Stats().Connections == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, http.StatusSwitchingProtocols, upgrade(t, address))
}

func perAddress(t *testing.T) {
	for name, row := range map[string]struct {
		first, second string
		want          int
	}{
		"the same":                  {"192.0.2.1:1", "192.0.2.1:2", http.StatusTooManyRequests},
		"another":                   {"192.0.2.1:1", "192.0.2.2:1", http.StatusUnauthorized},
		"IPv6, of the same network": {"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", http.StatusTooManyRequests},
		"IPv6, of another":          {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", http.StatusUnauthorized},
		"IPv4 in IPv6":              {"[::ffff:192.0.2.1]:1", "192.0.2.1:1", http.StatusTooManyRequests},
		"of another kind":           {"@", "@", http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			asked, answer := make(chan bool, 2), make(chan bool)
			cfg := gateway.Config{Limits: gateway.Limits{PerAddress: 1}, Authenticate: func(*http.Request) (gateway.Principal, error) {
				asked <- true
				<-answer
				return gateway.Principal{}, errors.New("no")
			}}
			h, _ := serve(t, storagetest.New(t), cfg)
			ask := func(from string) int {
				r := httptest.NewRequest(http.MethodGet, "/ws", nil)
				r.RemoteAddr = from
				r.Header.Set("Upgrade", "websocket")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Code
			}
			done := make(chan int)
			go func() { done <- ask(row.first) }()
			<-asked
			go func() { done <- ask(row.second) }()
			if row.want == http.StatusTooManyRequests {
				require.Equal(t, row.want, <-done)
			}
			close(answer)
			require.Equal(t, http.StatusUnauthorized, <-done)
			if row.want == http.StatusUnauthorized {
				require.Equal(t, row.want, <-done)
			}
			require.Zero(t, h.Stats().Connections)
		})
	}
}

func acceptRate(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{AcceptRate: 0.001, AcceptBurst: 3}
	_, address := serve(t, storagetest.New(t), cfg)
	for range 3 {
		require.Equal(t, http.StatusSwitchingProtocols, upgrade(t, address))
	}
	require.Equal(t, http.StatusServiceUnavailable, upgrade(t, address))
}

// secretive is a source whose error contains a secret.
type secretive struct{}

func (secretive) Follow(context.Context, string, func(gateway.Publication)) (func(), error) {
	return nil, errors.New("NOPERM user gateway at 10.0.0.7:6379")
}

func errorLeakage(t *testing.T) {
	internal := `{"code": "internal", "message": "internal error", "command": "SUB"}`
	cfg := anything
	cfg.Source = secretive{}
	_, address := serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	b.send("SUB a")
	require.JSONEq(t, internal, b.from("error"))

	t.Run("Redis refuses", func(t *testing.T) {
		srv := storagetest.Start(t)
		pool := storagetest.Open(t, srv.Config())
		cfg := anything
		cfg.Limits = gateway.Limits{Command: time.Second}
		_, address := serve(t, pool, cfg)
		b := open(t, address)
		require.Empty(t, b.does("GET a"))
		require.NoError(t, pool.Redis().Do(t.Context(), "ACL", "SETUSER", "default", "-subscribe", "-hvals", "-hkeys", "-hget").Err())
		b.send("GET a b")
		require.JSONEq(t, strings.Replace(internal, "SUB", "GET", 1), b.from("error"))
		b.send("SUB a")
		require.NotContains(t, strings.ToUpper(b.from("error")), "PERM")

		srv.Kill()
		b.send("GET a")
		require.JSONEq(t, `{"code": "unavailable", "message": "not available now; try again", "command": "GET"}`, b.from("error"))
		require.Empty(t, b.does("PING"), "the socket stays")
	})
}

func poison(t *testing.T) {
	cfg := anything
	cfg.Channels = []gateway.Channel{{Pattern: "keyed", Slow: gateway.SlowConflate, Key: func(content []byte) string { return string(content[1<<30]) }}, {Pattern: "*"}}
	cfg.Limits = gateway.Limits{Bytes: 8 << 20, CommandBurst: 1000}
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, address := serve(t, pool, cfg)
		b, j := open(t, address), open(t, address, "heliograph.json.v1")
		require.Empty(t, b.does("SUB c"))
		require.Empty(t, b.does("SUB keyed"))
		j.send(`{"command": "SUB", "args": ["c"]}`)
		require.JSONEq(t, `{"type": "done"}`, j.raw())
		channel, err := pool.Key("c")
		require.NoError(t, err)
		for _, data := range []string{
			"", "not JSON", "{", `{"a":}`, "NaN", "1 2", "\x00", "a\x00b", "\xff\xfe", "\"\xff\"", `"\ud800"`, "\u2028", "</script>", "\r\n",
			strings.Repeat("[", 100_000), strings.Repeat("[", 9000) + strings.Repeat("]", 9000), `"` + strings.Repeat("x", 2<<20) + `"`, `{"__proto__": 1, "a": 1, "a": 2}`,
			`"}, "source": "websocket`, `1e999999`, "123456789012345678901234567890",
		} {
			require.NoError(t, pool.Redis().Publish(t.Context(), channel, data).Err())
			require.NoError(t, pool.Redis().HSet(t.Context(), channel, "f", data).Err())
			content := b.from("c")
			require.True(t, utf8.ValidString(content))
			require.True(t, utf8.ValidString(j.raw()))
			b.send("GET c f")
			require.Equal(t, content, b.from("c f"))
		}
		keyed, err := pool.Key("keyed")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().Publish(t.Context(), keyed, "1").Err())
		require.Equal(t, "1", b.from("keyed"), "though Channel.Key panics")
		require.EqualValues(t, 1, h.Stats().Panics)
		require.Equal(t, 2, h.Stats().Connections)
	})
}

// clumsy is a protocol and a source that panic.
type clumsy struct{ gateway.Protocol }

func (clumsy) Name() string { return "clumsy" }

func (clumsy) Append(dst []byte, f *gateway.Frame) []byte {
	if string(f.Content) == `"oops"` {
		panic("oops")
	}
	return gateway.Text.Append(dst, f)
}

func (clumsy) Follow(_ context.Context, channel string, deliver func(gateway.Publication)) (func(), error) {
	if channel == "begin" {
		panic("oops")
	}
	deliver(gateway.Publication{})
	return func() { panic("oops") }, nil
}

// A panic of what a host brings costs a frame or a subscription, and no more.
func TestPanicsOfTheHost(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Protocols = []gateway.Protocol{gateway.Text, clumsy{gateway.Text}}
	h, address := serve(t, pool, cfg)
	b := open(t, address, "clumsy")
	b.send("SUB c ack=1")
	b.from("websocket")
	for _, data := range []string{`"oops"`, `"fine"`} {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "c"), data).Err())
	}
	require.Equal(t, `"fine"`, b.from("c"))
	require.EqualValues(t, 1, h.Stats().Panics)

	cfg = anything
	cfg.Source = clumsy{}
	h, address = serve(t, storagetest.New(t), cfg)
	b = open(t, address)
	require.Equal(t, gateway.CodeInternal, b.does("SUB begin"))
	require.Empty(t, b.does("SUB end"))
	require.Empty(t, b.does("DEL end"))
	require.Eventually(t, func() bool { return h.Stats().Panics == 2 }, patience, time.Millisecond)
	require.Empty(t, b.does("PING"))
}

func floods(t *testing.T) {
	cfg := anything
	cfg.Limits = gateway.Limits{CommandExcess: time.Millisecond}
	h, address := serve(t, storagetest.New(t), cfg)
	for name, row := range map[string]struct {
		send []byte
		want gateway.CloseCode
	}{
		"pings":     {frame(fin|pings, strings.Repeat("x", 125)), gateway.CloseTooFast},
		"nothing":   {frame(fin|text, ""), gateway.CloseTooFast},
		"nonsense":  {frame(fin|text, `"`), gateway.CloseTooFast},
		"fragments": {frame(more, ""), gateway.CloseTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address)
			go func() { // for as long as it is taken
				flood := bytes.Repeat(row.send, 1000)
				_, _ = w.conn.Write(frame(text, ""))
				if row.want != gateway.CloseTooLong {
					_, _ = w.conn.Write(frame(fin|more, ""))
				}
				for {
					if _, err := w.conn.Write(flood); err != nil {
						return
					}
				}
			}()
			got := ""
			for !strings.HasPrefix(got, "close") {
				got = w.said()
			}
			require.Equal(t, fmt.Sprint("close ", row.want), got)
			_ = w.conn.Close()
			empty(t, h)
		})
	}
}

func shutdown(t *testing.T) {
	cfg := anything
	asked, answer := make(chan bool), make(chan bool)
	cfg.Authenticate = func(r *http.Request) (gateway.Principal, error) {
		if r.Header.Get("Late") != "" {
			asked <- true
			<-answer
		}
		return gateway.Principal{}, nil
	}
	h, address := serve(t, storagetest.New(t), cfg)
	first, second := open(t, address), open(t, address)
	late := make(chan *wire)
	go func() { late <- connect(t, address, "Late: 1") }()
	<-asked
	done := make(chan error)
	go func() { done <- h.Shutdown(context.Background()) }()
	for _, b := range []*browser{first, second} {
		require.Contains(t, string(b.status().Content), `"closing"`)
		require.Equal(t, gateway.CloseRestart, b.closed())
	}
	require.Equal(t, http.StatusServiceUnavailable, upgrade(t, address))
	close(answer) // it was accepted before
	w := <-late
	require.Contains(t, w.said(), `"closing"`)
	require.Equal(t, "close 1012", w.said())
	_ = w.conn.Close()
	require.NoError(t, <-done)
	require.Zero(t, h.Stats().Connections)
	require.NoError(t, h.Shutdown(t.Context()), "again")
}
