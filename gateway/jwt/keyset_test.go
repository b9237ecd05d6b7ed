package jwt_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/jwt"
)

// set returns a JSON Web Key Set.
func set(keys ...any) string {
	return string(must(json.Marshal(map[string]any{"keys": append([]any{}, keys...)})))
}

func jwk(kid string, key any) jose.JSONWebKey { return jose.JSONWebKey{Key: key, KeyID: kid} }

// issuer answers requests for a key set.
type issuer struct {
	mu    sync.Mutex
	body  string
	err   error
	takes time.Duration
	asked atomic.Int64
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.asked.Add(1)
	i.mu.Lock()
	body, err, takes := i.body, i.err, i.takes
	i.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (i *issuer) now(body string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.body, i.err = body, err
}

func (i *issuer) verifier(t testing.TB) *jwt.Verifier {
	return newVerifier(t, jwt.Config{URL: "https://id.example.org/jwks", Client: &http.Client{Transport: i}})
}

// The issuer signs with a new key, and withdraws the old one.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	first, second := rsaKey(), ecKey() // not made in the bubble
	synctest.Test(t, func(t *testing.T) {
		old, new := sign(jose.RS256, first, "1", ada(claims{"exp": 1 << 40})), sign(jose.ES256, second, "2", ada(claims{"exp": 1 << 40}))
		id := &issuer{body: set(jwk("1", &first.PublicKey))}
		v := id.verifier(t)
		verify := func(token string) error { _, err := v.Verify(t.Context(), token); return err }
		require.Zero(t, id.asked.Load(), "New asks nothing")
		require.NoError(t, verify(old))
		require.ErrorContains(t, verify(new), `no key "2" for ES256`)
		require.EqualValues(t, 1, id.asked.Load(), "not again within the interval")

		id.now(set(jwk("1", &first.PublicKey), jwk("2", &second.PublicKey)), nil)
		time.Sleep(10 * time.Second)
		require.NoError(t, verify(old))
		require.EqualValues(t, 1, id.asked.Load(), "a known key asks for nothing")
		require.NoError(t, verify(new))
		require.NoError(t, verify(new))
		require.EqualValues(t, 2, id.asked.Load())

		id.now(set(jwk("2", &second.PublicKey)), nil)
		time.Sleep(time.Hour)
		require.ErrorIs(t, verify(old), jwt.ErrInvalid, "the set was read again at its age")
		require.NoError(t, verify(new))
		require.Equal(t, jwt.Stats{Accepted: 5, Refused: 2, Reads: 3}, v.Stats())
	})
}

// Whatever tokens name, the issuer is asked once per interval.
func TestUnknownKeysAskOncePerInterval(t *testing.T) {
	t.Parallel()
	key := ecKey()
	synctest.Test(t, func(t *testing.T) {
		id := &issuer{body: set(jwk("1", &key.PublicKey)), takes: time.Second}
		v := id.verifier(t)
		for round := range 3 {
			var all sync.WaitGroup
			for n := range 50 {
				all.Go(func() {
					kid := fmt.Sprint("x", n)
					if n%2 == 0 {
						kid = "1"
					}
					_, err := v.Verify(t.Context(), sign(jose.ES256, key, kid, ada(nil)))
					require.Equal(t, n%2 == 0, err == nil, "%v", err)
				})
			}
			all.Wait()
			require.EqualValues(t, round+1, id.asked.Load())
			time.Sleep(10 * time.Second)
		}
	})
}

// While the issuer can't be reached, the keys that were read stay in use, and no token
// waits for long.
func TestOldKeysStayWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	key := ecKey()
	synctest.Test(t, func(t *testing.T) {
		id := &issuer{err: errors.New("connection refused")}
		var log bytes.Buffer
		v := newVerifier(t, jwt.Config{URL: "https://id.example.org/jwks", Client: &http.Client{Transport: id}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		good := sign(jose.ES256, key, "1", ada(claims{"exp": 1 << 40}))
		verify := func() error { _, err := v.Verify(t.Context(), good); return err }
		for range 3 {
			err := verify()
			require.ErrorIs(t, err, jwt.ErrKeys)
			require.NotErrorIs(t, err, jwt.ErrInvalid)
			require.ErrorContains(t, err, "connection refused")
		}
		require.EqualValues(t, 1, id.asked.Load())
		id.now(set(jwk("1", &key.PublicKey)), nil)
		time.Sleep(10 * time.Second)
		require.NoError(t, verify())

		id.now("", errors.New("connection refused"))
		for range 100 {
			time.Sleep(time.Hour)
			require.NoError(t, verify())
		}
		id.mu.Lock()
		id.takes, id.err = time.Hour, nil
		id.mu.Unlock()
		time.Sleep(time.Hour)
		begun := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { require.NoError(t, verify()) })
		}
		synctest.Wait()
		require.Equal(t, jwt.Stats{Accepted: 1 + 100 + 19, Refused: 3, Reads: 103, ReadErrors: 101}, v.Stats(), "one waits, the others don't")
		all.Wait()
		require.Equal(t, 5*time.Second, time.Since(begun), "Limits.Timeout")
		require.Contains(t, log.String(), "jwt: key set not read")
	})
}

