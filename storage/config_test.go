package storage_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]redis.UniversalOptions{
		"redis://localhost:6379/0":         {Addrs: []string{"localhost:6379"}},
		"redis://":                         {Addrs: []string{"127.0.0.1:6379"}},
		"redis://h":                        {Addrs: []string{"h:6379"}},
		"redis://:7000/3":                  {Addrs: []string{"127.0.0.1:7000"}, DB: 3},
		"redis://[::1]:7000":               {Addrs: []string{"[::1]:7000"}},
		"redis://[::1]":                    {Addrs: []string{"[::1]:6379"}},
		"redis://h?db=4":                   {Addrs: []string{"h:6379"}, DB: 4},
		"redis://u:p@h:1/2":                {Addrs: []string{"h:1"}, Username: "u", Password: "p", DB: 2},
		"redis://:p%40%2F%3F%23%25x@h":     {Addrs: []string{"h:6379"}, Password: "p@/?#%x"},
		"redis://u:a:b@h":                  {Addrs: []string{"h:6379"}, Username: "u", Password: "a:b"},
		"unix:///run/redis.sock":           {Addrs: []string{"/run/redis.sock"}},
		"unix://u:p@/run/redis.sock?db=2":  {Addrs: []string{"/run/redis.sock"}, Username: "u", Password: "p", DB: 2},
		"redis+cluster://h1:1,h2:2":        {Addrs: []string{"h1:1", "h2:2"}, IsClusterMode: true},
		"redis+cluster://u:p@h1?addr=h2:7": {Addrs: []string{"h1:6379", "h2:7"}, IsClusterMode: true, Username: "u", Password: "p"},
		"redis+sentinel://h1:1,h2/m/2":     {Addrs: []string{"h1:1", "h2:26379"}, MasterName: "m", DB: 2},
		"redis+sentinel://u:p@h1/m?sentinel_username=su&sentinel_password=sp": {
			Addrs: []string{"h1:26379"}, MasterName: "m", Username: "u", Password: "p", SentinelUsername: "su", SentinelPassword: "sp"},
		"redis://h?pool_size=20&read_timeout=3&write_timeout=250ms&dial_timeout=0&protocol=2&client_name=me&max_retries=-1": {
			Addrs: []string{"h:6379"}, PoolSize: 20, ReadTimeout: 3 * time.Second, WriteTimeout: 250 * time.Millisecond,
			DialTimeout: -1, Protocol: 2, ClientName: "me", MaxRetries: -1},
		"redis+cluster://h?max_redirects=5&read_only=true&route_by_latency=1": {
			Addrs: []string{"h:6379"}, IsClusterMode: true, MaxRedirects: 5, ReadOnly: true, RouteByLatency: true},
	} {
		cfg, err := storage.ParseURL(url)
		require.NoError(t, err, url)
		require.Equal(t, want, cfg.Redis, url)
		require.Empty(t, cfg.URL)
	}
	for url, insecure := range map[string]bool{
		"rediss://h:6380/2": false, "rediss://h?skip_verify=true": true, "rediss+cluster://h1,h2": false, "rediss+sentinel://h1/m?skip_verify=1": true,
	} {
		cfg, err := storage.ParseURL(url)
		require.NoError(t, err, url)
		require.NotNil(t, cfg.Redis.TLSConfig, url)
		require.Equal(t, insecure, cfg.Redis.TLSConfig.InsecureSkipVerify, url)
	}
}

func TestParseURLNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                            "no scheme",
		"localhost:6379":              "no scheme",
		"http://h":                    `unknown scheme "http"`,
		"redis+nats://h":              `unknown scheme "redis+nats"`,
		"unix+sentinel:///s":          `unknown scheme "unix+sentinel"`,
		"redis://h:port":              `bad port "port" in "h:port"`,
		"redis://h:0":                 `bad port "0"`,
		"redis://h:65536":             `bad port "65536"`,
		"redis://h/x":                 `bad db "x"`,
		"redis://h/-1":                `bad db "-1"`,
		"redis://h?db=first":          `bad db "first"`,
		"redis://h/1/2":               `bad path "1/2"`,
		"redis://h1,h2":               "2 addresses",
		"redis://h#1":                 "bad path or query",
		"redis://h?pool_sise=3":       `unknown parameter "pool_sise"`,
		"redis://h?b=1&a=2":           `unknown parameter "a", "b"`,
		"redis://h?pool_size=many":    "pool_size=many: want a whole number",
		"redis://h?pool_size=-3":      "PoolSize: -3 is out of range",
		"redis://h?pool_fifo=perhaps": "pool_fifo=perhaps: want true or false",
		"redis://h?read_timeout=long": "read_timeout=long: want a duration",
		"redis://h?protocol=4":        "Protocol: 4 is neither 2 nor 3",
		"redis://h?skip_verify=true":  "skip_verify: not a TLS URL",
		"redis://h?x=%zz":             "bad query",
		"unix://h/path":               "needs a path",
		"unix://":                     "needs a path",
		"redis+sentinel://h":          "no master name",
		"redis+cluster://h/2":         "a cluster has only db 0, not 2",
		"redis+cluster://h1:1,,h2":    "no host",
	} {
		_, err := storage.ParseURL(url)
		require.ErrorContains(t, err, want, url)
		_, err = storage.Open(storage.Config{URL: url})
		if url != "" {
			require.ErrorContains(t, err, want, url)
		}
	}
}

