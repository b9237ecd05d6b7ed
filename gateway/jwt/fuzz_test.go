package jwt_test

import (
	"errors"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/heliograph/heliograph/gateway/jwt"
)

// FuzzVerify takes any text for a token, and any bytes for the claims of a token whose
// signature is right.
func FuzzVerify(f *testing.F) {
	for _, seed := range []string{
		"", "a.b.c", hs(ada(nil)), `{"sub":"ada","exp":9999999999,"channels":["a*"],"keys":["[a"],"publish":[]}`,
		`{"sub":"ada","exp":1e18,"nbf":-1e18,"iat":0.5,"aud":["a","b"]}`, `{"sub":{},"exp":[]}`, `[[[[`, `{"channels":{"a":null}}`,
	} {
		f.Add(seed)
	}
	v := newVerifier(f, everyKeyAnyClaims())
	f.Fuzz(func(t *testing.T, text string) {
		for _, token := range []string{text, hs([]byte(text))} {
			p, err := v.Verify(t.Context(), token)
			switch {
			case err == nil && (p.Name == "" || p.Expires.IsZero() || p.Data.(*jwt.Token) == nil):
				t.Fatalf("%q: let in as %+v", text, p)
			case err != nil && (!errors.Is(err, jwt.ErrInvalid) || p.Name != "" || p.Data != nil):
				t.Fatalf("%q: %v, %+v", text, err, p)
			}
		}
	})
}

// everyKeyAnyClaims is everyKey for any issuer and audience.
func everyKeyAnyClaims() jwt.Config {
	cfg := everyKey()
	cfg.Issuer, cfg.Audience = "", nil
	return cfg
}

// FuzzKeySet takes any bytes for a key set: it may lose keys, but never verify what none
// of its keys has signed.
func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"keys": 1}`, `{"keys": [{}]}`, set(jwk("1", &ecKey().PublicKey)), set(jwk("1", &rsaKey().PublicKey)),
		set(jwk("", edKey().Public())), set(jwk("", secret)), set(jwk("1", rsaKey())), `{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}`,
		`{"keys": [{"kty": "EC", "crv": "P-256", "x": "", "y": ""}]}`, `{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}`,
	} {
		f.Add([]byte(seed))
	}
	token, forged := sign(jose.ES256, ecKey(), "1", ada(nil)), hs(ada(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		v := (&issuer{body: string(body)}).verifier(t)
		if _, err := v.Verify(t.Context(), forged); err == nil {
			t.Fatalf("%q: a secret of a URL has verified", body)
		}
		if _, err := v.Verify(t.Context(), token); err != nil && !errors.Is(err, jwt.ErrInvalid) && !errors.Is(err, jwt.ErrKeys) {
			t.Fatalf("%q: %v", body, err)
		}
	})
}