// A request that ends doesn't wait for another's read, nor does it end that.
func TestWaitsEndWithTheirContexts(t *testing.T) {
	t.Parallel()
	key := ecKey()
	synctest.Test(t, func(t *testing.T) {
		id := &issuer{body: set(jwk("1", &key.PublicKey)), takes: time.Second}
		v := id.verifier(t)
		good := sign(jose.ES256, key, "1", ada(nil))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := v.Verify(ctx, good)
			require.NoError(t, err, "it reads for the others as well")
		})
		synctest.Wait()
		all.Go(func() {
			_, err := v.Verify(ctx, good)
			require.ErrorIs(t, err, jwt.ErrKeys)
			require.ErrorIs(t, err, context.Canceled)
		})
		all.Go(func() {
			_, err := v.Verify(t.Context(), good)
			require.NoError(t, err)
		})
		synctest.Wait()
		cancel()
		all.Wait()
		require.EqualValues(t, 1, id.asked.Load())
	})
}

// A key set of a server that has been broken into costs little, and only keys that can
// verify are taken from it.
func TestHostileKeySets(t *testing.T) {
	t.Parallel()
	large := must(rsa.GenerateKey(rand.Reader, 2048)).PublicKey
	large.N = large.N.Lsh(large.N, 8192)
	small := must(rsa.GenerateKey(rand.Reader, 1024)).PublicKey
	good := jwk("1", &rsaKey().PublicKey)
	encrypts, other := good, good
	encrypts.Use, other.Algorithm = "enc", "RS512"
	many := make([]any, 65)
	for i := range many {
		many[i] = good
	}
	for name, test := range map[string]struct{ body, err string }{
		"nothing":           {"", "not a JSON Web Key Set"},
		"HTML":              {"<html>", "not a JSON Web Key Set"},
		"a list":            {"[]", "not a JSON Web Key Set"},
		"no keys":           {set(), "none of the 0 keys"},
		"keys of rubbish":   {`{"keys": [1, null, "x", {}, [], {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}`, "none of the 7 keys"},
		"deep":              {`{"keys": [` + strings.Repeat(`[`, 100_000) + `]}`, "not a JSON Web Key Set"},
		"too many keys":     {set(many...), "Limits.SetKeys is 64"},
		"too long":          {set(good) + strings.Repeat(" ", 256<<10), "Limits.SetBytes, 262144"},
		"a secret":          {set(jwk("1", secret)), "none of the 1 keys"},
		"a private key":     {set(jwk("1", rsaKey())), "none of the 1 keys"},
		"a large key":       {set(jwk("1", &large)), "none of the 1 keys"},
		"a small key":       {set(jwk("1", &small)), "none of the 1 keys"},
		"an encryption key": {set(encrypts), "none of the 1 keys"},
		"another algorithm": {set(other), "none of the 1 keys"},
	} {
		v := (&issuer{body: test.body}).verifier(t)
		for alg, key := range map[jose.SignatureAlgorithm]any{jose.RS256: rsaKey(), jose.HS256: secret} {
			_, err := v.Verify(t.Context(), sign(alg, key, "1", ada(nil)))
			require.ErrorIs(t, err, jwt.ErrKeys, name)
			require.ErrorContains(t, err, test.err, name)
		}
	}
	v := (&issuer{body: set(1, jwk("1", secret), encrypts, good)}).verifier(t)
	_, err := v.Verify(t.Context(), sign(jose.RS256, rsaKey(), "1", ada(nil)))
	require.NoError(t, err, "what can't be used is skipped")
	_, err = v.Verify(t.Context(), sign(jose.HS256, secret, "1", ada(nil)))
	require.ErrorIs(t, err, jwt.ErrInvalid)
}

// The client that Config.Client defaults to.
func TestHostileKeyServers(t *testing.T) {
	t.Parallel()
	good := set(jwk("1", &ecKey().PublicKey))
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) })
	mux.Handle("/elsewhere", http.RedirectHandler("/good", http.StatusFound))
	mux.Handle("/gone", http.NotFoundHandler())
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
		_, _ = io.WriteString(w, good)
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	srv := httptest.NewServer(mux)
	defer srv.Close() // waits for the end of requests
	for path, want := range map[string]string{
		"/good": "", "/elsewhere": "302 Found", "/gone": "404 Not Found", "/endless": "Limits.SetBytes",
		"/headers": "exceeded 65536 bytes", "/silent": "context deadline exceeded",
	} {
		cfg := jwt.Config{URL: srv.URL + path}
		if path == "/silent" {
			cfg.Limits.Timeout = 50 * time.Millisecond
		}
		_, err := newVerifier(t, cfg).Verify(t.Context(), sign(jose.ES256, ecKey(), "1", ada(nil)))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, jwt.ErrKeys, path)
		require.ErrorContains(t, err, want, path)
	}
}

// A file may have secrets, and is read again as a URL is.
func TestKeysFromAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	key := ecKey()
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, jwt.Config{File: file})
		_, err := v.Verify(t.Context(), sign(jose.HS256, secret, "s", ada(nil)))
		require.ErrorIs(t, err, jwt.ErrKeys)
		require.ErrorIs(t, err, os.ErrNotExist)
		for _, test := range []struct {
			alg       jose.SignatureAlgorithm
			key, made any
		}{{jose.HS256, secret, secret}, {jose.ES256, key, &key.PublicKey}} {
			require.NoError(t, os.WriteFile(file, []byte(set(jwk("s", test.made))), 0o600))
			time.Sleep(10 * time.Second)
			_, err = v.Verify(t.Context(), sign(test.alg, test.key, "s", ada(nil)))
			require.NoError(t, err)
		}
	})
	_, err := newVerifier(t, jwt.Config{File: t.TempDir()}).Verify(t.Context(), hs(ada(nil)))
	require.ErrorContains(t, err, "not a regular file")
}
