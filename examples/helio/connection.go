package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// settings choose the Redis, each with its environment variable. They are looked up on
// the command line, then in the environment, then in the configuration file.
var settings = []struct{ name, env, usage string }{
	{"url", "REDIS_URL", "`URL` of Redis: redis://user:password@host:6379/0, also rediss, unix, redis+sentinel, redis+cluster"},
	{"hostname", "REDIS_HOSTNAME", "`HOST` of Redis, instead of a URL (default: localhost)"},
	{"port", "REDIS_PORT", "`PORT` of Redis, instead of a URL (default: 6379)"},
	{"db", "REDIS_DB", "database `NUMBER` (default: the one in the URL, or 0)"},
	{"prefix", "HELIO_PREFIX", "`PREFIX` of all keys and channels"},
	{"site", "SITE", "`SITE` of the workers (default: " + bus.DefaultSite + ")"},
}

const category = "which Redis"

func connectionFlags() (flags []cli.Flag) {
	for _, s := range settings {
		flags = append(flags, &cli.StringFlag{Name: s.name, Usage: s.usage + " [$" + s.env + "]", Category: category})
	}
	return append(flags,
		&cli.StringFlag{Name: "config", Usage: "`FILE` with lines such as \"url = redis://…\" (default: helio/config in the user's configuration folder) [$HELIO_CONFIG]", Category: category, TakesFile: true},
		&cli.BoolFlag{Name: "embedded", Usage: "serve a Redis in this process on --port while the command runs", Category: category},
		&secondsFlag{Name: "connect_timeout", Value: 900 * time.Millisecond, Usage: "time to wait for Redis to answer", Category: category},
	)
}

// source is one place where settings are looked up. Name returns how messages call a
// setting of this place.
type source struct {
	name func(setting string) string
	get  func(setting string) string
}

// sources returns the sources, the one that overrides all others first.
func (t *tool) sources(cmd *cli.Command) ([]source, error) {
	file, path, err := t.configFile(cmd)
	if err != nil {
		return nil, err
	}
	env := make(map[string]string)
	for _, s := range settings {
		env[s.name] = s.env
	}
	return []source{
		{func(s string) string { return "--" + s }, cmd.String},
		{func(s string) string { return env[s] }, func(s string) string { return t.getenv(env[s]) }},
		{func(s string) string { return path + ": " + s }, func(s string) string { return file[s] }},
	}, nil
}

// configFile reads the configuration file. A missing file is an error only if it was
// named.
func (t *tool) configFile(cmd *cli.Command) (values map[string]string, path string, err error) {
	path = cmd.String("config")
	if path == "" {
		path = t.getenv("HELIO_CONFIG")
	}
	named := path != ""
	if !named {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, "", nil // there is no home folder
		}
		path = filepath.Join(dir, "helio", "config")
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return nil, path, nil
	case err != nil:
		return nil, "", usage("--config: %v", err)
	}
	defer f.Close()
	values = make(map[string]string)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || !isSetting(name) {
			return nil, "", usage("%s:%d: want a line such as url = redis://localhost:6379, with url, hostname, port, db, prefix or site", path, n)
		}
		values[name] = strings.TrimSpace(value)
	}
	if err := lines.Err(); err != nil {
		return nil, "", usage("%s: %v", path, err)
	}
	return values, path, nil
}

func isSetting(name string) bool {
	for _, s := range settings {
		if s.name == name {
			return true
		}
	}
	return false
}

// lookup returns a setting and the index of the source that has it, or len(all).
func lookup(all []source, name string) (value string, at int) {
	for at, s := range all {
		if value := s.get(name); value != "" {
			return value, at
		}
	}
	return "", len(all)
}

const maxNumber = 65535 // of ports; databases have smaller numbers

