package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/heliograph/heliograph/gateway"
)

// Token is what a verified token says. It is Principal.Data of a client that is signed
// in.
type Token struct {
	Channels []string // globs of the channels that may be followed
	Keys     []string // globs of the hashes that may be read
	Publish  []string // globs of the channels that may be published to

	Claims map[string]json.RawMessage // all claims
}

// newToken reads the claims of a token whose signature is right. name is that of its
// principal.
func newToken(all map[string]json.RawMessage, claims Claims) (t *Token, name string, err error) {
	if err := json.Unmarshal(all[claims.Name], &name); err != nil || name == "" {
		return nil, "", fmt.Errorf("%w: its claim %s is not a name", ErrInvalid, claims.Name)
	}
	t = &Token{Claims: all}
	for _, grant := range []struct {
		claim string
		globs *[]string
	}{{claims.Channels, &t.Channels}, {claims.Keys, &t.Keys}, {claims.Publish, &t.Publish}} {
		if *grant.globs, err = globs(all[grant.claim]); err != nil {
			return nil, "", fmt.Errorf("%w: its claim %s: %w", ErrInvalid, grant.claim, err)
		}
	}
	return t, name, nil
}

// globs reads a claim that may be missing.
func globs(raw json.RawMessage) (list []string, err error) {
	if raw == nil {
		return nil, nil
	}
	if json.Unmarshal(raw, &list) != nil {
		return nil, errors.New("not a list of globs")
	}
	for _, glob := range list {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return nil, fmt.Errorf("%q is not a glob", glob)
		}
	}
	return list, nil
}

// allows reports whether the token grants op with a name.
func (t *Token) allows(op gateway.Op, name string) bool {
	var globs []string
	switch op {
	case gateway.OpGet:
		globs = t.Keys
	case gateway.OpSubscribe:
		globs = t.Channels
	case gateway.OpPublish:
		globs = t.Publish
	}
	return slices.ContainsFunc(globs, func(glob string) bool { return matches(glob, name) })
}

// matches is as that of Config.Channels of the gateway: a * matches / as well, which
// path.Match keeps for itself.
func matches(glob, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(glob, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}
