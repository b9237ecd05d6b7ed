package jwt_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/jwt"
)

// everyKey verifies tokens of all algorithms.
func everyKey() jwt.Config {
	return jwt.Config{
		Keys:   []jwt.Key{{Key: secret}, {Key: &rsaKey().PublicKey}, {Key: &ecKey().PublicKey}, {ID: "ed", Key: edKey().Public()}},
		Issuer: "https://id.example.org", Audience: []string{"atlas", "maps"},
	}
}

func TestVerifyAcceptsEachAlgorithm(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, everyKey())
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	for alg, key := range map[jose.SignatureAlgorithm]any{jose.HS256: secret, jose.RS256: rsaKey(), jose.ES256: ecKey(), jose.EdDSA: edKey()} {
		for _, kid := range []string{"", "ed"} {
			p, err := v.Verify(t.Context(), sign(alg, key, kid, ada(claims{
				"exp": exp.Unix(), "channels": []string{"trains.*"}, "keys": []string{"stops"}, "publish": []string{}, "level": 3,
			})))
			require.NoError(t, err, alg)
			require.Equal(t, "ada", p.Name)
			require.True(t, p.Expires.Equal(exp.Add(30*time.Second)), "the leeway")
			token := p.Data.(*jwt.Token)
			require.Equal(t, []string{"trains.*"}, token.Channels)
			require.Equal(t, []string{"stops"}, token.Keys)
			require.Empty(t, token.Publish)
			require.JSONEq(t, "3", string(token.Claims["level"]))
		}
	}
	require.Equal(t, jwt.Stats{Accepted: 8}, v.Stats())
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, everyKey())
	stranger := must(rsa.GenerateKey(rand.Reader, 2048))
	der := must(x509.MarshalPKIXPublicKey(&rsaKey().PublicKey))
	b64 := base64.RawURLEncoding.EncodeToString
	body := b64(must(json.Marshal(ada(nil))))
	signed := sign(jose.RS256, rsaKey(), "", ada(nil))
	parts := strings.Split(signed, ".")
	past, future := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Minute).Unix()
	for name, token := range map[string]string{
		"empty": "", "dots": "..", "words": "not a token", "four parts": signed + ".x", "JSON": `{"payload":"e30","signature":""}`,
		"none":                    b64([]byte(`{"alg":"none"}`)) + "." + body + ".",
		"None with a signature":   b64([]byte(`{"alg":"None"}`)) + "." + body + "." + parts[2],
		"no algorithm":            b64([]byte(`{}`)) + "." + body + "." + parts[2],
		"HS256 by the public DER": sign(jose.HS256, der, "", ada(nil)),
		"HS256 by the public PEM": sign(jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "", ada(nil)),
		"HS512":                   sign(jose.HS512, append(secret, secret...), "", ada(nil)),
		"RS512":                   sign(jose.RS512, rsaKey(), "", ada(nil)),
		"PS256":                   sign(jose.PS256, rsaKey(), "", ada(nil)),
		"a stranger's key":        sign(jose.RS256, stranger, "", ada(nil)),
		"a stranger's key inside": sign(jose.RS256, stranger, "", ada(nil), map[jose.HeaderKey]any{"jwk": &jose.JSONWebKey{Key: &stranger.PublicKey}}),
		"a stranger's address":    sign(jose.RS256, stranger, "", ada(nil), map[jose.HeaderKey]any{"jku": "https://evil.example.org"}),
		"another kid":             sign(jose.EdDSA, edKey(), "other", ada(nil)),
		"another body":            parts[0] + "." + b64([]byte(`{"sub":"root","exp":9999999999}`)) + "." + parts[2],
		"another header":          b64([]byte(`{"alg":"ES256"}`)) + "." + parts[1] + "." + parts[2],
		"unknown crit":            sign(jose.HS256, secret, "", ada(nil), map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}),
		"no longer valid":         hs(ada(claims{"exp": past})),
		"not yet valid":           hs(ada(claims{"nbf": future})),
		"of the future":           hs(ada(claims{"iat": future})),
		"never expires":           hs(ada(claims{"exp": nil})),
		"exp a string":            hs(ada(claims{"exp": "tomorrow"})),
		"exp too large":           hs(ada(claims{"exp": 1e300})),
		"another issuer":          hs(ada(claims{"iss": "https://evil.example.org"})),
		"no issuer":               hs(ada(claims{"iss": nil})),
		"another audience":        hs(ada(claims{"aud": []string{"bank", "Maps"}})),
		"no audience":             hs(ada(claims{"aud": nil})),
		"no name":                 hs(ada(claims{"sub": nil})),
		"an empty name":           hs(ada(claims{"sub": ""})),
		"a number for a name":     hs(ada(claims{"sub": 7})),
		"channels a string":       hs(ada(claims{"channels": "*"})),
		"channels of numbers":     hs(ada(claims{"channels": []any{"a", 1}})),
		"a wrong glob":            hs(ada(claims{"keys": []string{"[a"}})),
		"an empty glob":           hs(ada(claims{"publish": []string{""}})),
		"claims that are a list":  hs([]byte(`[1]`)),
		"claims of nothing":       hs([]byte(`null`)),
		"a claim twice":           hs([]byte(`{"sub":"ada","sub":"root","exp":9999999999,"iss":"https://id.example.org","aud":"maps"}`)),
		"too long":                hs(ada(claims{"x": strings.Repeat("x", 8<<10)})),
	} {
		p, err := v.Verify(t.Context(), token)
		require.ErrorIs(t, err, jwt.ErrInvalid, name)
		require.Zero(t, p, name)
		require.Equal(t, name == "no longer valid", strings.Contains(err.Error(), "has expired"), name)
		if len(token) > 20 {
			require.NotContains(t, err.Error(), token[len(token)-20:], "an error is logged: it must not have the token")
		}
	}
	_, err := v.Verify(t.Context(), hs(ada(claims{"exp": past})))
	require.ErrorIs(t, err, jwt.ErrExpired)
	require.Zero(t, v.Stats().Accepted)
}

