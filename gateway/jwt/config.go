package jwt

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config configures a [Verifier]. Keys, URL or File is required.
type Config struct {
	// Keys verify tokens, beside those of URL or File.
	Keys []Key
	// URL is where the issuer publishes its keys as a JSON Web Key Set. It must be
	// https://, or http:// on the loopback interface. Secrets in it are ignored.
	URL string
	// File is the path of a JSON Web Key Set, which may have secrets. It excludes URL.
	File string
	// InsecureHTTP accepts a URL that is http://: a third party between the two can then
	// sign tokens.
	InsecureHTTP bool
	// Client reads URL. Defaults to a client that follows no redirects.
	Client *http.Client

	// Issuer is what the claim iss must be. Defaults to anything.
	Issuer string
	// Audience are names of this service: the claim aud must have one of them. Defaults to
	// anything. Keys that also sign tokens for other services, such as those of a public
	// identity provider, need it.
	Audience []string
	// Leeway is how far the clocks of the issuer and of this machine may differ. Tokens
	// and their connections end so much later. Defaults to 30 seconds. Negative: none.
	Leeway time.Duration
	// Claims are the names of the claims that are read.
	Claims Claims

	// Query is the parameter of the request's URL that may have the token, beside the
	// header Authorization. Proxies log URLs. Defaults to none.
	Query string
	// Subprotocol begins the WebSocket subprotocol that may have the token, such as "jwt."
	// of new WebSocket(url, ["heliograph.json.v1", "jwt." + token]). Defaults to none.
	Subprotocol string
	// SignIn is how long a client that has sent no token may stay connected before it
	// sends one with AUTH. Meanwhile Allow allows it nothing; then it is closed with 4001.
	// Defaults to 0: a request without a token is refused.
	SignIn time.Duration

	// Log gets warnings about keys that can't be read. Defaults to slog.Default().
	Log *slog.Logger

	Limits Limits
}

// Claims are names of claims. Those of Channels, Keys and Publish are lists of globs, in
// which a * matches / as well. Without the claim nothing is allowed.
type Claims struct {
	Name     string // becomes Principal.Name. Defaults to sub
	Channels string // channels that may be followed. Defaults to channels
	Keys     string // hashes that may be read. Defaults to keys
	Publish  string // channels that may be published to. Defaults to publish
}

// Limits bound what tokens and key sets can cost.
type Limits struct {
	// TokenBytes is the maximum length of a token. Defaults to 8 KiB.
	TokenBytes int
	// SetBytes is the maximum size of a key set. Defaults to 256 KiB.
	SetBytes int
	// SetKeys is the maximum number of keys in a key set. Defaults to 64.
	SetKeys int
	// Interval is the minimum time between two reads of the key set, whatever tokens
	// name keys that are not in it. Defaults to 10 seconds.
	Interval time.Duration
	// MaxAge is the age at which the key set is read again, when a token is verified.
	// While that fails, the keys of the last read stay in use. Defaults to 1 hour.
	MaxAge time.Duration
	// Timeout is the maximum time of one read. Defaults to 5 seconds.
	Timeout time.Duration
}

func (l Limits) complete() (Limits, error) {
	for _, f := range []struct {
		name string
		n    *int
		zero int
	}{{"TokenBytes", &l.TokenBytes, 8 << 10}, {"SetBytes", &l.SetBytes, 256 << 10}, {"SetKeys", &l.SetKeys, 64}} {
		if *f.n < 0 {
			return l, fmt.Errorf("Config.Limits.%s: %d is negative", f.name, *f.n)
		}
		*f.n = cmp.Or(*f.n, f.zero)
	}
	for _, f := range []struct {
		name string
		d    *time.Duration
		zero time.Duration
	}{{"Interval", &l.Interval, 10 * time.Second}, {"MaxAge", &l.MaxAge, time.Hour}, {"Timeout", &l.Timeout, 5 * time.Second}} {
		if *f.d < 0 {
			return l, fmt.Errorf("Config.Limits.%s: %v is negative", f.name, *f.d)
		}
		*f.d = cmp.Or(*f.d, f.zero)
	}
	return l, nil
}

// complete checks cfg and sets defaults.
func (cfg Config) complete() (Config, error) {
	var err error
	if cfg.Limits, err = cfg.Limits.complete(); err != nil {
		return cfg, err
	}
	switch {
	case len(cfg.Keys) == 0 && cfg.URL == "" && cfg.File == "":
		return cfg, errors.New("Config.Keys, URL, File: one of them is required")
	case cfg.URL != "" && cfg.File != "":
		return cfg, errors.New("Config.URL, File: they exclude each other")
	case cfg.SignIn < 0:
		return cfg, fmt.Errorf("Config.SignIn: %v is negative", cfg.SignIn)
	case slices.Contains(cfg.Audience, ""):
		return cfg, errors.New("Config.Audience: one of them is empty")
	case strings.ContainsAny(cfg.Subprotocol, ", \t"):
		return cfg, fmt.Errorf("Config.Subprotocol: %q can't begin a subprotocol", cfg.Subprotocol)
	}
	if cfg.URL != "" {
		if err := checkURL(cfg.URL, cfg.InsecureHTTP); err != nil {
			return cfg, fmt.Errorf("Config.URL: %w", err)
		}
	}
	cfg.Leeway = max(0, cmp.Or(cfg.Leeway, 30*time.Second))
	cfg.Claims.Name = cmp.Or(cfg.Claims.Name, "sub")
	cfg.Claims.Channels = cmp.Or(cfg.Claims.Channels, "channels")
	cfg.Claims.Keys = cmp.Or(cfg.Claims.Keys, "keys")
	cfg.Claims.Publish = cmp.Or(cfg.Claims.Publish, "publish")
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.Client = cmp.Or(cfg.Client, defaultClient)
	return cfg, nil
}

// checkURL refuses what is not the URL of a key set that can be trusted.
func checkURL(text string, insecure bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is not like https://example.org/jwks.json", text)
	}
	if u.Scheme == "https" || u.Scheme == "http" && (insecure || loopback(u.Hostname())) {
		return nil
	}
	if u.Scheme == "http" {
		return fmt.Errorf("%q is not https: set InsecureHTTP if nothing can be between the two", text)
	}
	return fmt.Errorf("%q is not https", text)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