func TestAPasswordIsInNoError(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, url := range []string{
		"redis://u:s3cr3t@h:port/0",
		"redis://u:s3cr3t@h/x",
		"redis://u:s3cr3t@h?nonsense=1",
		"redis://u:s3cr3t@h:1:2",
		"nosuch://u:s3cr3t@h",
		"u:s3cr3t@h:6379",
		// characters that should have been encoded
		"redis://u:12/s3cr3t@h",
		"redis://u:12?s3cr3t@h",
		"redis://u:12#s3cr3t@h",
		"redis://u:s3cr3t/12@h",
		"redis://u:a@s3cr3t/b@h",
		"redis://u:s3cr3t%zz@h",
		"redis+sentinel://u:12/s3cr3t/x@h/m",
		"redis+sentinel://h/m/x?sentinel_password=s3cr3t",
		"unix://u:s3cr3t@",
	} {
		_, err := storage.Open(storage.Config{URL: url})
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), secret, url)
	}
}

func TestAPasswordIsInNoOutput(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, cfg := range []storage.Config{
		{URL: "redis://alice:s3cr3t@h:1/2", Prefix: "obs"},
		{URL: "redis://alice:s3cr3t@h:port"},
		{Redis: redis.UniversalOptions{Username: "alice", Password: secret, SentinelPassword: secret, MasterName: "m"}},
		{Redis: redis.UniversalOptions{Password: secret, Addrs: []string{"/run/s"}}},
		{Redis: redis.UniversalOptions{Password: secret, Addrs: []string{"a:1", "b:2"}}},
	} {
		var logged bytes.Buffer
		slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "cfg", cfg)
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "cfg", cfg)
		for _, text := range []string{
			cfg.String(), fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %d %q %x", cfg, cfg, cfg, cfg, cfg),
			fmt.Sprintf("%v", struct{ C storage.Config }{cfg}), logged.String(),
		} {
			require.NotContains(t, text, secret)
		}
		pool, err := storage.Open(cfg)
		if err != nil {
			continue
		}
		seen := pool.Config()
		require.Empty(t, seen.Redis.Password)
		require.Empty(t, seen.Redis.SentinelPassword)
		require.NoError(t, pool.Close())
	}
	require.Equal(t, "redis://alice@h:1/2 prefix obs", storage.Config{URL: "redis://alice:s3cr3t@h:1/2", Prefix: "obs"}.String())
	require.Equal(t, "rediss+sentinel://h1:26379,h2:26379/m/1", storage.Config{URL: "rediss+sentinel://h1,h2/m/1"}.String())
	require.Equal(t, "redis+cluster://h:6379", storage.Config{URL: "redis+cluster://h"}.String())
	require.Equal(t, "unix:///run/s?db=3", storage.Config{URL: "unix:///run/s?db=3"}.String())
	require.Equal(t, "redis://127.0.0.1:6379/0", storage.Config{}.String())
}

func TestOpenCompletesTheConfig(t *testing.T) {
	t.Parallel()
	pool, err := storage.Open(storage.Config{URL: "redis://h:1/2?pool_size=7", Redis: redis.UniversalOptions{PoolSize: 9, Username: "u"}})
	require.NoError(t, err)
	defer pool.Close()
	cfg := pool.Config()
	require.Equal(t, []string{"h:1"}, cfg.Redis.Addrs)
	require.Equal(t, 2, cfg.Redis.DB)
	require.Equal(t, 9, cfg.Redis.PoolSize, "a field of Redis wins over the URL")
	require.Equal(t, "u", cfg.Redis.Username)
	require.True(t, cfg.Redis.ContextTimeoutEnabled)
	require.Equal(t, 65_536, cfg.MaxQueued)
	require.Equal(t, 64<<20, cfg.MaxQueuedBytes)
	require.NotNil(t, cfg.Logger)
}

func TestOpenNamesTheField(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]storage.Config{
		"both URL and Redis name servers":       {URL: "redis://h", Redis: redis.UniversalOptions{Addrs: []string{"x:1"}}},
		`Config.Redis: Addrs: bad address "x"`:  {Redis: redis.UniversalOptions{Addrs: []string{"x"}}},
		`Config.Redis: Addrs: bad port "y"`:     {Redis: redis.UniversalOptions{Addrs: []string{"x:y"}}},
		"Config.Redis: DB: bad db -1":           {Redis: redis.UniversalOptions{DB: -1}},
		"Config.Redis: DB: a cluster has only":  {Redis: redis.UniversalOptions{Addrs: []string{"a:1", "b:1"}, DB: 1}},
		"Config.Redis: PoolSize":                {Redis: redis.UniversalOptions{PoolSize: 1 << 40}},
		"Config.Prefix: name \"a b\"":           {Prefix: "a b"},
		"Config.Prefix: name \"{a}\"":           {Prefix: "{a}"},
		"Config.MaxQueued: -1 is negative":      {MaxQueued: -1},
		"Config.MaxQueuedBytes: -1 is negative": {MaxQueuedBytes: -1},
	} {
		_, err := storage.Open(cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "obs"} {
		pool, err := storage.Open(storage.Config{Prefix: prefix})
		require.NoError(t, err)
		defer pool.Close()
		if prefix != "" {
			prefix += ":"
		}
		key, err := pool.Key("bus", redisio.HashTag("dev", "calc"), "größe")
		require.NoError(t, err)
		require.Equal(t, prefix+"bus:{dev:calc}:größe", key)
		for _, bad := range []string{"", "a b", "a\n", "a*", "a?", "[a", "a]", "{", "}", "{}", "{a", "a{b}", "{{a}}", `a\b`, "\x00", "\xff", string(make([]byte, 300))} {
			_, err := pool.Key("ok", bad)
			require.Error(t, err, "%q", bad)
		}
		_, err = pool.Key()
		require.Error(t, err)
	}
}
