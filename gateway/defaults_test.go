package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The limits of a host that sets none. Those of a message and of a name are
// in the tables of RFC 6455 and of parsing, the absent Origin in that of origins.

func TestDefaultRateOfCommands(t *testing.T) {
	t.Parallel()
	h, address := serve(t, storagetest.New(t), anything)
	w := connect(t, address)
	w.send(bytes.Repeat(frame(fin|text, "PING"), 400)) // within much less than the 4 s that bring back as many
	answers := make(map[string]int)
	for range 400 {
		answers[w.said()]++
	}
	require.GreaterOrEqual(t, answers[`"PONG"`], 200)
	require.NotZero(t, answers["too_fast"])
	require.EqualValues(t, answers["too_fast"], h.Stats().TooFast)
	require.Equal(t, 1, h.Stats().Connections, "only a client that goes on for 10 s is closed")
}

func TestDefaultChannels(t *testing.T) {
	t.Parallel()
	h, address := serve(t, storagetest.New(t), anything)
	w := connect(t, address)
	for i := range 129 {
		w.send(frame(fin|text, fmt.Sprintf("SUB c%d ack=1", i)))
		if i < 128 {
			require.Contains(t, w.said(), "subscribed")
		}
	}
	require.Equal(t, "too_many", w.said())
	w.send(frames(frame(fin|text, "SUB c0 ack=1"), frame(fin|text, "DEL c5"), frame(fin|text, "SUB c128 ack=1")))
	require.Contains(t, w.said(), "c0", "again")
	require.Contains(t, w.said(), "c128", "in the place of c5")
	require.Equal(t, 128, h.Stats().Subscriptions)
	w.send(closing(1000, ""))
	empty(t, h)
}

func TestDefaultSizesOfAHash(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, address := serve(t, pool, anything)
	b := open(t, address)
	for name, row := range map[string]struct {
		fields, bytes int
		want          gateway.Code
	}{
		"most":  {10_000, 1, ""},
		"bytes": {1, 1 << 20, ""},
		"more":  {10_001, 1, gateway.CodeTooLarge},
		"one":   {1, 1<<20 + 1, gateway.CodeTooLarge},
	} {
		key, err := pool.Key(name)
		require.NoError(t, err)
		all := make(map[string]any)
		for i := range row.fields {
			all[fmt.Sprint(i)] = strings.Repeat("1", row.bytes)
		}
		require.NoError(t, pool.Redis().HSet(t.Context(), key, all).Err())
		require.Equal(t, row.want, b.does("GET "+name), name)
	}
}

func TestDefaultsOfTheUpgrade(t *testing.T) {
	t.Parallel()
	_, address := serve(t, storagetest.New(t), gateway.Config{})
	at, err := url.Parse(address)
	require.NoError(t, err)
	_, answer := request(t, address, handshake(at, deflate, "Sec-WebSocket-Protocol: graphql-ws"))
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
	require.Empty(t, answer.Header.Get("Sec-WebSocket-Extensions"), "compression is off")
	require.Empty(t, answer.Header.Get("Sec-WebSocket-Protocol"))
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	nan := 0.0
	nan /= nan
	for want, cfg := range map[string]gateway.Config{
		"Config.Limits.Message: -1 is negative":    {Limits: gateway.Limits{Message: -1}},
		"Config.Limits.Commands: NaN is negative":  {Limits: gateway.Limits{Commands: nan}},
		"Config.Limits.Pong: -1s is negative":      {Limits: gateway.Limits{Pong: -time.Second}},
		"Config.Channels[1]: Channel.Pattern":      {Channels: []gateway.Channel{{Pattern: "a"}, {}}},
		"Config.Channels[0]: Channel.Pattern: ":    {Channels: []gateway.Channel{{Pattern: "[a"}}},
		"Config.Channels[0]: Channel.Slow":         {Channels: []gateway.Channel{{Pattern: "a", Slow: 9}}},
		"Config.Channels[0]: Channel.History":      {Channels: []gateway.Channel{{Pattern: "a", History: &pubsub.History{Size: -1}}}},
		"Config.Channels[0]: Channel.Rewind: 5 is": {Channels: []gateway.Channel{{Pattern: "a", Rewind: 5}}, Limits: gateway.Limits{LogMessages: 4}},
		"Config.ChannelPrefix: name \"a*\"":        {ChannelPrefix: "a*"},
		"Config.Keys[0]":                           {Keys: []string{""}},
		"Config.Origins[0]":                        {Origins: []string{"example.org"}},
		"Config.Origins[1]":                        {Origins: []string{"https://example.org", "https://*example.org"}},
		"Config.Origins[2]":                        {Origins: []string{"https://a", "https://b", "https://example.org/path"}},
		"Config.Origins, InsecureAnyOrigin":        {Origins: []string{"https://example.org"}, InsecureAnyOrigin: true},
		"Config.Protocols[1]":                      {Protocols: []gateway.Protocol{gateway.Text, gateway.Plain}},
		"Config.Protocols[0]: nil":                 {Protocols: []gateway.Protocol{nil}},
		"Config.Protocols[1]: only the first":      {Protocols: []gateway.Protocol{gateway.JSON, gateway.Text}},
		`Config.Protocols[1]: "heliograph`:         {Protocols: []gateway.Protocol{gateway.JSON, gateway.JSON}},
		"Config.Hooks[0]: all of its functions":    {Hooks: []gateway.Hooks{{}}},
		`Config.Commands["A B"]: not a word`:       {Commands: map[string]gateway.Command{"A B": {Run: idle}}},
		`Config.Commands["A"].Run: nil`:            {Commands: map[string]gateway.Command{"A": {}}},
		`Config.Commands["A"].Min: -1`:             {Commands: map[string]gateway.Command{"A": {Run: idle, Min: -1}}},
		`Config.Commands["A"].Max: 1 is less`:      {Commands: map[string]gateway.Command{"A": {Run: idle, Min: 2, Max: 1}}},
		`Config.Commands["A"].Cost: NaN`:           {Commands: map[string]gateway.Command{"A": {Run: idle, Cost: nan}}},
		`Config.Commands["A"].Names, Options: "b"`: {Commands: map[string]gateway.Command{"A": {Run: idle, Names: []string{"b"}, Options: []string{"b"}}}},
		"Config.ClientPublish: Config.Source":      {ClientPublish: true, Source: secretive{}},
		"Config.Channels[0].History: Config.Sour":  {Channels: []gateway.Channel{{Pattern: "a", History: &pubsub.History{}}}, Source: secretive{}},
		"Config.PubSub, Source":                    {PubSub: new(pubsub.Client), Source: secretive{}},
	} {
		_, err := gateway.New(storagetest.New(t), cfg)
		require.ErrorContains(t, err, "gateway: "+want)
	}
	_, err := gateway.New(nil, gateway.Config{})
	require.EqualError(t, err, "gateway: New: nil pool")
	pool := storagetest.New(t)
	require.NoError(t, pool.Close())
	_, err = gateway.New(pool, gateway.Config{})
	require.ErrorIs(t, err, storage.ErrClosed)
	require.ErrorContains(t, err, "gateway: ")
}

