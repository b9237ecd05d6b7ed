package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A stream that ends says why, in its last event.
func TestHowAnEventStreamEnds(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := gateway.Config{
		Channels: []gateway.Channel{{Pattern: "*", Slow: gateway.SlowDisconnect}},
		Authenticate: func(r *http.Request) (p gateway.Principal, err error) {
			p.Name = r.URL.Query().Get("user")
			return p, nil
		},
		Limits: gateway.Limits{Lifetime: time.Hour, Idle: time.Millisecond, Write: 2 * time.Second},
	}
	h, address := serve(t, pool, cfg)
	s := streams(t, address, "?sub=news&user=late")
	s.subscribed("news")
	h.Conns()[0].SetPrincipal(t.Context(), gateway.Principal{Expires: time.Now()})
	require.Equal(t, gateway.CloseExpired, s.ends())
	s = streams(t, address, "?sub=news&user=ada")
	s.subscribed("news")
	require.Equal(t, 1, h.Disconnect("ada"))
	require.Equal(t, gateway.CloseDisconnected, s.ends())
	s = streams(t, address, "?sub=news&user=eve")
	s.subscribed("news")
	h.Conns()[0].Close(gateway.CloseAbnormal, "x")
	require.EqualValues(t, 1005, s.ends(), "as a WebSocket's client sees a code that is not sent")

	s = streams(t, address, "?sub=news")
	s.subscribed("news")
	done := make(chan error)
	go func() { done <- h.Shutdown(t.Context()) }()
	require.Contains(t, s.content("status"), `"closing"`)
	e, _ := s.next()
	require.Equal(t, "close", e.name)
	require.JSONEq(t, `{"code": 1012, "reason": "restart"}`, e.data)
	require.Regexp(t, `^\d{4}$`, e.retry)
	_, more := s.next()
	require.False(t, more, "the end is a clean one")
	require.NoError(t, <-done)
	status, _ := refused(t, address, "?sub=news")
	require.Equal(t, http.StatusServiceUnavailable, status)
}

// A client that reads nothing does not hold up the handler: its stream ends.
func TestASlowEventStream(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := gateway.Config{Channels: anything.Channels, Limits: gateway.Limits{Write: time.Second}}
	h, address := serve(t, pool, cfg)
	s := streams(t, address, "?sub=news")
	s.subscribed("news")
	c := h.Conns()[0]
	big := []byte(strings.Repeat("x", 200<<10))
	require.Eventually(t, func() bool {
		c.Send(big)
		n := h.Stats()
		return n.Slow == 1 && n.Connections == 0
	}, patience, time.Millisecond)
}

// Hooks and the protocol are as for a WebSocket; what a page should not try again is refused
// with a status, and what it should is an event, since a page does not connect again after
// any other status than 200.
func TestTheHooksOfAnEventStream(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	ended := make(chan gateway.CloseReason, 1)
	cfg.Hooks = []gateway.Hooks{{
		Connect: func(ctx context.Context, c *gateway.Conn, r *http.Request) error {
			switch r.URL.Query().Get("do") {
			case "refuse":
				return gateway.Errorf(gateway.CodeForbidden, "no")
			case "unavailable":
				return context.DeadlineExceeded
			}
			c.Send([]byte("one\r\ntwo\xff"))
			return c.Subscribe(ctx, "news")
		},
		Disconnect: func(_ context.Context, _ *gateway.Conn, reason gateway.CloseReason) { ended <- reason },
	}}
	_, address := serve(t, pool, cfg)
	status, body := refused(t, address, "?sub=news&do=refuse")
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "refused", body)
	require.Equal(t, gateway.CloseRefused, (<-ended).Code)

	s := streams(t, address, "?do=unavailable")
	require.Equal(t, gateway.CloseTryAgain, s.ends())
	require.Equal(t, gateway.CloseTryAgain, (<-ended).Code)

	s = follow(t, http.DefaultClient, address, "?protocol=heliograph.json.v1")
	e, _ := s.next()
	require.Equal(t, event{name: "status", data: `{"type":"status","status":"open"}`}, e)
	e, _ = s.next()
	require.Equal(t, event{data: "one\ntwo\uFFFD"}, e)
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), "1").Err())
	e, _ = s.next()
	require.Regexp(t, `^\{"type":"message","channel":"news","content":1,"time":[0-9.]+\}$`, e.data)
	_ = s.response.Body.Close()
	require.Equal(t, gateway.CloseAbnormal, (<-ended).Code)
}

// Commands that say how the connection follows channels may be in the query, and go before
// the SUBs.
func TestCommandsInTheQueryOfAnEventStream(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Commands = map[string]gateway.Command{
		"ONLY": {Query: true, Min: 1, Max: 1, Run: func(_ context.Context, c *gateway.Conn, r gateway.Request) error {
			if r.Args[0] == "nothing" {
				return context.DeadlineExceeded
			}
			c.SetFilter("ONLY", func(m *gateway.Message) *gateway.Message {
				if strings.Contains(string(m.Content), r.Args[0]) {
					return m
				}
				return nil
			})
			return nil
		}},
		"WIPE": {Run: func(context.Context, *gateway.Conn, gateway.Request) error {
			t.Error("no command for a query")
			return nil
		}},
	}
	h, address := serve(t, pool, cfg)
	require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), "1", `"red"`, "2", `"blue"`).Err())
	s := streams(t, address, "?sub=news&wipe=&snapshot=1&only=blue")
	require.Equal(t, `"blue"`, s.content(""))
	s.subscribed("news")
	status, body := refused(t, address, "?sub=news&only=")
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "bad_command: only: usage: ONLY", body)

	s = streams(t, address, "?sub=news&only=nothing")
	require.Contains(t, s.content("failure"), `"unavailable"`)
	require.Equal(t, gateway.CloseTryAgain, s.ends())
	require.EqualValues(t, 1, h.Stats().Unavailable)
}

// What is in the way of the handler must let it set deadlines.
func TestAnEventStreamWithoutDeadlines(t *testing.T) {
	t.Parallel()
	h, err := gateway.New(storagetest.New(t), anything)
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/?sub=news", nil)
	r.Header.Set("Accept", "text/event-stream")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Zero(t, h.Stats().Connections)
}

// What has begun can't be refused with a status any more: the error is an event, and no bytes
// of a bad offset get into the stream.
func TestAnEventStreamThatFailsLate(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "*", History: &pubsub.History{Size: 10}}}, Keys: []string{"*"}}
	begun := make(chan struct{})
	cfg.Allow = func(ctx context.Context, _ *gateway.Conn, _ gateway.Op, name string) bool {
		if name == "waits" {
			select {
			case <-begun:
			case <-ctx.Done():
			}
		}
		return true
	}
	h, address := serve(t, pool, cfg)
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	require.NoError(t, err)
	_, err = pubsub.Publish(t.Context(), ps, pubsub.NewTopic[string]("large").WithHistory(*cfg.Channels[0].History), "x")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "large"), "1", strings.Repeat("x", 100<<10)).Err())
	s := streams(t, address, "?sub=large+snapshot=1&sub=waits&sub="+url.QueryEscape("news since=\"x\ndata: evil\""))
	require.Len(t, s.content(""), 100<<10+2)
	close(begun)
	for {
		e, ok := s.next()
		require.True(t, ok)
		require.NotContains(t, e.data, "evil\n")
		if e.name == "failure" {
			require.Contains(t, e.data, `"code": "bad_command"`)
			break
		}
		require.Equal(t, "status", e.name, e.data)
	}
	require.Equal(t, gateway.CloseRefused, s.ends())
	require.EqualValues(t, 1, h.Stats().Errors)
}
