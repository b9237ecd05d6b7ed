package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestHealthOfAPool(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		require.NoError(t, pool.Health(t.Context()))
		require.NoError(t, pool.Close())
		require.ErrorIs(t, pool.Health(t.Context()), storage.ErrClosed)
	})
}

func TestHealthSaysThatRedisCannotBeReached(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storage.Config{URL: "redis://" + refusing(t)})
	err := pool.Health(t.Context())
	require.ErrorContains(t, err, "storage: health: Redis at redis://127.0.0.1:")
	require.ErrorContains(t, err, "connection refused")
}

func TestHealthSaysThatWritesWait(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	require.NoError(t, pool.Health(t.Context()))
	require.NoError(t, pool.Redis().ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	redisio.Of(pool).Writer().Push(ctx, "list", []byte("x"), func(_ int64, err error) { ended <- err })
	require.Eventually(t, func() bool { return pool.Health(t.Context()) != nil }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, pool.Health(t.Context()), "storage: health: Redis answers PING, but 1 writes wait: READONLY")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.NoError(t, pool.Health(t.Context()))
}

func TestStatsAreMarshalledInSnakeCase(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	require.NoError(t, pool.Ping(t.Context()))
	data, err := json.Marshal(pool.Stats())
	require.NoError(t, err)
	for _, name := range []string{`"connections":{"open":1`, `"idle":`, `"writes":{"queued":0,"queued_bytes":0`, `"owned":0`} {
		require.Contains(t, string(data), name)
	}
}

// refusing returns an address that refuses connections.
func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Not parallel: go-redis has one logger for the process.
func TestLinesOfGoRedisGoToTheLoggerOfAPoolMadeByOpen(t *testing.T) {
	var lines lockedBuffer
	logger := slog.New(slog.NewTextHandler(&lines, nil))
	pool := storagetest.Open(t, storage.Config{URL: "redis://" + refusing(t), Logger: logger})
	require.Error(t, pool.Ping(t.Context()))
	require.Contains(t, lines.String(), `level=WARN msg="storage: go-redis reports"`)
	require.Contains(t, lines.String(), "failed to dial after 1 attempts")
	require.NoError(t, pool.Close())

	before := lines.String()
	storage.RedisLog.Printf(t.Context(), "a line %d of go-redis", 1)
	require.Equal(t, before, lines.String(), "the pool is closed")
}

type hostLogger struct{ lines chan string }

func (l hostLogger) Printf(_ context.Context, format string, _ ...any) {
	select {
	case l.lines <- format:
	default:
	}
}

func TestALoggerThatTheHostSetKeepsTheLinesOfGoRedis(t *testing.T) {
	host := hostLogger{make(chan string, 100)}
	redis.SetLogger(host)
	defer redis.SetLogger(storage.RedisLog)
	var lines lockedBuffer
	pool := storagetest.Open(t, storage.Config{URL: "redis://" + refusing(t), Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	require.Error(t, pool.Ping(t.Context()))
	require.Contains(t, <-host.lines, "failed to dial")
	require.Empty(t, lines.String())
}

func TestConstructorsNameANilOrClosedPool(t *testing.T) {
	t.Parallel()
	closed := storagetest.New(t)
	require.NoError(t, closed.Close())
	for name, open := range map[string]func(*storage.Pool) error{
		"NewSet":      func(p *storage.Pool) error { _, err := storage.NewSet[int](p, "x"); return err },
		"NewMap":      func(p *storage.Pool) error { _, err := storage.NewMap[int](p, "x"); return err },
		"NewValue":    func(p *storage.Pool) error { _, err := storage.NewValue[int](p, "x"); return err },
		"NewLog":      func(p *storage.Pool) error { _, err := storage.NewLog(p, "x"); return err },
		"NewObject":   func(p *storage.Pool) error { _, err := storage.NewObject(p, "x"); return err },
		"NewCache":    func(p *storage.Pool) error { _, err := storage.NewCache[int](p, "x"); return err },
		"NewPresence": func(p *storage.Pool) error { _, err := storage.NewPresence[int](p, "x"); return err },
	} {
		require.ErrorContains(t, open(nil), "storage: nil pool", name)
		require.ErrorIs(t, open(closed), storage.ErrClosed, name)
	}
	_, err := storage.New(nil, storage.Config{})
	require.EqualError(t, err, "storage: New: client is nil: want a *redis.Client or *redis.ClusterClient")
	var client *redis.Client
	_, err = storage.New(client, storage.Config{})
	require.ErrorContains(t, err, "storage: New: nil *redis.Client")
}

func TestAHostThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"a b", "a\tb", "a\x00b", "a;b", "<h>", "a,b", "-", "h$"} {
		cfg := storage.Config{Redis: redis.UniversalOptions{Addrs: []string{net.JoinHostPort(host, "6379")}}}
		_, err := storage.Open(cfg)
		require.ErrorContains(t, err, "storage: Config.Redis: Addrs: bad host", host)
	}
	_, err := storage.Open(storage.Config{URL: "redis://my host:6379/0"})
	require.EqualError(t, err, `storage: Config.URL: bad host "my host" in "my host:6379"`)
	for _, host := range []string{"localhost", "redis_1.svc", "10.0.0.1", "[::1]", "[fe80::1%eth0]", "bücher.example"} {
		_, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{host + ":6379"}}})
		require.NoError(t, err, host)
	}
}