func TestVerifyChecksOnlyWhatIsConfigured(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, jwt.Config{Keys: []jwt.Key{{Key: secret}}, Claims: jwt.Claims{Name: "email", Channels: "https://example.org/follow"}})
	p, err := v.Verify(t.Context(), hs(ada(claims{"email": "ada@example.org", "iss": nil, "aud": "any", "https://example.org/follow": []string{"a"}, "channels": 7})))
	require.NoError(t, err)
	require.Equal(t, "ada@example.org", p.Name)
	require.Equal(t, []string{"a"}, p.Data.(*jwt.Token).Channels)
	_, err = newVerifier(t, jwt.Config{Keys: []jwt.Key{{Key: secret}}, Limits: jwt.Limits{TokenBytes: 10}}).Verify(t.Context(), hs(ada(nil)))
	require.ErrorContains(t, err, "Limits.TokenBytes is 10")
}

// Clocks may differ by the leeway, and no more.
func TestLeeway(t *testing.T) {
	t.Parallel()
	for leeway, want := range map[time.Duration]time.Duration{0: 30 * time.Second, -1: 0, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, jwt.Config{Keys: []jwt.Key{{Key: secret}}, Leeway: leeway})
			now := time.Now()
			early := hs(claims{"sub": "ada", "exp": now.Add(time.Hour).Unix(), "nbf": now.Add(want + time.Second).Unix()})
			_, err := v.Verify(t.Context(), early)
			require.ErrorContains(t, err, "not valid yet")
			time.Sleep(time.Second)
			_, err = v.Verify(t.Context(), early)
			require.NoError(t, err)
			time.Sleep(time.Hour - time.Second + want)
			_, err = v.Verify(t.Context(), early)
			require.NoError(t, err)
			time.Sleep(time.Nanosecond)
			_, err = v.Verify(t.Context(), early)
			require.ErrorIs(t, err, jwt.ErrExpired)
		})
	}
}

