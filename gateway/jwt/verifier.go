package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/heliograph/heliograph/gateway"
)

var (
	// ErrNoToken is returned for a request without a token.
	ErrNoToken = errors.New("jwt: no token")
	// ErrInvalid is returned for what is not a token, is not signed by a known key, or is
	// not meant for this service or connection.
	ErrInvalid = errors.New("jwt: the token is not valid")
	// ErrExpired is returned for a token whose time is over. It is also ErrInvalid.
	ErrExpired = fmt.Errorf("%w: it has expired", ErrInvalid)
	// ErrKeys is returned for a token that can't be verified, because the key set can't be
	// read.
	ErrKeys = errors.New("jwt: keys not available")
)

// Verifier verifies tokens. Its methods may be used by any goroutine, and are made for the
// fields of the same name of [gateway.Config]. It runs no goroutine.
type Verifier struct {
	cfg      Config
	keys     *keySet
	accepted atomic.Int64
	refused  atomic.Int64
}

// New returns a verifier. It reads the key set when the first token comes.
func New(cfg Config) (*Verifier, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	cfg.Keys = slices.Clone(cfg.Keys)
	for i, k := range cfg.Keys {
		if _, err := k.algorithm(); err != nil {
			return nil, fmt.Errorf("jwt: Config.Keys[%d]: %w", i, err)
		}
	}
	return &Verifier{cfg: cfg, keys: newKeySet(cfg)}, nil
}

// Stats counts what a verifier has done.
type Stats struct {
	Accepted   int64 `json:"accepted"`    // tokens
	Refused    int64 `json:"refused"`     // tokens, and requests without one
	Reads      int64 `json:"reads"`       // of the key set
	ReadErrors int64 `json:"read_errors"` // of these, those that failed
}

// Stats returns the counters.
func (v *Verifier) Stats() Stats {
	return Stats{Accepted: v.accepted.Load(), Refused: v.refused.Load(), Reads: v.keys.reads.Load(), ReadErrors: v.keys.failed.Load()}
}

// Authenticate returns the principal of the token of a request: Config.Authenticate of a
// gateway. Its Data is a *[Token]. A request with two tokens is refused.
func (v *Verifier) Authenticate(r *http.Request) (gateway.Principal, error) {
	tokens := v.tokensOf(r)
	switch {
	case len(tokens) == 1:
		return v.Verify(r.Context(), tokens[0])
	case len(tokens) > 1:
		v.refused.Add(1)
		return gateway.Principal{}, fmt.Errorf("%w: the request has %d of them", ErrInvalid, len(tokens))
	case v.cfg.SignIn > 0:
		return gateway.Principal{Expires: time.Now().Add(v.cfg.SignIn)}, nil
	}
	v.refused.Add(1)
	return gateway.Principal{}, ErrNoToken
}

// tokensOf returns the tokens that come with a request.
func (v *Verifier) tokensOf(r *http.Request) (tokens []string) {
	for _, value := range r.Header.Values("Authorization") {
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	if v.cfg.Query != "" {
		tokens = append(tokens, r.URL.Query()[v.cfg.Query]...)
	}
	if v.cfg.Subprotocol != "" {
		for _, name := range strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(name), v.cfg.Subprotocol); ok {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}

// Refresh returns the principal of a token that a client sends with AUTH: Config.Refresh
// of a gateway. A client that is signed in must send a token of the same principal.
func (v *Verifier) Refresh(ctx context.Context, c *gateway.Conn, token string) (gateway.Principal, error) {
	p, err := v.Verify(ctx, token)
	if is := c.Principal().Name; err == nil && is != "" && is != p.Name {
		v.refused.Add(1)
		return gateway.Principal{}, fmt.Errorf("%w: it is of %q, and the connection of %q", ErrInvalid, p.Name, is)
	}
	return p, err
}

// Allow reports whether the token of a client grants op with a name: Config.Allow of a
// gateway. It narrows what Config.Channels and Keys of the gateway allow.
func (v *Verifier) Allow(_ context.Context, c *gateway.Conn, op gateway.Op, name string) bool {
	t, ok := c.Principal().Data.(*Token)
	return ok && t.allows(op, name)
}

// Verify returns the principal of a token. ctx bounds the wait for keys that another
// goroutine reads. Errors are ErrInvalid, ErrExpired or ErrKeys.
func (v *Verifier) Verify(ctx context.Context, token string) (gateway.Principal, error) {
	p, err := v.verify(ctx, token)
	if err != nil {
		v.refused.Add(1)
		return gateway.Principal{}, err
	}
	v.accepted.Add(1)
	return p, nil
}

func (v *Verifier) verify(ctx context.Context, token string) (p gateway.Principal, err error) {
	if limit := v.cfg.Limits.TokenBytes; len(token) > limit {
		return p, fmt.Errorf("%w: it has %d bytes; Limits.TokenBytes is %d", ErrInvalid, len(token), limit)
	}
	signed, err := josejwt.ParseSigned(token, algorithms)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	header := signed.Headers[0] // the compact form has one signature
	keys, err := v.keys.find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return p, err
	}
	var std josejwt.Claims
	var all map[string]json.RawMessage
	for _, k := range keys {
		if err = signed.Claims(k.Key, &std, &all); err == nil {
			break
		}
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	err = std.ValidateWithLeeway(josejwt.Expected{Issuer: v.cfg.Issuer, AnyAudience: v.cfg.Audience}, v.cfg.Leeway)
	switch {
	case errors.Is(err, josejwt.ErrExpired):
		return p, fmt.Errorf("%w at %s", ErrExpired, std.Expiry.Time().Format(time.RFC3339))
	case err != nil:
		return p, fmt.Errorf("%w: %w", ErrInvalid, err)
	case std.Expiry == nil:
		return p, fmt.Errorf("%w: it never expires", ErrInvalid)
	}
	t, name, err := newToken(all, v.cfg.Claims)
	if err != nil {
		return p, err
	}
	return gateway.Principal{Name: name, Expires: std.Expiry.Time().Add(v.cfg.Leeway), Data: t}, nil
}
