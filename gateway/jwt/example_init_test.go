package jwt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
)

var exampleSecret = []byte("0123456789abcdef0123456789abcdef")

// exampleToken signs claims with exampleSecret.
func exampleToken(claims map[string]any) string {
	return exampleSign(jose.SigningKey{Algorithm: jose.HS256, Key: exampleSecret}, claims)
}

func exampleSign(key jose.SigningKey, claims any) string {
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		log.Fatal(err)
	}
	token, err := josejwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		log.Fatal(err)
	}
	return token
}

// exampleProvider is an identity provider: it publishes its key and issues tokens.
func exampleProvider() (srv *httptest.Server, issue func(name, audience string, channels ...string) string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "a", Use: "sig"}}})
	}))
	return srv, func(name, audience string, channels ...string) string {
		return exampleSign(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "a"}}, map[string]any{
			"iss": "https://id.example.org", "aud": audience, "sub": name, "channels": channels,
			"exp": time.Now().Add(time.Hour).Unix(),
		})
	}
}

// exampleBrowser connects to a gateway. hear returns the content of the next message.
func exampleBrowser(url string) (say func(string), hear func() string) {
	ctx := context.Background()
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	say = func(text string) {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	return say, func() string {
		_, data, err := conn.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		var e struct{ Content json.RawMessage }
		if err := json.Unmarshal(data, &e); err != nil {
			log.Fatal(err)
		}
		return string(e.Content)
	}
}
