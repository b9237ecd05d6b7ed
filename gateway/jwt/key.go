package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Key verifies tokens. Its type decides which algorithm the tokens must have:
//
//   - []byte, a secret of at least 32 bytes: HS256
//   - *rsa.PublicKey of 2,048 to 8,192 bits: RS256
//   - *ecdsa.PublicKey on the curve P-256: ES256
//   - ed25519.PublicKey: EdDSA
type Key struct {
	ID  string // what the token's kid must be. Empty: any
	Key any
}

// algorithms are those that a token may have.
var algorithms = []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA}

// algorithm returns the only algorithm of tokens that k verifies, so that no token can
// choose another for it.
func (k Key) algorithm() (jose.SignatureAlgorithm, error) {
	switch key := k.Key.(type) {
	case []byte:
		if len(key) < 32 {
			return "", fmt.Errorf("a secret of %d bytes; HS256 needs 32", len(key))
		}
		return jose.HS256, nil
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.BitLen() < 2048 || key.N.BitLen() > 8192 {
			return "", errors.New("not an RSA key of 2,048 to 8,192 bits")
		}
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		if key == nil || key.Curve != elliptic.P256() {
			return "", errors.New("not an ECDSA key on the curve P-256")
		}
		return jose.ES256, nil
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", fmt.Errorf("an Ed25519 key of %d bytes", len(key))
		}
		return jose.EdDSA, nil
	}
	return "", fmt.Errorf("a %T is not a key", k.Key)
}

// verifies reports whether k may verify a token with this header.
func (k Key) verifies(kid string, algorithm string) bool {
	own, err := k.algorithm()
	return err == nil && string(own) == algorithm && (k.ID == "" || kid == "" || k.ID == kid)
}

// parseSet reads a JSON Web Key Set. It skips the keys that it can't use, as RFC 7517
// asks, and secrets unless they are allowed.
func parseSet(data []byte, limit int, secrets bool) ([]Key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	if len(set.Keys) > limit {
		return nil, fmt.Errorf("a set of %d keys; Limits.SetKeys is %d", len(set.Keys), limit)
	}
	var keys []Key
	for _, raw := range set.Keys {
		if k, err := parseKey(raw); err == nil && (secrets || !k.secret()) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of the %d keys in the set can verify HS256, RS256, ES256 or EdDSA", len(set.Keys))
	}
	return keys, nil
}

func (k Key) secret() bool { _, ok := k.Key.([]byte); return ok }

// parseKey reads a JSON Web Key that verifies signatures.
func parseKey(raw []byte) (Key, error) {
	var private struct{ D, P, Q any }
	if err := json.Unmarshal(raw, &private); err != nil {
		return Key{}, err
	}
	if private.D != nil || private.P != nil || private.Q != nil { // costs much to check, and is none of the verifier's business
		return Key{}, errors.New("a private key")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return Key{}, err
	}
	k := Key{ID: jwk.KeyID, Key: jwk.Key}
	algorithm, err := k.algorithm()
	switch {
	case err != nil:
		return Key{}, err
	case jwk.Algorithm != "" && jwk.Algorithm != string(algorithm):
		return Key{}, fmt.Errorf("a key for %s", jwk.Algorithm)
	case jwk.Use != "" && jwk.Use != "sig":
		return Key{}, fmt.Errorf("a key for %s", jwk.Use)
	}
	return k, nil
}
