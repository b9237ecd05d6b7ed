package storage

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Config says where Redis is and how to talk to it. The zero Config is a server
// on localhost:6379.
type Config struct {
	// URL names the server or servers, in a form that [ParseURL] lists. If it is empty,
	// Redis names them.
	URL string

	// Redis holds options that a URL can't, such as a Dialer, a TLS configuration or a
	// provider of credentials. Its fields override those of URL, but only one of the
	// two may name servers. It must be empty with [New]. ContextTimeoutEnabled is
	// always on. DialerRetries defaults to 1, since the packages repeat failed dials
	// themselves.
	Redis redis.UniversalOptions

	// Prefix is put before every key and channel that the module names, with a
	// colon after it. Defaults to none. It must not contain spaces, control characters
	// or any of * ? [ ] { } \.
	Prefix string

	// MaxQueued is the number of commands of [Pool.Async] that may wait for Redis, and
	// the number of writes of the packages built on the pool. More are refused, with
	// redis.ErrAutoPipelineQueueFull and [ErrQueueFull]. Defaults to 65,536.
	MaxQueued int

	// MaxQueuedBytes is the size of the writes that may wait, in bytes. Defaults to
	// 64 MiB.
	MaxQueuedBytes int

	// Hooks are added to every client that the pool makes, for tracing or counting of
	// commands. A pool made by [New] derives its clients from the host's and can't know
	// the hooks of that one, since go-redis does not tell them: those that are to see the
	// module's commands must be named here. The host's own client stays as it is.
	// Defaults to none.
	Hooks []redis.Hook

	// Logger receives what cannot be returned, such as a lost connection or a panic
	// in a handler. It also receives the log lines of go-redis while a pool made by
	// [Open] is open, unless the host calls redis.SetLogger: go-redis has one
	// logger for the process, so that its lines go to the Logger of every open
	// pool, each kind of line once a minute. Defaults to slog.Default().
	Logger *slog.Logger
}

// String returns the configuration on one line, without the password.
func (c Config) String() string {
	opts := c.Redis
	if c.URL != "" {
		parsed, err := ParseURL(c.URL)
		if err != nil {
			return "storage.Config(bad URL)"
		}
		opts = overlay(parsed.Redis, c.Redis)
	}
	var b strings.Builder
	b.WriteString(address(&opts))
	if c.Prefix != "" {
		b.WriteString(" prefix " + c.Prefix)
	}
	return b.String()
}

// Format prints String for every verb: %+v and %#v too would show the password.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue makes slog's handlers print String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// address returns the URL for options, without the password.
func address(o *redis.UniversalOptions) string {
	scheme, path := "redis", ""
	switch {
	case o.MasterName != "":
		scheme, path = "redis+sentinel", "/"+o.MasterName+"/"+strconv.Itoa(o.DB)
	case o.IsClusterMode || len(o.Addrs) > 1:
		scheme = "redis+cluster"
	case len(o.Addrs) == 1 && strings.HasPrefix(o.Addrs[0], "/"):
		return "unix://" + o.Addrs[0] + "?db=" + strconv.Itoa(o.DB)
	default:
		path = "/" + strconv.Itoa(o.DB)
	}
	if o.TLSConfig != nil {
		scheme = strings.Replace(scheme, "redis", "rediss", 1)
	}
	hosts := strings.Join(o.Addrs, ",")
	if hosts == "" {
		hosts = defaultAddr
	}
	user := ""
	if o.Username != "" {
		user = url.User(o.Username).String() + "@"
	}
	return scheme + "://" + user + hosts + path
}

const defaultAddr = "127.0.0.1:6379"

// complete returns a copy with URL merged into Redis and with defaults, or an error that
// names the field.
func (c Config) complete() (Config, error) {
	if c.URL != "" {
		opts, err := parseURL(c.URL)
		if err != nil {
			return Config{}, fmt.Errorf("storage: Config.URL: %w", err)
		}
		if len(c.Redis.Addrs) > 0 || c.Redis.MasterName != "" {
			return Config{}, fmt.Errorf("storage: Config: both URL and Redis name servers")
		}
		c.Redis = overlay(opts, c.Redis)
		c.URL = ""
	}
	if len(c.Redis.Addrs) == 0 {
		c.Redis.Addrs = []string{defaultAddr}
	}
	c.Redis.ContextTimeoutEnabled = true
	if c.Redis.DialerRetries == 0 {
		c.Redis.DialerRetries = 1
	}
	if err := checkOptions(&c.Redis); err != nil {
		return Config{}, fmt.Errorf("storage: Config.Redis: %w", err)
	}
	return c.completeOurs()
}

