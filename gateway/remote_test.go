package gateway_test

import (
	"context"
	"errors"
	"net"
	"net/http"
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

// named authenticates clients by a header.
func named(r *http.Request) (gateway.Principal, error) {
	return gateway.Principal{Name: r.Header.Get("X-User")}, nil
}

// signIn connects as a principal.
func signIn(t testing.TB, url, name string) *browser {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"X-User": {name}}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	b := &browser{t, conn}
	b.status()
	return b
}

// remote returns a Remote, once so many handlers follow its commands.
func remote(t testing.TB, pool *storage.Pool, name string, handlers int) *gateway.Remote {
	t.Helper()
	r, err := gateway.NewRemote(pool, name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.Eventually(t, func() bool {
		reached, err := r.Send(t.Context(), "nobody", nil)
		return err == nil && reached.Handlers == handlers
	}, patience, time.Millisecond)
	return r
}

// A Remote acts on all clients of a principal, and on those of no other, in all processes.
func TestRemote(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := gateway.Config{Authenticate: named, Remote: "web", Channels: []gateway.Channel{{Pattern: "*", Presence: true}}}
		_, one := serve(t, pool, cfg)
		_, two := serve(t, storagetest.Open(t, pool.Config()), cfg)
		cfg.Remote = "other"
		_, other := serve(t, pool, cfg)
		cfg.Remote = ""
		_, none := serve(t, pool, cfg)
		ada := []*browser{signIn(t, one, "ada"), signIn(t, one, "ada"), signIn(t, two, "ada")}
		rest := []*browser{signIn(t, one, "bob"), signIn(t, one, ""), signIn(t, two, "bob"), signIn(t, other, "ada"), signIn(t, none, "ada")}
		r := remote(t, storagetest.Open(t, pool.Config()), "web", 2)
		all := gateway.Reached{Handlers: 2, Connections: 3}

		reached, err := r.Subscribe(t.Context(), "ada", "news")
		require.NoError(t, err)
		require.Equal(t, all, reached)
		for _, b := range ada {
			require.Equal(t, status{Status: "subscribed", Channel: "news"}, b.news())
		}
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), 1).Err())
		for _, b := range ada {
			require.Equal(t, "1", b.from("news"))
		}
		reached, err = r.Subscribe(t.Context(), "ada", "__no")
		require.NoError(t, err)
		require.Equal(t, gateway.Reached{Handlers: 2}, reached, "no client can follow it")

		reached, err = r.Send(t.Context(), "ada", []byte("\xffhello"))
		require.NoError(t, err)
		require.Equal(t, all, reached)
		for _, b := range ada {
			require.Equal(t, "\xffhello", b.raw())
		}

		ada[0].send("DEL news")
		require.Empty(t, ada[0].does("PING"))
		reached, err = r.Unsubscribe(t.Context(), "ada", "news")
		require.NoError(t, err)
		require.Equal(t, gateway.Reached{Handlers: 2, Connections: 2}, reached)
		for _, b := range ada[1:] {
			require.Equal(t, status{Status: "unsubscribed", Channel: "news"}, b.news())
		}

		reached, err = r.Disconnect(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, all, reached)
		for _, b := range ada {
			require.Equal(t, gateway.CloseDisconnected, b.closed())
		}
		for _, b := range rest {
			require.Empty(t, b.does("PING"))
		}
		require.Empty(t, signIn(t, one, "ada").does("PING"), "Authenticate decides who may come back")
	})
}