func TestAuthenticateFindsTheToken(t *testing.T) {
	t.Parallel()
	cfg := everyKey()
	bare := newVerifier(t, cfg)
	cfg.Query, cfg.Subprotocol = "token", "jwt."
	v := newVerifier(t, cfg)
	token := hs(ada(nil))
	request := func(target string, headers ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return r
	}
	header := request("/", "Authorization", "bearer "+token)
	query := request("/?token=" + token)
	protocol := request("/", "Sec-WebSocket-Protocol", "heliograph.json.v1, jwt."+token)
	for _, r := range []*http.Request{header, query, protocol} {
		p, err := v.Authenticate(r)
		require.NoError(t, err)
		require.Equal(t, "ada", p.Name)
	}
	_, err := bare.Authenticate(header)
	require.NoError(t, err)
	for _, r := range []*http.Request{query, protocol, request("/", "Authorization", "Basic "+token), request("/", "Authorization", token)} {
		_, err := bare.Authenticate(r)
		require.ErrorIs(t, err, jwt.ErrNoToken)
	}
	for _, r := range []*http.Request{
		request("/?token=" + token + "&token=" + token),
		request("/?token="+token, "Authorization", "Bearer "+token),
		request("/", "Authorization", "Bearer "+token, "Authorization", "Bearer "+token),
		request("/", "Sec-WebSocket-Protocol", "jwt."+token, "Sec-WebSocket-Protocol", "jwt.x"),
		request("/", "Authorization", "Bearer "),
	} {
		_, err := v.Authenticate(r)
		require.ErrorIs(t, err, jwt.ErrInvalid)
	}
	require.Equal(t, jwt.Stats{Accepted: 3, Refused: 5}, v.Stats())

	cfg.SignIn = time.Minute
	p, err := newVerifier(t, cfg).Authenticate(request("/"))
	require.NoError(t, err)
	require.WithinRange(t, p.Expires, time.Now(), time.Now().Add(time.Minute))
	p.Expires = time.Time{}
	require.Equal(t, gateway.Principal{}, p)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	key := []jwt.Key{{Key: secret}}
	for want, cfg := range map[string]jwt.Config{
		"jwt: Config.Keys, URL, File: one of them is required":                                           {},
		"jwt: Config.URL, File: they exclude each other":                                                 {URL: "https://a", File: "b"},
		`jwt: Config.URL: "keys.json" is not like https://example.org/jwks.json`:                         {URL: "keys.json"},
		`jwt: Config.URL: "file://host/x" is not https`:                                                  {URL: "file://host/x", InsecureHTTP: true},
		`jwt: Config.URL: "http://a/b" is not https: set InsecureHTTP if nothing can be between the two`: {URL: "http://a/b"},
		"jwt: Config.Keys[0]: a secret of 31 bytes; HS256 needs 32":                                      {Keys: []jwt.Key{{Key: secret[:31]}}},
		"jwt: Config.Keys[0]: a string is not a key":                                                     {Keys: []jwt.Key{{Key: "secret"}}},
		"jwt: Config.Keys[0]: a <nil> is not a key":                                                      {Keys: []jwt.Key{{}}},
		"jwt: Config.Keys[0]: a *rsa.PrivateKey is not a key":                                            {Keys: []jwt.Key{{Key: rsaKey()}}},
		"jwt: Config.Keys[0]: not an RSA key of 2,048 to 8,192 bits":                                     {Keys: []jwt.Key{{Key: (*rsa.PublicKey)(nil)}}},
		"jwt: Config.Keys[0]: not an ECDSA key on the curve P-256":                                       {Keys: []jwt.Key{{Key: &must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).PublicKey}}},
		"jwt: Config.Keys[0]: an Ed25519 key of 2 bytes":                                                 {Keys: []jwt.Key{{Key: ed25519.PublicKey("xy")}}},
		"jwt: Config.SignIn: -1ns is negative":                                                           {Keys: key, SignIn: -1},
		"jwt: Config.Audience: one of them is empty":                                                     {Keys: key, Audience: []string{""}},
		`jwt: Config.Subprotocol: "a, b" can't begin a subprotocol`:                                      {Keys: key, Subprotocol: "a, b"},
		"jwt: Config.Limits.TokenBytes: -1 is negative":                                                  {Keys: key, Limits: jwt.Limits{TokenBytes: -1}},
		"jwt: Config.Limits.Interval: -1ns is negative":                                                  {Keys: key, Limits: jwt.Limits{Interval: -1}},
	} {
		_, err := jwt.New(cfg)
		require.EqualError(t, err, want)
	}
	for _, cfg := range []jwt.Config{{URL: "http://127.0.0.1:1/x"}, {URL: "http://localhost/x"}, {URL: "http://[::1]/x"}, {URL: "http://a/b", InsecureHTTP: true}} {
		_, err := jwt.New(cfg)
		require.NoError(t, err)
	}
}
