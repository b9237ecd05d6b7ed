package storagetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

func TestServersRunsBoth(t *testing.T) {
	var names []string
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		names = append(names, t.Name())
		require.NoError(t, pool.Ping(t.Context()))
	})
	require.Contains(t, names, "TestServersRunsBoth/embedded")
}

func TestAServerForgetsWhenItIsRestarted(t *testing.T) {
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	ctx := t.Context()
	require.NoError(t, pool.Redis().Set(ctx, "k", "v", 0).Err())
	srv.Kill()
	require.Error(t, pool.Ping(ctx))
	srv.Restart()
	require.NoError(t, pool.Ping(ctx))
	require.Zero(t, pool.Redis().Exists(ctx, "k").Val())
}

// recorder is a testing.TB that ends when it skips or fails.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}
func (r *recorder) Skip(args ...any) {
	r.said, _ = args[0].(string)
	panic(r)
}
func (r *recorder) Fatal(args ...any) {
	r.said, _ = args[0].(string)
	panic(r)
}

func TestWithoutRedisTestsSkipUnlessItIsRequired(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for env, want := range map[string]string{
		"":         "no redis-server on the PATH: this needs a real one",
		"required": "no redis-server on the PATH, and HELIOGRAPH_REDIS=required",
	} {
		t.Setenv("HELIOGRAPH_REDIS", env)
		r := &recorder{TB: t}
		require.Panics(t, func() { storagetest.Start(r) })
		require.Equal(t, want, r.said)
	}
}

func TestLeakedGoroutinesAreSeen(t *testing.T) {
	stop := make(chan struct{})
	go leak(stop)
	require.Eventually(t, func() bool {
		return strings.Contains(strings.Join(storagetest.Leaked(0), "\n"), "storagetest_test.leak")
	}, 5*time.Second, time.Millisecond)
	close(stop)
	require.Eventually(t, func() bool {
		return !strings.Contains(strings.Join(storagetest.Leaked(0), "\n"), "storagetest_test.leak")
	}, 5*time.Second, time.Millisecond)
}

func leak(stop chan struct{}) { <-stop }
