package storagetest

import (
	"testing"
	"testing/synctest"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// New returns a pool on an embedded server that no other test sees.
func New(tb testing.TB) *storage.Pool {
	tb.Helper()
	cfg, stop, err := embedded.Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return Open(tb, cfg)
}

// Open returns a pool that is closed with the test.
func Open(tb testing.TB, cfg storage.Config) *storage.Pool {
	tb.Helper()
	pool, err := storage.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := pool.Close(); err != nil {
			tb.Error(err)
		}
	})
	return pool
}

// Servers runs suite as two subtests: "embedded", as [New] does, and "redis", on
// a redis-server of its own.
func Servers(t *testing.T, suite func(t *testing.T, pool *storage.Pool)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { suite(t, New(t)) })
	t.Run("redis", func(t *testing.T) { suite(t, Open(t, Start(t).Config())) })
}

// Slow is [Servers] for a suite that waits for leases, retries or timeouts. Its
// subtests are "virtual", as [Virtual] does, and "redis", which is part of the long
// run.
func Slow(t *testing.T, suite func(t *testing.T, pool *storage.Pool)) {
	t.Helper()
	t.Run("virtual", func(t *testing.T) { Virtual(t, suite) })
	t.Run("redis", func(t *testing.T) {
		Long(t)
		suite(t, Open(t, Start(t).Config()))
	})
}

// Outages is [Slow] for a suite that takes Redis away: down cuts its connections and
// refuses new ones, up brings it back, empty.
func Outages(t *testing.T, suite func(t *testing.T, pool *storage.Pool, down, up func())) {
	t.Helper()
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			network := NewNetwork(t)
			up := func() {
				network.server.FlushAll()
				network.Up()
			}
			suite(t, Open(t, network.Config()), network.Down, up)
		})
	})
	t.Run("redis", func(t *testing.T) {
		Long(t)
		srv := Start(t)
		suite(t, Open(t, srv.Config()), srv.Kill, srv.Restart)
	})
}