// idle is a command that does nothing.
func idle(context.Context, *gateway.Conn, gateway.Request) error { return nil }

// listed is a protocol that can't be compared.
type listed struct {
	gateway.Protocol
	words []string
}

func TestProtocolsMustBeComparable(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(storagetest.New(t), gateway.Config{Protocols: []gateway.Protocol{listed{gateway.Text, nil}}})
	require.EqualError(t, err, "gateway: Config.Protocols[0]: a gateway_test.listed can't be compared by ==; use a pointer to it")
	_, err = gateway.New(storagetest.New(t), gateway.Config{Protocols: []gateway.Protocol{&listed{gateway.Text, nil}}})
	require.NoError(t, err)
}

// A flood of requests without credentials makes one line.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer // slog writes one line at a time
	storing, stop, err := embedded.Start()
	require.NoError(t, err)
	t.Cleanup(stop)
	storing.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	pool := storagetest.Open(t, storing)
	cfg := anything
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) { return gateway.Principal{}, gateway.ErrForbidden }
	h, address := serve(t, pool, cfg)
	for range 20 {
		require.Equal(t, http.StatusForbidden, upgrade(t, address))
	}
	require.EqualValues(t, 20, h.Stats().RefusedAuth)
	require.NoError(t, h.Close()) // nothing is logged any more
	require.NoError(t, pool.Close())
	require.Equal(t, 1, strings.Count(lines.String(), "refused a client"))
}

func TestAnExpiredPrincipalIsRefused(t *testing.T) {
	t.Parallel()
	expired := gateway.Principal{Name: "ada", Expires: time.Now().Add(-time.Second)}
	cfg := anything
	cfg.Authenticate = func(*http.Request) (gateway.Principal, error) { return expired, nil }
	h, address := serve(t, storagetest.New(t), cfg)
	at, err := url.Parse(address)
	require.NoError(t, err)
	_, answer := request(t, address, handshake(at))
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	require.EqualValues(t, 1, h.Stats().RefusedAuth)

	cfg.Authenticate = nil
	cfg.Refresh = func(context.Context, *gateway.Conn, string) (gateway.Principal, error) { return expired, nil }
	_, address = serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	b.send("AUTH ada")
	require.Equal(t, gateway.CodeForbidden, b.fails())
	b.send("PING")
	require.Equal(t, `"PONG"`, b.from("websocket"), "the connection goes on")
}

// archive is a source with a history of three publications.
type archive struct{ published chan string }

func (a archive) Follow(context.Context, string, func(gateway.Publication)) (stop func(), err error) {
	return func() {}, nil
}

func (a archive) Publish(_ context.Context, channel string, data []byte) (int, error) {
	a.published <- channel + " " + string(data)
	return 7, nil
}