// cable is the network of one process, which a test can cut.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.New("cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// A handler that was cut off from Redis carries out what takes access away when it is back,
// but not for what came since.
func TestAHandlerCatchesUpWithRemotes(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var wire cable
		far := pool.Config()
		far.Redis.Dialer = wire.dial
		_, url := serve(t, storagetest.Open(t, far), gateway.Config{Authenticate: named, Remote: "web", Channels: []gateway.Channel{{Pattern: "*"}}})
		ada, bob, eve := signIn(t, url, "ada"), signIn(t, url, "bob"), signIn(t, url, "eve")
		for _, b := range []*browser{ada, bob, eve} {
			require.Empty(t, b.does("SUB news"))
		}
		r := remote(t, pool, "web", 1)
		wire.set(true)
		require.Eventually(t, func() bool {
			reached, err := r.Disconnect(t.Context(), "ada")
			return err == nil && reached.Handlers == 0
		}, patience, time.Millisecond)
		_, err := r.Unsubscribe(t.Context(), "bob", "news")
		require.NoError(t, err)
		again := signIn(t, url, "ada") // since then
		wire.set(false)
		require.Equal(t, gateway.CloseDisconnected, ada.closed())
		for { // after the gap
			if s := bob.news(); s.Status == "unsubscribed" {
				break
			}
		}
		require.Empty(t, again.does("PING"))
		require.NotEqual(t, gateway.CodeForbidden, eve.does("SUB news"))
	})
}

// What was carried out is not carried out again when the handler looks at what Redis keeps.
func TestARemoteIsObeyedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, url := serve(t, pool, gateway.Config{Authenticate: named, Remote: "web"})
		ada := signIn(t, url, "ada")
		r := remote(t, pool, "web", 1)
		for range 3 {
			for _, do := range []func(context.Context, string, string) (gateway.Reached, error){r.Subscribe, r.Unsubscribe, r.Subscribe} {
				_, err := do(t.Context(), "ada", "news")
				require.NoError(t, err)
			}
			ada.news()
			h.CatchUp()
		}
		require.Equal(t, 1, h.Stats().Subscriptions)
	})
}

// A request that is being authenticated while its principal is disconnected is refused.
func TestDisconnectedWhileItIsAuthenticated(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	h, url := serve(t, storagetest.New(t), gateway.Config{Channels: []gateway.Channel{{Pattern: "*"}}, Authenticate: func(r *http.Request) (gateway.Principal, error) {
		asked <- struct{}{}
		<-answer
		return named(r)
	}})
	header := http.Header{"X-User": {"ada"}}
	codes := make(chan gateway.CloseCode)
	go func() {
		conn, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPHeader: header})
		if err == nil {
			_, _, err = conn.Read(context.Background())
		}
		codes <- gateway.CloseCode(websocket.CloseStatus(err))
	}()
	<-asked
	require.Zero(t, h.Disconnect("ada"))
	answer <- struct{}{}
	require.Equal(t, gateway.CloseDisconnected, <-codes)

	statuses := make(chan int)
	go func() {
		req, _ := http.NewRequest(http.MethodGet, strings.Replace(url, "ws", "http", 1)+"?sub=news", nil)
		req.Header = http.Header{"X-User": {"ada"}, "Accept": {"text/event-stream"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			statuses <- 0
			return
		}
		_ = res.Body.Close()
		statuses <- res.StatusCode
	}()
	<-asked
	require.Zero(t, h.Disconnect("ada"))
	answer <- struct{}{}
	require.Equal(t, http.StatusForbidden, <-statuses)
}

// A program without a Remote publishes the same, and needs no answer.
func TestACommandOfAnotherProgram(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, url := serve(t, pool, gateway.Config{Authenticate: named, Remote: "web"})
		ada := signIn(t, url, "ada")
		remote(t, pool, "web", 1)
		for _, command := range []string{"nonsense", `{"op": "no", "principal": "ada"}`, `{"op": "disconnect"}`, `{"op": "send", "principal": "ada", "data": "aGVsbG8="}`, `{"op": "disconnect", "principal": "ada"}`} {
			require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "gateway:0:remote:web"), command).Err())
		}
		require.Equal(t, "hello", ada.raw())
		require.Equal(t, gateway.CloseDisconnected, ada.closed())
	})
}

