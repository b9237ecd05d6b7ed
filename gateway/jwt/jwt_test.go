package jwt_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/jwt"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 20 * time.Second

// The issuer's keys.
var (
	secret = []byte("a secret of at least 32 bytes, or more")
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type claims map[string]any

// ada is a token's claims that are in order, with changes.
func ada(changes claims) claims {
	all := claims{"sub": "ada", "iss": "https://id.example.org", "aud": "maps", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range changes {
		all[name] = v
		if v == nil {
			delete(all, name)
		}
	}
	return all
}

// sign signs claims, or a payload as it is.
func sign(alg jose.SignatureAlgorithm, key any, kid string, payload any, headers ...map[jose.HeaderKey]any) string {
	opts := (&jose.SignerOptions{}).WithType("JWT")
	for _, h := range headers {
		for name, v := range h {
			opts = opts.WithHeader(name, v)
		}
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, opts))
	data, raw := payload.([]byte)
	if !raw {
		data = must(json.Marshal(payload))
	}
	return must(must(signer.Sign(data)).CompactSerialize())
}

// hs signs claims with the secret.
func hs(payload any) string { return sign(jose.HS256, secret, "", payload) }

func newVerifier(t testing.TB, cfg jwt.Config) *jwt.Verifier {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	v, err := jwt.New(cfg)
	require.NoError(t, err)
	return v
}
