package fws_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// process is a gateway of groups with a pool of its own, as another process has.
type process struct {
	groups *fws.Groups
	url    string
}

func newProcess(t testing.TB, pool *storage.Pool, cfg fws.GroupsConfig) process {
	t.Helper()
	groups, err := fws.NewGroups(pool, cfg)
	require.NoError(t, err)
	if cfg.Local {
		t.Cleanup(func() { require.NoError(t, groups.Close()) })
		pool = storagetest.New(t)
	}
	_, url := serve(t, pool, gateway.Config{Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{groups.Hooks()}})
	return process{groups, url}
}

// member connects and joins a group, as a client of filtered_websocket does.
func (p process) member(t testing.TB, token string) *browser {
	t.Helper()
	b := dial(t, p.url)
	b.join(token)
	return b
}

func (b *browser) join(token string) {
	b.t.Helper()
	b.send("token:" + token)
	require.Equal(b.t, "Successfully registered with broadcast group: "+token, b.raw())
}

// count awaits that a group has n members, as seen from p.
func (p process) count(t testing.TB, group string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		members, err := p.groups.Members(t.Context(), group)
		return err == nil && len(members) == n
	}, 20*time.Second, 10*time.Millisecond, "%s: %d", group, n)
}

var tokens = fws.GroupsConfig{Tokens: true}

func TestGroupsSpanProcesses(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		one := newProcess(t, pool, tokens)
		two := newProcess(t, storagetest.Open(t, pool.Config()), tokens)
		ann, bob, cid, dan := one.member(t, "red"), one.member(t, "red"), two.member(t, "red"), two.member(t, "blue")
		one.count(t, "red", 3)
		two.count(t, "blue", 1)

		ann.send("from ann")
		require.Equal(t, "from ann", bob.raw())
		require.Equal(t, "from ann", cid.raw())
		cid.send("from cid")
		require.Equal(t, "from cid", ann.raw(), "and not her own message before it")
		require.Equal(t, "from cid", bob.raw())
		require.NoError(t, two.groups.Broadcast(t.Context(), "red", []byte{0xff}))
		for _, b := range []*browser{ann, bob, cid} {
			require.Equal(t, "\xff", b.raw())
		}

		bob.join("blue")
		one.count(t, "red", 2)
		two.count(t, "blue", 2)
		dan.send("from dan")
		require.Equal(t, "from dan", bob.raw())
		ann.send("again")
		require.Equal(t, "again", cid.raw())
		bob.send("from bob")
		require.Equal(t, "from bob", dan.raw(), "and nothing of red")

		require.NoError(t, cid.conn.CloseNow())
		one.count(t, "red", 1)
		require.NoError(t, one.groups.Close())
		two.count(t, "red", 0)
		two.count(t, "blue", 1)
		ann.send("token:red")
		require.NoError(t, two.groups.Broadcast(t.Context(), "blue", []byte("end")))
		require.Equal(t, "end", dan.raw())
	})
}

func TestGroupsOfOneProcess(t *testing.T) {
	t.Parallel()
	p := newProcess(t, nil, fws.GroupsConfig{Tokens: true, Local: true})
	ann, bob := p.member(t, "red"), p.member(t, "red")
	p.count(t, "red", 2)
	ann.send("hello")
	require.Equal(t, "hello", bob.raw())
	bob.send("hello yourself")
	require.Equal(t, "hello yourself", ann.raw())
	require.NoError(t, ann.conn.CloseNow())
	p.count(t, "red", 1)
}

// A token may be anything without a space, and tokens that a careless key would
// confuse are different groups.
func TestAnyToken(t *testing.T) {
	t.Parallel()
	p := newProcess(t, storagetest.New(t), tokens)
	long := strings.Repeat("é", 100)
	odd := []string{"*", "a:b", "a", "{a}", "%2A", "/", "é", "\"q\"", long, long + "x", "token:token:"}
	var all []*browser
	for _, token := range odd {
		all = append(all, p.member(t, token), p.member(t, token))
		p.count(t, token, 2)
	}
	for i := range odd {
		all[2*i].send(fmt.Sprint("of ", i))
	}
	for i, token := range odd {
		require.Equal(t, fmt.Sprint("of ", i), all[2*i+1].raw(), token)
	}
	b := dial(t, p.url)
	b.send("this is {\"token\": 1} my token:x and more")
	require.Equal(t, "Successfully registered with broadcast group: x", b.raw())
}

