package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestTopWithoutATerminalIsASnapshot(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		require.Regexp(t, `^\S+  site local  0 workers  Redis answers in \S+\n`, s.ok("top", "--interval", "0.01"))
		calc(t, pool)
		s.serving(stage)
		text := s.ok("top", "--interval", "0.01")
		require.Regexp(t, `\nTYPE +WORKERS +QUEUED +HELD +CALLS/S +ERRORS/S +SLOWEST P99\ncalc +1 +0 +0 +0 +0 +0s\n\nSERVICE +CHANGES/S +LAST CHANGE\nstage +0$`, text)
		var seen sample
		require.NoError(t, json.Unmarshal([]byte(s.ok("top", "--interval", "0.01", "-o", "json")), &seen))
		require.Equal(t, "calc", seen.Types[0].Type)
		require.Equal(t, "stage", seen.Services[0].Service)
	})
	s := on(t, storagetest.New(t))
	require.Contains(t, s.fails(exitUsage, "top", "x"), "one argument too many")
	r := s.start("top", "--interval", "100")
	require.Equal(t, exitInterrupted, r.end(), "there was nothing to print yet")
}

// Rates are counted between two samples.
func TestTopCounts(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	calc(t, pool)
	s.serving(stage)
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	j, err := jobs.NewClient(pool, jobs.ClientConfig{})
	require.NoError(t, err)
	w := &monitor{pool: pool, bus: c, kw: k, jobs: j, site: bus.DefaultSite, services: make(map[string]*service)}
	defer w.watches.Wait()
	defer cancel()
	first := w.sample(ctx)
	require.NoError(t, first.err)
	require.Zero(t, first.Types[0].Calls)
	require.Eventually(t, func() bool { // it watches, and then sees a change
		s.ok("call", "add", "--worker", "calc")
		s.helio("", "call", "hail", "--worker", "calc")
		s.ok("modify", "stage.SPEED=7")
		seen := w.sample(ctx)
		return seen.Services[0].Changes > 0 && seen.Services[0].Last == "SPEED" && seen.Services[0].Value == "7" &&
			seen.Types[0].Calls > 0 && seen.Types[0].Errors > 0 && seen.Types[0].Calls > seen.Types[0].Errors
	}, soon, time.Millisecond)
	require.Zero(t, w.sample(ctx).Types[0].Calls, "nothing has happened since")
}

func TestTopShowsGateways(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		require.NotContains(t, s.ok("top", "--interval", "0.01"), "GATEWAY")
		_, url := s.serves("gateway", "-p", "0", "-channels", "news")
		asks(t, url, "SUB news", "PING")
		c, err := bus.NewClient(pool, bus.ClientConfig{})
		require.NoError(t, err)
		w := &monitor{pool: pool, bus: c, site: bus.DefaultSite}
		require.Eventually(t, func() bool {
			s.ok("pub", "news", "tea", "--codec", "json")
			asks(t, url, "PING")
			all := w.gateways(t.Context(), time.Now())
			w.sampled = time.Now()
			return len(all) == 1 && all[0].Sockets > 1 && all[0].Channels == 1 && all[0].In > 0 && all[0].Out > 0
		}, soon, time.Millisecond)
		require.Regexp(t, `\ngateway +1 +0 +\d +0 +0 +\S+\n\nGATEWAY +SOCKETS +CHANNELS +IN/S +OUT/S +SLOW +DROPPED\ngateway:\S+ +\d+ +1 +0 +0 +0 +0\n\nSERVICE`,
			s.ok("top", "--interval", "0.01"))
		require.Regexp(t, `"gateways":\[\{"worker":"gateway:[^"]+","sockets":`, s.ok("top", "--interval", "0.01", "-o", "json"))
		require.Contains(t, s.ok("call", "gateway.stats", "--worker", "gateway"), `"channels":1`)
	})
}

func TestPageOfTop(t *testing.T) {
	t.Parallel()
	at := time.Now()
	page := sample{Time: at, Site: "dev", Ping: 0.00013, Types: []typeSample{
		{Type: "calc", Workers: 2, Calls: 10, P99: 0.002},
		{Type: "echo", Workers: 1, Queued: 7, Held: 3},
		{Type: "slow", Workers: 3, Silent: 1},
	}, Gateways: []gatewaySample{{Worker: "gateway:h:1:abcdefgh", Sockets: 12, Channels: 3, In: 1, Out: 250.25, Slow: 1, Dropped: 2}},
		Services: []*serviceSample{{Service: "dome", Changes: 1.5, Last: "AZ", Value: "12"}, {Service: "stage", Stale: true}}}.lines()
	require.Equal(t, []line{
		{clock(at) + "  site dev  6 workers  Redis answers in 130µs", ""},
		{"", ""},
		{"TYPE  WORKERS       QUEUED  HELD  CALLS/S  ERRORS/S  SLOWEST P99", faint},
		{"calc  2             0       0     10.0     0         2ms", ""},
		{"echo  1             7       3     0        0         0s", yellow},
		{"slow  3 (1 silent)  0       0     0        0         0s", red},
		{"", ""},
		{"GATEWAY               SOCKETS  CHANNELS  IN/S  OUT/S  SLOW  DROPPED", faint},
		{"gateway:h:1:abcdefgh  12       3         1.0   250.2  1     2", ""},
		{"", ""},
		{"SERVICE  CHANGES/S  LAST CHANGE", faint},
		{"dome     1.5        AZ = 12", ""},
		{"stage    0                       no dispatcher", yellow},
	}, page)
	page = sample{Time: at, err: errors.New("storage: gone\nfor good")}.lines()
	require.Equal(t, []line{{clock(at) + "  Redis does not answer: gone; for good", red}}, page)
}