// A handler that does not answer is named by the error; what must not be missed is kept.
func TestARemoteThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	r := remote(t, pool, "web", 0)
	deaf := pool.Redis().Subscribe(t.Context(), key(t, pool, "gateway:0:remote:web"))
	defer deaf.Close()
	_, err := deaf.Receive(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = r.Disconnect(ctx, "ada")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "1 of 1 handlers have not answered")
	require.Equal(t, int64(1), pool.Redis().ZCard(t.Context(), key(t, pool, "gateway:remote:web")).Val())
	require.Positive(t, pool.Redis().PTTL(t.Context(), key(t, pool, "gateway:remote:web")).Val())
}

func TestRemotesAreChecked(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, err := gateway.NewRemote(nil, "web")
	require.ErrorContains(t, err, "nil pool")
	for _, name := range []string{"", "a*", "a\nb"} {
		_, err = gateway.NewRemote(pool, name)
		require.Error(t, err, name)
	}
	_, err = gateway.New(pool, gateway.Config{Remote: "a*"})
	require.ErrorContains(t, err, "Config.Remote")
	r, err := gateway.NewRemote(pool, "web")
	require.NoError(t, err)
	_, err = r.Disconnect(t.Context(), "")
	require.ErrorContains(t, err, "no name")
	_, err = r.Send(t.Context(), strings.Repeat("x", 1025), nil)
	require.ErrorContains(t, err, "1025 bytes")
	_, err = r.Subscribe(t.Context(), "ada", "")
	require.ErrorContains(t, err, "channel")
	require.NoError(t, r.Close())
	_, err = r.Send(t.Context(), "ada", nil)
	require.ErrorIs(t, err, gateway.ErrClosed)
}

// A handler that was cut off for longer than Redis keeps commands can't know whom it should
// have disconnected: all clients with a principal authenticate anew.
func TestAHandlerThatWasAwayForTooLong(t *testing.T) {
	t.Parallel()
	h, url := serve(t, storagetest.New(t), gateway.Config{Authenticate: named})
	ada, nobody := signIn(t, url, "ada"), signIn(t, url, "")
	require.NoError(t, h.CatchUpAfter(24*time.Hour+time.Second))
	require.Equal(t, "closing", ada.news().Status)
	require.Equal(t, gateway.CloseRestart, ada.closed())
	require.Empty(t, nobody.does("PING"))
}

// On a cluster, which does not tell how many handlers there are.
func TestRemoteOnACluster(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	cluster := storagetest.StartCluster(t)
	cfg := gateway.Config{Authenticate: named, Remote: "web", Channels: []gateway.Channel{{Pattern: "room", Presence: true}, {Pattern: "joins:*", Joins: "joins:"}}}
	_, one := serve(t, storagetest.Open(t, cluster.Config()), cfg)
	_, two := serve(t, storagetest.Open(t, cluster.Config()), cfg)
	ada := []*browser{signIn(t, one, "ada"), signIn(t, two, "ada")}
	bob := signIn(t, one, "bob")
	require.Empty(t, bob.does("SUB joins:room"))
	r := remote(t, storagetest.Open(t, cluster.Config()), "web", 2)
	for _, do := range []func(context.Context, string, string) (gateway.Reached, error){r.Subscribe, r.Unsubscribe} {
		reached, err := do(t.Context(), "ada", "room")
		require.NoError(t, err)
		require.Equal(t, gateway.Reached{Handlers: 2, Connections: 2}, reached)
	}
	for _, event := range []string{"joined", "joined", "left", "left"} {
		require.Equal(t, event, bob.event("room").Event)
	}
	for _, b := range ada {
		require.Equal(t, "subscribed", b.news().Status)
		require.Equal(t, "unsubscribed", b.news().Status)
	}
	_, err := r.Disconnect(t.Context(), "ada")
	require.NoError(t, err)
	for _, b := range ada {
		require.Equal(t, gateway.CloseDisconnected, b.closed())
	}
}
