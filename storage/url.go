package storage

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ParseURL reads the URL of a Redis into the Redis field of a Config. The forms:
//
//	redis://user:password@host:6379/2
//	rediss://user:password@host:6380/2             TLS
//	unix://user:password@/run/redis.sock?db=2
//	redis+sentinel://user:password@host1:26379,host2:26379/mymaster/2
//	redis+cluster://user:password@host1:6379,host2:6379
//
// User, password, port and db may be left out; rediss+sentinel and
// rediss+cluster are the last two over TLS. User and password are those of the
// Redis servers; sentinels with their own have them in the parameters
// sentinel_username and sentinel_password. The characters / ? # @ % of a password are
// written percent-encoded.
//
// Query parameters are those of go-redis, the snake_case names of the fields of
// [redis.UniversalOptions]: pool_size=20, read_timeout=3s (a bare number is
// seconds, 0 or less is no timeout), max_retries, protocol, client_name,
// skip_verify=true (TLS certificates are not verified), addr=host:port (one
// more server; may be repeated), and so on. An unknown or invalid scheme, parameter,
// port or db is an error that names it. No error contains a password.
func ParseURL(rawURL string) (Config, error) {
	opts, err := parseURL(rawURL)
	if err != nil {
		return Config{}, fmt.Errorf("storage: URL: %w", err)
	}
	return Config{Redis: opts}, nil
}

var errURLPassword = errors.New("can't be parsed (in a user or password, / ? # @ and % must be percent-encoded)")

func parseURL(rawURL string) (redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return redis.UniversalOptions{}, errors.New("no scheme (redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://)")
	}
	// net/url refuses a list of hosts with ports, so the authority is split here.
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	opts, err := parseParts(scheme, authority, tail)
	if err != nil && strings.Contains(tail, "@") {
		// The password may have been split: a part of it may have been read as a port,
		// a path or a parameter, which must not be shown.
		return opts, errURLPassword
	}
	return opts, err
}

func parseParts(scheme, authority, tail string) (o redis.UniversalOptions, err error) {
	base, mode, _ := strings.Cut(scheme, "+")
	switch {
	case base == "rediss" && (mode == "" || mode == "sentinel" || mode == "cluster"):
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	case base == "redis" && (mode == "" || mode == "sentinel" || mode == "cluster"):
	case scheme == "unix":
	default:
		return o, fmt.Errorf("unknown scheme %q", scheme)
	}
	hosts := authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		hosts = authority[i+1:]
		if o.Username, o.Password, err = userinfo(authority[:i]); err != nil {
			return o, err
		}
	}
	u, err := url.Parse(tail)
	if err != nil || u.Fragment != "" || strings.Contains(tail, "#") {
		return o, errors.New("bad path or query")
	}
	q := query{values: u.Query()}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return o, errors.New("bad query")
	}

	if scheme == "unix" {
		if hosts != "" || len(u.Path) < 2 {
			return o, errors.New("a unix socket needs a path: unix:///run/redis.sock")
		}
		o.Addrs = []string{u.Path}
		return finish(o, q, nil)
	}

	port := "6379"
	if mode == "sentinel" {
		port = "26379"
	}
	if o.Addrs, err = parseHosts(hosts, port, q.strings("addr")); err != nil {
		return o, err
	}
	path := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })
	switch mode {
	case "":
		if len(o.Addrs) > 1 {
			return o, fmt.Errorf("%d addresses: one server has one (redis+sentinel:// and redis+cluster:// have more)", len(o.Addrs))
		}
	case "sentinel":
		if o.MasterName = q.string("master_name"); o.MasterName == "" && len(path) > 0 {
			o.MasterName, path = path[0], path[1:]
		}
		if o.MasterName == "" {
			return o, errors.New("no master name: redis+sentinel://host:26379/mymaster")
		}
	case "cluster":
		o.IsClusterMode = true // also with one address
	}
	return finish(o, q, path)
}

// finish reads the db, from the parameter or what is left of the path, and the
// other parameters.
func finish(o redis.UniversalOptions, q query, path []string) (redis.UniversalOptions, error) {
	if len(path) > 1 {
		return o, fmt.Errorf("bad path %q", strings.Join(path, "/"))
	}
	db := q.string("db")
	if db == "" && len(path) == 1 {
		db = path[0]
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 31)
		if err != nil {
			return o, fmt.Errorf("bad db %q", db)
		}
		o.DB = int(n)
	}
	if err := q.into(&o); err != nil {
		return o, err
	}
	return o, checkOptions(&o)
}

func userinfo(s string) (user, password string, err error) {
	user, password, _ = strings.Cut(s, ":")
	if user, err = url.PathUnescape(user); err != nil {
		return "", "", errURLPassword
	}
	if password, err = url.PathUnescape(password); err != nil {
		return "", "", errURLPassword
	}
	return user, password, nil
}

// parseHosts splits h1:1,h2,[::1]:3, adds the default port where there is none
// and appends more.
func parseHosts(hosts, port string, more []string) ([]string, error) {
	var addrs []string
	for _, h := range append(strings.Split(hosts, ","), more...) {
		switch {
		case h == "" && hosts == "" && len(addrs) == 0:
			h = "127.0.0.1:" + port
		case strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]"):
			h += ":" + port
		case !strings.Contains(h, ":"):
			h = net.JoinHostPort(h, port)
		case strings.HasPrefix(h, ":"):
			h = "127.0.0.1" + h
		}
		if err := checkAddr(h); err != nil {
			return nil, err
		}
		addrs = append(addrs, h)
	}
	return addrs, nil
}