// number is lookup for a number, -1 if it is not set.
func number(all []source, name string) (n, at int, err error) {
	text, at := lookup(all, name)
	if text == "" {
		return -1, at, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil || n < 0 || n > maxNumber {
		return 0, at, usage("%s: want a number from 0 to %d, not %q", all[at].name(name), maxNumber, text)
	}
	return n, at, nil
}

// redisConfig returns the configuration of the Redis, and its address for messages. A
// hostname or port replaces the whole URL of a source that it overrides.
func redisConfig(all []source) (cfg storage.Config, where string, err error) {
	url, urlAt := lookup(all, "url")
	host, hostAt := lookup(all, "hostname")
	port, portAt, err := number(all, "port")
	if err != nil {
		return cfg, "", err
	}
	db, _, err := number(all, "db")
	if err != nil {
		return cfg, "", err
	}
	if url != "" && urlAt == 0 && min(hostAt, portAt) == 0 {
		return cfg, "", usage("--url excludes --hostname and --port: give one or the other")
	}
	if url != "" && urlAt <= min(hostAt, portAt) {
		if cfg, err = storage.ParseURL(url); err != nil {
			return cfg, "", usage("%s: %v", all[urlAt].name("url"), plainly(err))
		}
	} else {
		if host == "" {
			host = "localhost"
		}
		if port < 0 {
			port = 6379
		}
		cfg.Redis.Addrs = []string{net.JoinHostPort(host, strconv.Itoa(port))}
	}
	if db >= 0 {
		cfg.Redis.DB = db
	}
	cfg.Prefix, _ = lookup(all, "prefix")
	return cfg, strings.Join(cfg.Redis.Addrs, ", "), nil
}

// site returns the chosen site of workers.
func (t *tool) site(cmd *cli.Command) (string, error) {
	all, err := t.sources(cmd)
	if err != nil {
		return "", err
	}
	site, _ := lookup(all, "site")
	if site == "" {
		return bus.DefaultSite, nil
	}
	return site, nil
}

// with runs do with a pool on a Redis that has answered.
func (t *tool) with(ctx context.Context, cmd *cli.Command, do func(pool *storage.Pool) error) error {
	all, err := t.sources(cmd)
	if err != nil {
		return err
	}
	cfg, where, err := redisConfig(all)
	if err != nil {
		return err
	}
	if cmd.Bool("embedded") {
		db := cfg.Redis.DB
		served, stop, err := t.startEmbedded(cfg)
		if err != nil {
			return err
		}
		defer stop()
		cfg.Redis, where = served.Redis, served.Redis.Addrs[0]
		cfg.Redis.DB = db
	}
	cfg.Logger = t.logger()
	if cfg.Redis.DialTimeout == 0 {
		cfg.Redis.DialTimeout = cmd.Duration("connect_timeout")
	}
	pool, err := storage.Open(cfg)
	if err != nil {
		return usage("%s", plainly(err))
	}
	defer pool.Close()
	cfg.Logger.Debug("connecting", "redis", where)
	ping, cancel := context.WithTimeout(ctx, cmd.Duration("connect_timeout"))
	defer cancel()
	if err := pool.Ping(ping); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unreachable(where, err)
	}
	cfg.Logger.Debug("connected", "redis", pool.Config())
	return do(pool)
}

// startEmbedded serves a Redis at the address where one was to be found.
func (t *tool) startEmbedded(cfg storage.Config) (served storage.Config, stop func(), err error) {
	if !slices.Equal(hosts(cfg.Redis), []string{"localhost"}) {
		return served, nil, usage("--embedded serves on this machine: leave out the URL and the hostname, or use localhost")
	}
	_, port, _ := net.SplitHostPort(cfg.Redis.Addrs[0])
	if served, stop, err = embedded.StartAt("127.0.0.1:" + port); err != nil {
		return served, nil, fail(exitRedis, "port %s is in use, perhaps by a Redis, which needs no --embedded: choose another with --port, 0 for any", port)
	}
	fmt.Fprintf(t.err, "a Redis inside this process: redis://%s\n", served.Redis.Addrs[0])
	return served, stop, nil
}

func hosts(o redis.UniversalOptions) (all []string) {
	for _, addr := range o.Addrs {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		if host == "127.0.0.1" || host == "::1" {
			host = "localhost"
		}
		all = append(all, host)
	}
	return all
}

// serveEmbedded is helio --embedded without a command.
func (t *tool) serveEmbedded(ctx context.Context, cmd *cli.Command) error {
	return untilCtrlC(ctx, t.with(ctx, cmd, func(*storage.Pool) error {
		<-ctx.Done()
		return nil
	}))
}
