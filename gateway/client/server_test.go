package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/client"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// number is what the server of a suite publishes: 1, 2, 3 and so on in each channel.
type number struct {
	N   int  `json:"n"`
	End bool `json:"end,omitempty"`
}

var history = pubsub.History{Size: 100_000}

// suite is a server for testdata/suite.mjs.
type suite struct {
	t      *testing.T
	pool   *storage.Pool
	topics map[string]pubsub.Topic[number]
	ps     *pubsub.Client
	http   *httptest.Server
	proxy  *proxy

	mu     sync.Mutex
	last   map[string]int
	report chan report
}

// report is what the suite says of its tests.
type report struct {
	Failed map[string]string
	Passed map[string]any
}

func newSuite(t *testing.T) *suite {
	redisServer := storagetest.Start(t)
	s := &suite{t: t, pool: storagetest.Open(t, redisServer.Config()), last: make(map[string]int), report: make(chan report, 1)}
	ps, err := pubsub.NewClient(s.pool, pubsub.Config{})
	require.NoError(t, err)
	s.ps = ps
	topic := func(name string) pubsub.Topic[number] { return pubsub.NewTopic[number](name).WithCodec(storage.JSON) }
	s.topics = map[string]pubsub.Topic[number]{
		"log": topic("log").WithHistory(history), "plain": topic("plain"), "chat": topic("chat"), "ships": topic("ships"), "state": topic("state"),
	}
	rdb := s.pool.Redis()
	require.NoError(t, rdb.HSet(t.Context(), "ships", "one", `{"at": 1}`, "two", "two").Err())
	require.NoError(t, rdb.HSet(t.Context(), "state", "n", `{"n": 0}`).Err())
	require.NoError(t, rdb.Set(t.Context(), "text", "no hash", 0).Err())

	limits := gateway.Limits{Commands: 10_000, CommandBurst: 10_000}
	cfg := gateway.Config{
		Channels: []gateway.Channel{
			{Pattern: "log", History: &history}, {Pattern: "plain"}, {Pattern: "chat", Presence: true}, {Pattern: "ships"}, {Pattern: "state"},
		},
		Keys:              []string{"ships", "state", "text", "nothing"},
		ClientPublish:     true,
		InsecureAnyOrigin: true,
		Limits:            limits,
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			return gateway.Principal{Name: r.URL.Query().Get("user")}, nil
		},
		Commands: map[string]gateway.Command{"SLEEP": {Run: func(ctx context.Context, _ *gateway.Conn, _ gateway.Request) error {
			<-ctx.Done()
			return ctx.Err()
		}}},
		Allow: func(_ context.Context, _ *gateway.Conn, op gateway.Op, name string) bool {
			return op != gateway.OpPublish || name == "chat"
		},
	}
	signed := cfg
	signed.Authenticate = func(r *http.Request) (gateway.Principal, error) {
		for name := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(name), "jwt."); ok {
				return principal(token)
			}
		}
		return gateway.Principal{}, errors.New("no token")
	}
	signed.Refresh = func(_ context.Context, _ *gateway.Conn, token string) (gateway.Principal, error) {
		return principal(token)
	}

	mux := http.NewServeMux()
	mux.Handle("/heliograph.js", client.Handler())
	mux.Handle("/suite.mjs", http.FileServer(http.Dir("testdata")))
	mux.HandleFunc("/suite.html", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><meta charset=utf-8><title>suite</title>`)
	})
	var current atomic.Pointer[gateway.Handler]
	current.Store(s.handler(cfg))
	open := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) })
	mux.Handle("/ws", open)
	mux.Handle("/signed", s.handler(signed))
	mux.HandleFunc("/events-only", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			http.Error(w, "no WebSockets here", http.StatusForbidden)
			return
		}
		open.ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /publish", s.publish)
	mux.HandleFunc("POST /close", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		for _, c := range current.Load().Conns() {
			if c.Principal().Name == r.FormValue("user") {
				c.Close(gateway.CloseCode(code), "as the test wants")
			}
		}
	})
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, r *http.Request) {
		before := current.Swap(s.handler(cfg))
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := before.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("POST /restart-redis", func(http.ResponseWriter, *http.Request) { redisServer.Restart() })
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		claims := fmt.Sprintf(`{"exp": %f}`, float64(time.Now().Add(4*time.Second).UnixMilli())/1000)
		fmt.Fprint(w, "e30."+base64.RawURLEncoding.EncodeToString([]byte(claims))+".c2ln")
	})
	mux.HandleFunc("POST /freeze", func(http.ResponseWriter, *http.Request) { s.proxy.freeze(true) })
	mux.HandleFunc("POST /thaw", func(http.ResponseWriter, *http.Request) { s.proxy.freeze(false) })
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		var rep report
		if err := json.NewDecoder(r.Body).Decode(&rep); err != nil {
			rep.Failed = map[string]string{"report": err.Error()}
		}
		s.report <- rep
	})
	s.control(mux)
	s.http = httptest.NewServer(mux)
	t.Cleanup(s.http.Close)
	s.proxy = newProxy(t, s.http.Listener.Addr().String())
	return s
}

// principal reads a token, which the test does not sign.
func principal(token string) (gateway.Principal, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return gateway.Principal{}, errors.New("not a token")
	}
	var claims struct{ Exp float64 }
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	return gateway.Principal{Expires: time.UnixMilli(int64(claims.Exp * 1000))}, err
}

func (s *suite) handler(cfg gateway.Config) *gateway.Handler {
	h, err := gateway.New(s.pool, cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = h.Close() })
	return h
}

// publish publishes the next numbers of a channel.
func (s *suite) publish(w http.ResponseWriter, r *http.Request) {
	count, _ := strconv.Atoi(r.FormValue("count"))
	for range count {
		if err := s.next(r.Context(), r.FormValue("channel")); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
}

// next publishes the next number of a channel. That of state is also in its hash.
func (s *suite) next(ctx context.Context, channel string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[channel]++
	n := number{N: s.last[channel]}
	if channel != "state" {
		_, err := pubsub.Publish(ctx, s.ps, s.topics[channel], n)
		return err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = s.pool.Redis().TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.HSet(ctx, "state", "n", text)
		tx.Publish(ctx, "state", text)
		return nil
	})
	return err
}

// storm publishes until the proxy has cut so many connections, then lets the client
// read what is left, until done is closed.
func (s *suite) storm(cuts int, seed uint64, done <-chan struct{}) {
	ctx := s.t.Context()
	channels := []string{"log", "plain", "state"}
	s.proxy.cutAt(seed, cuts)
	for !closed(done) && s.proxy.left() > 0 {
		for _, channel := range channels {
			if err := s.next(ctx, channel); err != nil {
				s.t.Error(err)
				return
			}
		}
		pause(done, time.Millisecond)
	}
	for !closed(done) {
		for _, channel := range channels {
			if _, err := pubsub.Publish(ctx, s.ps, s.topics[channel], number{N: s.last[channel] + 1, End: true}); err != nil {
				s.t.Error(err)
				return
			}
		}
		pause(done, 50*time.Millisecond)
	}
}

func pause(done <-chan struct{}, d time.Duration) {
	select {
	case <-done:
	case <-time.After(d):
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// await returns the report of the suite. The context ends the wait.
func (s *suite) await(ctx context.Context) report {
	select {
	case r := <-s.report:
		return r
	case <-ctx.Done():
		require.Fail(s.t, "no report", context.Cause(ctx))
		return report{}
	}
}

// names are the tests of the suite, cuts aside.
var names = []string{"commands", "signals", "snapshots", "slowReaders", "codes", "tokens", "silence", "eventStreams", "control", "restarts"}

func requirePassed(t *testing.T, r report, names ...string) {
	t.Helper()
	for name, why := range r.Failed {
		t.Errorf("%s: %s", name, why)
	}
	for _, name := range names {
		require.Contains(t, r.Passed, name)
	}
	t.Log(r.Passed)
}