// completeOurs completes the fields besides Redis.
func (c Config) completeOurs() (Config, error) {
	if c.Prefix != "" {
		if err := redisio.CheckName(c.Prefix); err != nil {
			return Config{}, fmt.Errorf("storage: Config.Prefix: %w", err)
		}
	}
	if c.MaxQueued < 0 {
		return Config{}, fmt.Errorf("storage: Config.MaxQueued: %d is negative", c.MaxQueued)
	}
	if c.MaxQueuedBytes < 0 {
		return Config{}, fmt.Errorf("storage: Config.MaxQueuedBytes: %d is negative", c.MaxQueuedBytes)
	}
	c.Hooks = slices.Clone(c.Hooks)
	for i, h := range c.Hooks {
		if h == nil {
			return Config{}, fmt.Errorf("storage: Config.Hooks[%d] is nil", i)
		}
	}
	c.MaxQueued = cmp.Or(c.MaxQueued, 65_536)
	c.MaxQueuedBytes = cmp.Or(c.MaxQueuedBytes, 64<<20)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// withheld returns a copy that shows no credentials.
func (c Config) withheld() Config {
	c.Redis.Password, c.Redis.SentinelPassword = "", ""
	c.Redis.CredentialsProvider = nil
	c.Redis.CredentialsProviderContext = nil
	c.Redis.StreamingCredentialsProvider = nil
	c.Redis.TLSConfig = cloneTLS(c.Redis.TLSConfig)
	c.Redis.Addrs = append([]string(nil), c.Redis.Addrs...)
	return c
}

func cloneTLS(t *tls.Config) *tls.Config {
	if t == nil {
		return nil
	}
	return t.Clone()
}

// overlay returns base with every field replaced that is set in over.
func overlay(base, over redis.UniversalOptions) redis.UniversalOptions {
	dst, src := reflect.ValueOf(&base).Elem(), reflect.ValueOf(over)
	for i := range src.NumField() {
		if f := src.Field(i); !f.IsZero() {
			dst.Field(i).Set(f)
		}
	}
	return base
}

// checkOptions refuses options that go-redis would ignore or panic on.
func checkOptions(o *redis.UniversalOptions) error {
	cluster := o.MasterName == "" && (o.IsClusterMode || len(o.Addrs) > 1)
	for _, addr := range o.Addrs {
		if strings.HasPrefix(addr, "/") && !cluster && o.MasterName == "" {
			continue // a unix socket
		}
		if err := checkAddr(addr); err != nil {
			return inField("Addrs", "%w", err)
		}
	}
	switch {
	case o.DB < 0:
		return inField("DB", "bad db %d", o.DB)
	case o.DB > 0 && cluster:
		return inField("DB", "a cluster has only db 0, not %d", o.DB)
	case o.Protocol != 0 && o.Protocol != 2 && o.Protocol != 3:
		return inField("Protocol", "%d is neither 2 nor 3", o.Protocol)
	}
	for _, size := range []struct {
		name     string
		n        int
		negative bool // has a meaning
	}{
		{"PoolSize", o.PoolSize, false},
		{"MinIdleConns", o.MinIdleConns, false},
		{"MaxIdleConns", o.MaxIdleConns, false},
		{"MaxActiveConns", o.MaxActiveConns, false},
		{"PipelinePoolSize", o.PipelinePoolSize, true},
		{"ReadBufferSize", o.ReadBufferSize, false},
		{"WriteBufferSize", o.WriteBufferSize, false},
		{"PipelineReadBufferSize", o.PipelineReadBufferSize, false},
		{"PipelineWriteBufferSize", o.PipelineWriteBufferSize, false},
	} {
		if size.n > math.MaxInt32 || size.n < 0 && !size.negative {
			return inField(size.name, "%d is out of range", size.n)
		}
	}
	return nil
}

// inField is an error that names a field.
func inField(name, format string, args ...any) error {
	return fmt.Errorf(name+": "+format, args...)
}

// checkAddr accepts host:port with a port from 1 to 65535.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("bad address %q: want host:port", addr)
	}
	if host == "" {
		return fmt.Errorf("bad address %q: no host", addr)
	}
	if !validHost(host) {
		return fmt.Errorf("bad host %q in %q", host, addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("bad port %q in %q", port, addr)
	}
	return nil
}

// validHost accepts IP addresses, and names of letters, digits, dots, hyphens and
// underscores.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	named := false
	for _, r := range host {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r):
			named = true
		case r != '.' && r != '-' && r != '_':
			return false
		}
	}
	return named
}
