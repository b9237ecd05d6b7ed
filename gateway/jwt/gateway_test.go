package jwt_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/jwt"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// browser is a client of a gateway.
type browser struct {
	t    testing.TB
	conn *websocket.Conn
}

// serve runs a gateway whose clients a verifier signs in.
func serve(t testing.TB, pool *storage.Pool, v *jwt.Verifier) (h *gateway.Handler, url string) {
	t.Helper()
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "*"}}, Keys: []string{"*"}, ClientPublish: true,
		Authenticate: v.Authenticate, Refresh: v.Refresh, Allow: v.Allow,
	})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		_ = h.Close()
		srv.Close()
	})
	return h, srv.URL
}

// open connects, with a token if there is one.
func open(t testing.TB, url, token string) *browser {
	t.Helper()
	opts := &websocket.DialOptions{HTTPHeader: http.Header{}}
	if token != "" {
		opts.HTTPHeader.Set("Authorization", "Bearer "+token)
	}
	conn, _, err := websocket.Dial(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	b := &browser{t, conn}
	require.Equal(t, `{"status":"open"}`, b.hear())
	return b
}

// hear returns the content of the next message, or the code of an error.
func (b *browser) hear() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	_, data, err := b.conn.Read(ctx)
	require.NoError(b.t, err)
	var e struct{ Content json.RawMessage }
	require.NoError(b.t, json.Unmarshal(data, &e))
	var refused struct{ Code string }
	if json.Unmarshal(e.Content, &refused) == nil && refused.Code != "" {
		return refused.Code
	}
	return string(e.Content)
}

func (b *browser) ask(command string) string {
	b.t.Helper()
	require.NoError(b.t, b.conn.Write(b.t.Context(), websocket.MessageText, []byte(command)))
	return b.hear()
}

// What lists nothing allows nothing, and what a claim grants is granted for that alone.
func TestClaimsGrant(t *testing.T) {
	t.Parallel()
	const subscribed, null, published = `{"status": "subscribed", "channel": "a/1"}`, `null`, `"status":"published"`
	v := newVerifier(t, everyKey())
	_, url := serve(t, storagetest.New(t), v)
	for _, test := range []struct {
		grants         claims
		sub, get, open string
	}{
		{claims{}, "forbidden", "forbidden", "forbidden"},
		{claims{"channels": []string{}, "keys": nil}, "forbidden", "forbidden", "forbidden"},
		{claims{"channels": []string{"b", "a*"}}, subscribed, "forbidden", "forbidden"},
		{claims{"keys": []string{"*"}}, "forbidden", null, "forbidden"},
		{claims{"publish": []string{"a/1"}}, "forbidden", "forbidden", published},
		{claims{"channels": []string{"a/2"}, "keys": []string{"b*"}, "publish": []string{"?"}}, "forbidden", "forbidden", "forbidden"},
	} {
		b := open(t, url, hs(ada(test.grants)))
		require.Equal(t, test.get, b.ask("GET a/1"), test.grants)
		require.Contains(t, b.ask("PUB a/1 1"), test.open, test.grants)
		require.Equal(t, test.sub, b.ask("SUB a/1 ack=1"), test.grants)
		require.Equal(t, "forbidden", b.ask("GET kw:{stage}:v:TEMP"), "the gateway keeps its own names from *")
	}
}

func TestBadTokensGetNoConnection(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, everyKey())
	_, url := serve(t, storagetest.New(t), v)
	for _, token := range []string{"", "x", hs(ada(claims{"exp": time.Now().Add(-time.Hour).Unix()})), hs(ada(claims{"aud": "bank"}))} {
		opts := &websocket.DialOptions{HTTPHeader: http.Header{}}
		if token != "" {
			opts.HTTPHeader.Set("Authorization", "Bearer "+token)
		}
		_, resp, err := websocket.Dial(t.Context(), url, opts)
		require.Error(t, err)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
}

// AUTH renews a connection of the same principal, whose grants may have changed.
func TestAuthRefreshes(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, everyKey())
	h, url := serve(t, storagetest.New(t), v)
	first := time.Now().Add(time.Hour).Truncate(time.Second)
	b := open(t, url, hs(ada(claims{"exp": first.Unix(), "channels": []string{"a", "b"}})))
	b.ask("SUB a ack=1")
	b.ask("SUB b ack=1")
	require.Equal(t, "forbidden", b.ask("AUTH "+hs(ada(claims{"sub": "bob", "channels": []string{"a", "b", "c"}}))), "another principal")
	require.Equal(t, "forbidden", b.ask("AUTH "+hs(ada(claims{"exp": first.Add(-2 * time.Hour).Unix()}))), "expired")
	require.Equal(t, "forbidden", b.ask("AUTH "+sign(jose.HS256, append(secret, 'x'), "", ada(nil))), "forged")
	c := h.Conns()[0]
	require.True(t, c.Principal().Expires.Equal(first.Add(30*time.Second)), "what is refused changes nothing")
	require.Equal(t, "forbidden", b.ask("SUB c"))

	require.JSONEq(t, `{"status": "unsubscribed", "channel": "a"}`, b.ask("AUTH "+hs(ada(claims{"exp": first.Add(time.Hour).Unix(), "channels": []string{"b", "c"}}))))
	require.JSONEq(t, `{"status": "authenticated"}`, b.hear())
	require.True(t, c.Principal().Expires.Equal(first.Add(time.Hour+30*time.Second)))
	require.JSONEq(t, `{"status": "subscribed", "channel": "c"}`, b.ask("SUB c ack=1"))
	require.Equal(t, []string{"b", "c"}, c.Channels())
}

// A browser, which can't send headers, signs in by AUTH.
func TestSignIn(t *testing.T) {
	t.Parallel()
	cfg := everyKey()
	cfg.SignIn = time.Hour
	h, url := serve(t, storagetest.New(t), newVerifier(t, cfg))
	b := open(t, url, "")
	require.Equal(t, "forbidden", b.ask("GET a"))
	require.Equal(t, "forbidden", b.ask("SUB a"))
	require.Equal(t, "forbidden", b.ask("AUTH x"))
	require.JSONEq(t, `{"status": "authenticated"}`, b.ask("AUTH "+hs(ada(claims{"keys": []string{"a"}}))))
	require.Equal(t, "null", b.ask("GET a"))
	require.Equal(t, "ada", h.Conns()[0].Principal().Name)
	require.Equal(t, "forbidden", b.ask("AUTH "+hs(ada(claims{"sub": "bob"}))))
}

// A client that doesn't sign in is closed with 4001.
func TestSignInEnds(t *testing.T) {
	t.Parallel()
	cfg := everyKey()
	cfg.SignIn = time.Second
	_, url := serve(t, storagetest.New(t), newVerifier(t, cfg))
	b := open(t, url, "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, _, err := b.conn.Read(ctx)
	require.EqualValues(t, gateway.CloseExpired, websocket.CloseStatus(err), "%v", err)
}