func TestWhatGroupsRefuse(t *testing.T) {
	t.Parallel()
	p := newProcess(t, storagetest.New(t), fws.GroupsConfig{Tokens: true, MaxGroups: 2, MaxName: 4})
	b := dial(t, p.url)
	for message, want := range map[string]string{
		"hello":       "Error: No token has been set",
		"token: x":    "Error: a group without a name",
		"token:abcde": "Error: a group's name of 5 bytes; 4 are allowed",
	} {
		b.send(message)
		require.Equal(t, want, b.raw())
	}
	p.member(t, "a")
	b.join("b")
	other := dial(t, p.url)
	other.send("token:c")
	require.Equal(t, "Error: there are 2 groups; no more are taken", other.raw())
	b.join("c") // b has gone by that
	other.join("a")
}

func TestNewGroupsNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for field, cfg := range map[string]fws.GroupsConfig{
		"Name": {Name: "a b"}, "PubSub, Local": {PubSub: new(pubsub.Client), Local: true}, "HostOnly, Tokens": {HostOnly: true, Tokens: true},
		"Lease": {Lease: time.Millisecond}, "PerConn": {PerConn: -1}, "MaxGroups": {MaxGroups: -1}, "MaxName": {MaxName: -1},
	} {
		_, err := fws.NewGroups(pool, cfg)
		require.ErrorContains(t, err, "fws: NewGroups: GroupsConfig."+field+": ")
	}
	_, err := fws.NewGroups(nil, tokens)
	require.EqualError(t, err, "fws: NewGroups: nil pool, which only GroupsConfig.Local allows")
	require.NoError(t, pool.Close())
	_, err = fws.NewGroups(pool, tokens)
	require.ErrorIs(t, err, storage.ErrClosed)
}

func TestGroupsAfterClose(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{false, true} {
		groups, err := fws.NewGroups(storagetest.New(t), fws.GroupsConfig{Local: local})
		require.NoError(t, err)
		require.NoError(t, groups.Close())
		require.NoError(t, groups.Close())
		require.ErrorIs(t, groups.Broadcast(t.Context(), "red", nil), gateway.ErrClosed)
		require.ErrorIs(t, groups.Join(t.Context(), new(gateway.Conn), "red"), gateway.ErrClosed)
	}
}

func TestAClientThatFloodsItsGroup(t *testing.T) {
	t.Parallel()
	groups, err := fws.NewGroups(nil, fws.GroupsConfig{Tokens: true, Local: true})
	require.NoError(t, err)
	h, url := serve(t, storagetest.New(t), gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{groups.Hooks()},
		Limits: gateway.Limits{Commands: 1e-3, CommandBurst: 3, CommandExcess: time.Hour},
	})
	p := process{groups, url}
	ann, bob := p.member(t, "red"), p.member(t, "red")
	for range 3 {
		ann.send("x")
	}
	require.Equal(t, "x", bob.raw())
	require.Equal(t, "x", bob.raw())
	require.Eventually(t, func() bool { return h.Stats().TooFast == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, bob.conn.Write(t.Context(), websocket.MessageText, []byte("y")))
	require.Equal(t, "y", ann.raw())
}

// Without tokens the host decides.
func TestGroupsOfTheHost(t *testing.T) {
	t.Parallel()
	groups, err := fws.NewGroups(nil, fws.GroupsConfig{Local: true})
	require.NoError(t, err)
	conns := make(chan *gateway.Conn, 3)
	_, url := serve(t, storagetest.New(t), gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{groups.Hooks(), {Connect: func(ctx context.Context, c *gateway.Conn, r *http.Request) error {
			conns <- c
			return groups.Join(ctx, c, r.URL.Query().Get("room"))
		}}},
	})
	ann := dial(t, url+"?room=7")
	<-conns
	bob := dial(t, url+"?room=7")
	conn := <-conns // bob's
	process{groups, url}.count(t, "7", 2)
	require.Equal(t, []string{"7"}, groups.GroupsOf(conn))
	ann.send("token:8")
	require.Equal(t, "token:8", bob.raw(), "a message like any other")
	require.NoError(t, groups.Leave(t.Context(), conn))
	require.NoError(t, groups.Leave(t.Context(), conn), "once is enough")
	require.Empty(t, groups.GroupsOf(conn))
	process{groups, url}.count(t, "7", 1)

	require.NoError(t, bob.conn.CloseNow())
	require.Eventually(t, func() bool { return groups.Join(t.Context(), conn, "7") == gateway.ErrClosed }, 20*time.Second, time.Millisecond)
	require.Empty(t, groups.GroupsOf(conn))
	refused := dial(t, url)
	require.Equal(t, gateway.CloseRefused, refused.closed(), "a group without a name")
}