// query reads parameters by name and keeps the first error. Parameters that are left
// at the end are unknown.
type query struct {
	values url.Values
	err    error
}

// into moves the parameters into o.
func (q *query) into(o *redis.UniversalOptions) error {
	q.int("protocol", &o.Protocol)
	q.text("client_name", &o.ClientName)
	q.int("max_retries", &o.MaxRetries)
	q.duration("min_retry_backoff", &o.MinRetryBackoff)
	q.duration("max_retry_backoff", &o.MaxRetryBackoff)
	q.duration("dial_timeout", &o.DialTimeout)
	q.int("dialer_retries", &o.DialerRetries)
	q.duration("dialer_retry_timeout", &o.DialerRetryTimeout)
	q.duration("read_timeout", &o.ReadTimeout)
	q.duration("write_timeout", &o.WriteTimeout)
	q.bool("context_timeout_enabled", &o.ContextTimeoutEnabled)
	q.int("read_buffer_size", &o.ReadBufferSize)
	q.int("write_buffer_size", &o.WriteBufferSize)
	q.bool("pool_fifo", &o.PoolFIFO)
	q.int("pool_size", &o.PoolSize)
	q.int("max_concurrent_dials", &o.MaxConcurrentDials)
	q.duration("pool_timeout", &o.PoolTimeout)
	q.int("min_idle_conns", &o.MinIdleConns)
	q.int("max_idle_conns", &o.MaxIdleConns)
	q.int("max_active_conns", &o.MaxActiveConns)
	q.int("pipeline_pool_size", &o.PipelinePoolSize)
	q.int("pipeline_read_buffer_size", &o.PipelineReadBufferSize)
	q.int("pipeline_write_buffer_size", &o.PipelineWriteBufferSize)
	q.duration("idle_timeout", &o.ConnMaxIdleTime) // the older name
	q.duration("conn_max_idle_time", &o.ConnMaxIdleTime)
	q.duration("max_conn_age", &o.ConnMaxLifetime) // the older name
	q.duration("conn_max_lifetime", &o.ConnMaxLifetime)
	q.duration("conn_max_lifetime_jitter", &o.ConnMaxLifetimeJitter)
	q.int("max_redirects", &o.MaxRedirects)
	q.bool("read_only", &o.ReadOnly)
	q.bool("replica_only", &o.ReadOnly) // its name with Sentinel
	q.bool("route_by_latency", &o.RouteByLatency)
	q.duration("route_by_latency_tolerance", &o.RouteByLatencyTolerance)
	q.bool("route_randomly", &o.RouteRandomly)
	q.int("failing_timeout_seconds", &o.FailingTimeoutSeconds)
	q.text("sentinel_username", &o.SentinelUsername)
	q.text("sentinel_password", &o.SentinelPassword)
	q.text("username", &o.Username)
	q.text("password", &o.Password)
	for _, spelling := range []string{"disableIdentity", "disable_identity"} {
		q.bool(spelling, &o.DisableIdentity)
	}
	for _, spelling := range []string{"identitySuffix", "identity_suffix"} {
		q.text(spelling, &o.IdentitySuffix)
	}
	q.string("unstable_resp3") // has no effect in go-redis any more
	if _, ok := q.values["skip_verify"]; ok {
		if o.TLSConfig == nil {
			return errors.New("skip_verify: not a TLS URL")
		}
		q.bool("skip_verify", &o.TLSConfig.InsecureSkipVerify)
	}
	if q.err != nil {
		return q.err
	}
	var unknown []string
	for name := range q.values {
		unknown = append(unknown, strconv.Quote(name))
	}
	if slices.Sort(unknown); len(unknown) > 0 {
		return fmt.Errorf("unknown parameter %s", strings.Join(unknown, ", "))
	}
	return nil
}

func (q *query) strings(name string) []string {
	vs := q.values[name]
	delete(q.values, name)
	return vs
}

func (q *query) string(name string) string {
	vs := q.strings(name)
	if len(vs) == 0 {
		return ""
	}
	return vs[len(vs)-1]
}

func (q *query) bad(name, value, want string) {
	if q.err == nil {
		q.err = fmt.Errorf("%s=%s: want %s", name, value, want)
	}
}

func (q *query) text(name string, dst *string) {
	if s := q.string(name); s != "" {
		*dst = s
	}
}

func (q *query) int(name string, dst *int) {
	s := q.string(name)
	if s == "" {
		return
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		q.bad(name, s, "a whole number")
		return
	}
	*dst = n
}

func (q *query) bool(name string, dst *bool) {
	switch s := q.string(name); s {
	case "":
	case "true", "1":
		*dst = true
	case "false", "0":
		*dst = false
	default:
		q.bad(name, s, "true or false")
	}
}

func (q *query) duration(name string, dst *time.Duration) {
	s := q.string(name)
	if s == "" {
		return
	}
	d, err := time.ParseDuration(s)
	if secs, atoiErr := strconv.Atoi(s); atoiErr == nil {
		d, err = time.Duration(secs)*time.Second, nil
	}
	switch {
	case err != nil:
		q.bad(name, s, "a duration such as 500ms, or seconds")
	case d <= 0:
		*dst = -1 // go-redis's "none"
	default:
		*dst = d
	}
}