func (a archive) Recall(_ context.Context, _, since string) ([]gateway.Publication, string, bool, error) {
	var missed []gateway.Publication
	for _, offset := range []string{"a:1-1", "a:1-2", "a:1-3"} {
		if since != "" && pubsub.Offset(since).Before(pubsub.Offset(offset)) {
			missed = append(missed, gateway.Publication{Data: []byte(`"` + offset + `"`), Offset: offset})
		}
	}
	return missed, "a:1-3", true, nil
}

func TestASourceOfTheHostPublishesAndRecalls(t *testing.T) {
	t.Parallel()
	source := archive{make(chan string, 1)}
	_, address := serve(t, storagetest.New(t), gateway.Config{
		Channels: []gateway.Channel{{Pattern: "*", History: &pubsub.History{}}}, Source: source, ClientPublish: true,
	})
	b := open(t, address)
	b.send("PUB news 1")
	require.JSONEq(t, `{"status": "published", "channel": "news", "receivers": 7}`, b.from("websocket"))
	require.Equal(t, "news 1", <-source.published)
	b.send("SUB news since=a:1-1")
	require.JSONEq(t, `{"status": "subscribed", "channel": "news", "offset": "a:1-1", "recovered": true}`, b.from("websocket"))
	require.Equal(t, `"a:1-2"`, b.from("news"))
	require.Equal(t, `"a:1-3"`, b.from("news"))
}

// The messages reported as lost and those received are all that were published.
func TestWhatIsLostIsCounted(t *testing.T) {
	t.Parallel()
	cfg := gateway.Config{
		Channels: []gateway.Channel{{Pattern: "all"}, {Pattern: "some", Slow: gateway.SlowDropOldest}},
		Limits:   gateway.Limits{LogBytes: 1 << 30, LogMessages: 300, Write: 2 * time.Minute, Ping: -1},
	}
	pool := storagetest.New(t)
	h, address := serve(t, pool, cfg)
	w := connect(t, address)
	w.send(frames(frame(fin|text, "SUB all"), frame(fin|text, "SUB some ack=1")))
	w.text()
	fast := open(t, address)
	require.Empty(t, fast.does("SUB all"))
	require.Empty(t, fast.does("SUB some"))
	publish := func(name, payload string, n int) {
		key, err := pool.Key(name)
		require.NoError(t, err)
		for range n {
			require.NoError(t, pool.Redis().Publish(t.Context(), key, payload).Err())
			require.Equal(t, payload, fast.from(name))
		}
	}
	publish("all", `"`+strings.Repeat("x", 64<<10)+`"`, 200) // the client does not read; each is a write of its own
	publish("some", "1", 1000)
	require.NotZero(t, h.Stats().Dropped)
	got, lost := map[string]int{}, 0
	for got["all"] < 200 || got["some"]+lost < 1000 {
		var e struct {
			Source  string
			Content json.RawMessage
		}
		require.NoError(t, json.Unmarshal([]byte(w.text()), &e))
		got[e.Source]++
		if e.Source == "websocket" {
			var status struct{ Count int }
			require.NoError(t, json.Unmarshal(e.Content, &status))
			require.NotZero(t, status.Count)
			lost += status.Count
		}
	}
	require.EqualValues(t, h.Stats().Dropped, lost)
}

// A client that follows a channel is listed under its current name.
func TestPresenceOfAClientThatChangesItsName(t *testing.T) {
	t.Parallel()
	cfg := everything()
	cfg.Hooks = nil
	h, address := serve(t, storagetest.New(t), cfg)
	b, watcher := open(t, address), open(t, address)
	who := func() string {
		watcher.send("WHO presence")
		for {
			if e := watcher.next(); e.Source == "presence" {
				return string(e.Content)
			}
		}
	}
	for _, name := range []string{"alice", "bob", "bob"} {
		require.Empty(t, b.does("AUTH "+name))
		require.Empty(t, b.does("SUB presence"))
		require.JSONEq(t, `{"clients": 1, "principals": {"`+name+`": 1}}`, who())
	}
	require.Empty(t, b.does("DEL presence"))
	require.JSONEq(t, `{"clients": 0, "principals": {}}`, who())
	require.Empty(t, b.does("SUB presence"))
	_ = b.conn.CloseNow()
	require.Eventually(t, func() bool { return h.Stats().Connections == 1 }, 10*time.Second, time.Millisecond)
	require.JSONEq(t, `{"clients": 0, "principals": {}}`, who())
}

// With Redis away a connection ends in the time of one command, whatever it
// followed.
func TestPresenceWithoutRedis(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "*", Presence: true}}, Limits: gateway.Limits{Command: 500 * time.Millisecond}}
	h, address := serve(t, storagetest.Open(t, srv.Config()), cfg)
	b := open(t, address)
	for i := range 20 {
		require.Empty(t, b.does(fmt.Sprintf("SUB c%d", i)))
	}
	srv.Pause()
	t.Cleanup(srv.Resume) // before it ends
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	begun := make(chan error)
	go func() { begun <- h.Shutdown(ctx) }()
	require.Equal(t, gateway.CloseRestart, b.closed())
	require.Eventually(t, func() bool { return h.Stats().Connections == 0 }, 5*time.Second, 10*time.Millisecond)
	srv.Resume()
	require.NoError(t, <-begun)
}