func TestGroupsThatOnlyTheHostSpeaksTo(t *testing.T) {
	t.Parallel()
	groups, err := fws.NewGroups(nil, fws.GroupsConfig{HostOnly: true, Local: true})
	require.NoError(t, err)
	var cfg gateway.Config
	cfg.Hooks = []gateway.Hooks{groups.Hooks(), {Connect: func(ctx context.Context, c *gateway.Conn, _ *http.Request) error {
		return groups.Join(ctx, c, "all")
	}}}
	_, url := serve(t, storagetest.New(t), cfg)
	ann, bob := open(t, url), open(t, url)
	process{groups, url}.count(t, "all", 2)
	ann.send("PING")
	require.Equal(t, `"PONG"`, ann.from("websocket"))
	require.NoError(t, groups.Broadcast(t.Context(), "all", []byte("from the host")))
	require.Equal(t, "from the host", ann.raw())
	require.Equal(t, "from the host", bob.raw(), "and nothing of what ann has said")
}

func TestGroupsOutliveARedisThatForgets(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cfg := fws.GroupsConfig{Tokens: true, Lease: 600 * time.Millisecond}
	one, two := newProcess(t, storagetest.Open(t, srv.Config()), cfg), newProcess(t, storagetest.Open(t, srv.Config()), cfg)
	ann, bob := one.member(t, "red"), two.member(t, "red")
	gone := two.member(t, "red")
	srv.Kill()
	require.NoError(t, gone.conn.CloseNow())
	srv.Restart()
	one.count(t, "red", 2)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan struct{})
	go func() { // again and again: the other process may not be listening yet
		defer close(sent)
		for ctx.Err() == nil {
			_ = one.groups.Broadcast(ctx, "red", []byte("back"))
		}
	}()
	require.Equal(t, "back", ann.raw())
	require.Equal(t, "back", bob.raw())
	cancel()
	<-sent
}

func TestGroupsWhileRedisHangs(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	groups, err := fws.NewGroups(pool, tokens)
	require.NoError(t, err)
	_, url := serve(t, pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{groups.Hooks()},
		Limits: gateway.Limits{Command: 300 * time.Millisecond},
	})
	p := process{groups, url}
	ann, bob := p.member(t, "red"), p.member(t, "red")
	gone := p.member(t, "red")
	srv.Pause()
	ann.send("hello?")
	require.Equal(t, "Error: not available now; try again", ann.raw())
	bob.send("token:blue")
	require.Equal(t, "Error: not available now; try again", bob.raw())
	require.NoError(t, gone.conn.Close(websocket.StatusNormalClosure, ""))
	srv.Resume()
	cid := dial(t, url)
	require.Eventually(t, func() bool {
		cid.send("token:red")
		return cid.raw() == "Successfully registered with broadcast group: red"
	}, 20*time.Second, 10*time.Millisecond)
	p.count(t, "red", 2) // ann and cid: bob is in none, and gone is gone
}

// A client may be in several groups: it gets what is sent to each, and sends to the last.
func TestSeveralGroups(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := fws.GroupsConfig{Tokens: true, PerConn: 2}
		one := newProcess(t, pool, cfg)
		two := newProcess(t, storagetest.Open(t, pool.Config()), cfg)
		ann, red, blue := one.member(t, "red"), two.member(t, "red"), two.member(t, "blue")
		ann.join("blue")
		one.count(t, "red", 2)
		one.count(t, "blue", 2)
		red.send("to red")
		require.Equal(t, "to red", ann.raw())
		blue.send("to blue")
		require.Equal(t, "to blue", ann.raw())
		ann.send("last")
		require.Equal(t, "last", blue.raw())
		ann.join("red") // again: it is the last now
		ann.send("first")
		require.Equal(t, "first", red.raw())
		ann.send("token:green")
		require.Equal(t, "Error: the client is in 2 groups; no more are allowed", ann.raw())
		require.NoError(t, ann.conn.CloseNow())
		one.count(t, "red", 1)
		two.count(t, "blue", 1)
	})
}

// The host takes a connection out of one of its groups.
func TestLeaveOneOfSeveralGroups(t *testing.T) {
	t.Parallel()
	groups, err := fws.NewGroups(nil, fws.GroupsConfig{Local: true, PerConn: 3})
	require.NoError(t, err)
	c := new(gateway.Conn)
	for _, group := range []string{"a", "b", "c", "a"} {
		require.NoError(t, groups.Join(t.Context(), c, group))
	}
	require.Equal(t, []string{"b", "c", "a"}, groups.GroupsOf(c))
	require.NoError(t, groups.Leave(t.Context(), c, "c", "none"))
	require.Equal(t, []string{"b", "a"}, groups.GroupsOf(c))
	members, err := groups.Members(t.Context(), "c")
	require.NoError(t, err)
	require.Empty(t, members)
	require.NoError(t, groups.Leave(t.Context(), c))
	require.Empty(t, groups.GroupsOf(c))
	require.NoError(t, groups.Close())
}
