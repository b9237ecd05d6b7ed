package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/jwt"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// A gateway for the users of an identity provider. What a token grants is in its claims
// channels, keys and publish; Config.Channels and Keys bound what tokens may grant.
func Example() {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	provider, issue := exampleProvider()
	defer provider.Close()

	v, err := jwt.New(jwt.Config{
		URL:      provider.URL, // https://id.example.org/jwks.json
		Issuer:   "https://id.example.org",
		Audience: []string{"trains"},
		SignIn:   10 * time.Second, // browsers can't send headers: they sign in by AUTH
	})
	if err != nil {
		log.Fatal(err)
	}
	h, err := gateway.New(pool, gateway.Config{
		Channels:     []gateway.Channel{{Pattern: "trains.*"}},
		Authenticate: v.Authenticate,
		Refresh:      v.Refresh,
		Allow:        v.Allow,
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()

	say, hear := exampleBrowser(srv.URL)
	fmt.Println(hear())
	say("AUTH " + issue("ada", "trains", "trains.regional"))
	fmt.Println(hear())
	say("SUB trains.regional ack=1")
	fmt.Println(hear())
	say("SUB trains.freight ack=1")
	fmt.Println(hear())
	fmt.Printf("%+v\n", v.Stats())
	// Output:
	// {"status":"open"}
	// {"status":"authenticated"}
	// {"status": "subscribed", "channel": "trains.regional"}
	// {"code": "forbidden", "message": "subscribe trains.freight is not allowed", "command": "SUB"}
	// {Accepted:1 Refused:0 Reads:1 ReadErrors:0}
}

// A secret that the issuer and this service share, and claims of other names.
func ExampleVerifier_Verify() {
	v, err := jwt.New(jwt.Config{
		Keys:   []jwt.Key{{ID: "2026", Key: exampleSecret}},
		Claims: jwt.Claims{Name: "email", Channels: "https://example.org/channels"},
		Leeway: 5 * time.Second,
		Limits: jwt.Limits{TokenBytes: 4 << 10},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	p, err := v.Verify(ctx, exampleToken(map[string]any{
		"email": "ada@example.org", "exp": time.Now().Add(time.Hour).Unix(),
		"https://example.org/channels": []string{"ships.*"}, "role": "pilot",
	}))
	token := p.Data.(*jwt.Token)
	fmt.Println(p.Name, token.Channels, token.Keys, token.Publish, string(token.Claims["role"]), err)
	_, err = v.Verify(ctx, exampleToken(map[string]any{"email": "ada@example.org", "exp": 1_700_000_000}))
	fmt.Println(errors.Is(err, jwt.ErrExpired), errors.Is(err, jwt.ErrInvalid))
	_, err = v.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(errors.Is(err, jwt.ErrNoToken))
	// Output:
	// ada@example.org [ships.*] [] [] "pilot" <nil>
	// true true
	// true
}

// Keys from a file that a secret store rewrites, and tokens in the subprotocol or the URL,
// for browsers that must be signed in from the beginning.
func ExampleNew_file() {
	v, err := jwt.New(jwt.Config{
		File:        "/run/secrets/keys.json",
		Subprotocol: "jwt.", // new WebSocket(url, ["heliograph.json.v1", "jwt." + token])
		Query:       "token",
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = v.Authenticate(httptest.NewRequest(http.MethodGet, "/?token="+exampleToken(nil), nil))
	fmt.Println(errors.Is(err, jwt.ErrKeys)) // there is no such file here
	// Output: true
}
