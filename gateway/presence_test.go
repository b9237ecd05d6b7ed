package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type attendance struct {
	Clients    int
	Principals map[string]int
}

func (b *browser) who(channel string) (a attendance) {
	b.t.Helper()
	b.send("WHO " + channel)
	require.NoError(b.t, json.Unmarshal([]byte(b.from(channel)), &a))
	return a
}

// Two handlers are two processes: each lists the followers of both.
func TestPresenceOfConnections(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := gateway.Config{
			Channels: []gateway.Channel{{Pattern: "room.*", Presence: true}, {Pattern: "news"}},
			Authenticate: func(r *http.Request) (gateway.Principal, error) {
				return gateway.Principal{Name: r.Header.Get("X-User")}, nil
			},
		}
		_, one := serve(t, pool, cfg)
		_, other := serve(t, pool, cfg)
		join := func(url, name string) *browser {
			conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"X-User": {name}}})
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.CloseNow() })
			b := &browser{t, conn}
			b.status()
			b.send("SUB room.1 ack=1")
			b.news()
			return b
		}
		ada, bob, eve := join(one, "ada"), join(one, "bob"), join(other, "eve")
		want := attendance{3, map[string]int{"ada": 1, "bob": 1, "eve": 1}}
		for range 3 { // asking changes nothing
			require.Equal(t, want, ada.who("room.1"))
			require.Equal(t, want, eve.who("room.1"))
		}
		require.Zero(t, ada.who("room.2").Clients)
		bob.send("DEL room.1")
		require.NoError(t, eve.conn.CloseNow())
		require.Eventually(t, func() bool { return ada.who("room.1").Clients == 1 }, 5*time.Second, 100*time.Millisecond)
		ada.send("WHO news")
		require.Equal(t, gateway.CodeForbidden, ada.fails())
		ada.send("WHO staff")
		require.Equal(t, gateway.CodeForbidden, ada.fails())
	})
}

// Any name that a channel may have will do, and what is wrong with another is said
// in the client's words.
func TestNamesOfChannels(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		for _, presence := range []bool{false, true} {
			cfg := gateway.Config{ChannelPrefix: "tenant:", Channels: []gateway.Channel{{Pattern: "*", Presence: presence}}}
			_, address := serve(t, pool, cfg)
			b := open(t, address)
			for name, want := range map[string]string{
				"a*":                     `name \"a*\": '*' is not allowed`,
				strings.Repeat("x", 249): "the name has 249 bytes; 248 are allowed",
			} {
				b.send("SUB " + name)
				require.Contains(t, b.from("error"), want)
			}
			for _, n := range []int{1, 231, 232, 239, 248} {
				name := strings.Repeat("x", n)
				require.Empty(t, b.does("SUB "+name), n)
				if presence {
					require.Equal(t, 1, b.who(name).Clients)
				}
			}
			if presence {
				require.Equal(t, gateway.CodeBadName, b.does("WHO a*"))
			}
		}
	})
}
