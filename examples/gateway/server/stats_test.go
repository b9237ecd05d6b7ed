package server_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// gateways asks all gateways of a site for their statistics.
func gateways(t *testing.T, pool *storage.Pool, site string) (all []gateway.Stats) {
	t.Helper()
	c, err := bus.NewClient(pool, bus.ClientConfig{Site: site})
	require.NoError(t, err)
	defer c.Close()
	for r, err := range bus.Gather(t.Context(), c, bus.Broadcast(server.Type), server.Stats, struct{}{}) {
		if err == nil { // none of one that goes just now
			all = append(all, r.Value)
		}
	}
	return all
}

func TestStatisticsOverRedis(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := start(t, "-redis", redisURL(pool), "-channels", "trains")
		start(t, "-redis", redisURL(pool), "-channels", "trains", "-site", "far")
		start(t, "-redis", redisURL(pool), "-channels", "trains", "-site=")
		start(t, "-storage", "memory")
		ann := dial(t, p.ws)
		ann.gets("websocket", `{"status": "open"}`)
		ann.send("SUB trains")
		require.Eventually(t, func() bool {
			all := gateways(t, pool, bus.DefaultSite)
			return len(all) == 1 && all[0].Connections == 1 && all[0].Channels == 1 && len(gateways(t, pool, "far")) == 1
		}, patience, 10*time.Millisecond)
		p.stop()
		require.Eventually(t, func() bool { return len(gateways(t, pool, bus.DefaultSite)) == 0 }, patience, 10*time.Millisecond)
	})
	var stderr printed.Page
	require.Equal(t, 1, server.Main(t.Context(), []string{"-p", "0", "-redis", redisURL(storagetest.New(t)), "-site", "a b"}, &stderr, &stderr))
	require.True(t, strings.HasPrefix(stderr.String(), "gateway: -site: "), &stderr)
}

// What a program has set before is what the flags are by default.
func TestOptionsOfAProgram(t *testing.T) {
	t.Parallel()
	o := server.Options{Site: "far", ShutdownTimeout: time.Second}
	var help bytes.Buffer
	o.Help(&help)
	require.Regexp(t, `-site name\n.*\(default "?far"?\)`, &help)
	require.Regexp(t, `-shutdown_timeout seconds\n.*\(default 1s\)`, &help)
	require.NoError(t, o.Parse([]string{"-prefix", "x", "-shutdown_timeout", "2"}))
	require.Equal(t, "far", o.Site)
	require.Equal(t, 2*time.Second, o.ShutdownTimeout)
	require.Equal(t, "x", o.Prefix)
	require.False(t, o.NamesRedis())
	for _, args := range [][]string{{"-redis", "redis://h"}, {"-redis_host", "h"}, {"-redis_port", "6379"}, {"-storage", "memory"}} {
		require.NoError(t, o.Parse(args))
		require.True(t, o.NamesRedis(), "%v", args)
		o = server.Options{}
	}
}
