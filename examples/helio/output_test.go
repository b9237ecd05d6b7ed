package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/examples/internal/printed"
)

func TestSeconds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"1": time.Second, "0.25": 250 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "2m": 2 * time.Minute, "1e1": 10 * time.Second} {
		d, err := parseSeconds(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
	for _, text := range []string{"", "x", "0", "-1", "-1s", "NaN", "Inf", "1e300", "5 s"} {
		_, err := parseSeconds(text)
		require.Error(t, err, text)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 130_400 * time.Nanosecond: "130µs", 1234 * time.Microsecond: "1.23ms", 1234 * time.Millisecond: "1.23s",
		time.Minute: "1m", 70 * time.Second: "1m10s", time.Hour: "1h0m", 50 * time.Hour: "2d2h",
	} {
		require.Equal(t, want, short(d))
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	var p printed.Page
	require.Equal(t, dress{}, dressOf(&p, os.Getenv))
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, dress{}, dressOf(f, os.Getenv))
	require.Equal(t, "x", dress{terminal: true}.red("x"))
	require.Equal(t, "\x1b[31mx\x1b[0m", dress{terminal: true, colours: true}.red("x"))
}

func TestProgressGoesAway(t *testing.T) {
	t.Parallel()
	var out printed.Page
	p := &progress{w: &out, text: "waiting", stop: make(chan struct{})}
	p.show(time.Millisecond)
	out.Await(t, "\r\x1b[Kwaiting… 0s")
	p.say("%d of 2", 1)
	out.Await(t, "\r\x1b[K1 of 2… 0s")
	p.end()
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"))
}

func TestShape(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		``:                  "any",
		`true`:              "any",
		`{}`:                "any",
		`{"type":"string"}`: "string",
		`{"type":["null","array"],"items":{"type":"integer"}}`:                                       "[integer]",
		`{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"boolean"}}}`:              "{a: boolean, b: number}",
		`{"type":"object","additionalProperties":{"type":"string"}}`:                                 "{…: string}",
		`{"type":"object","additionalProperties":{"not":{}}}`:                                        "{}",
		`{"type":"object","properties":{"a":{"type":"array","items":{}}},"additionalProperties":{}}`: "{a: [any]}",
	} {
		var raw json.RawMessage
		if schema != "" {
			raw = json.RawMessage(schema)
		}
		require.Equal(t, want, shape(raw), schema)
	}
}

// Flags override the environment, and that overrides the file.
func TestWhichRedis(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	for _, c := range []struct {
		file, env, flags string
		want             string
	}{
		{"", "", "", "localhost:6379/0"},
		{"url = redis://f:1/2", "", "", "f:1/2"},
		{"# a comment\n\nhostname = f\ndb=3", "", "", "f:6379/3"},
		{"url = redis://f:1/2", "REDIS_URL=redis://e:2/3", "", "e:2/3"},
		{"url = redis://f:1/2", "REDIS_DB=5", "", "f:1/5"},
		{"url = redis://f:1/2", "REDIS_HOSTNAME=e", "", "e:6379/0"},
		{"url = redis://f:1/2", "REDIS_HOSTNAME=e REDIS_PORT=7", "--db 4", "e:7/4"},
		{"", "REDIS_URL=redis://e:2/3 REDIS_HOSTNAME=x REDIS_PORT=9", "", "e:2/3"},
		{"", "REDIS_URL=redis://e:2/3", "--port 9", "localhost:9/0"},
		{"", "REDIS_HOSTNAME=e", "--port 9", "e:9/0"},
		{"", "REDIS_HOSTNAME=e", "--url redis://u:4/5", "u:4/5"},
		{"", "REDIS_URL=redis://e:2/3", "--db 0", "e:2/0"},
		{"", "REDIS_HOSTNAME=::1", "", "[::1]:6379/0"},
		{"", "", "--url redis://u --port 4", "--url excludes --hostname and --port: give one or the other"},
		{"", "REDIS_PORT=x", "", `REDIS_PORT: want a number from 0 to 65535, not "x"`},
		{"", "", "--db -1", `--db: want a number from 0 to 65535, not "-1"`},
		{"port = 70000", "", "", file + `: port: want a number from 0 to 65535, not "70000"`},
		{"prot = 1", "", "", file + ":1: want a line such as url = redis://localhost:6379, with url, hostname, port, db, prefix or site"},
		{"", "REDIS_URL=http://e", "", `REDIS_URL: URL: unknown scheme "http"`},
		{"", "", "--config /no/such", "--config: open /no/such: no such file or directory"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(c.file), 0o600))
		env := map[string]string{"HELIO_CONFIG": file}
		for _, pair := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		tool := &tool{getenv: func(name string) string { return env[name] }}
		got := ""
		err := (&cli.Command{Flags: connectionFlags(), Action: func(_ context.Context, cmd *cli.Command) error {
			all, err := tool.sources(cmd)
			if err != nil {
				return err
			}
			cfg, where, err := redisConfig(all)
			got = fmt.Sprintf("%s/%d", where, cfg.Redis.DB)
			return err
		}}).Run(t.Context(), append([]string{"helio"}, strings.Fields(c.flags)...))
		if err != nil {
			got = err.Error()
		}
		require.Equal(t, c.want, got, "%+v", c)
	}
}
