package storage_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestPoolFaces(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		require.NoError(t, pool.Ping(ctx))
		require.NoError(t, pool.Redis().Set(ctx, "k", "v", 0).Err())
		async := pool.Async()
		var answers []*redis.IntCmd
		for range 100 {
			answers = append(answers, async.Incr(ctx, "n"))
		}
		for i, a := range answers {
			require.EqualValues(t, i+1, a.Val(), "in order")
		}
		require.Same(t, async, pool.Async())
		stats := pool.Stats()
		require.Zero(t, stats.Owned)
		require.Positive(t, stats.Connections.Open)
	})
}

func TestOpenDoesNotDialAndForgetsAFailedDial(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	dialed := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dialed <- struct{}{}
			_ = conn.Close()
		}
	}()
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}, MinIdleConns: 3, MaxRetries: -1}})
	require.NoError(t, err)
	defer pool.Close()
	require.Empty(t, dialed)
	require.Error(t, pool.Ping(t.Context()))
	require.NotEmpty(t, dialed)
	require.NoError(t, listener.Close())

	require.Error(t, pool.Ping(t.Context()))
	srv := storagetest.Start(t)
	_ = srv
	// The same pool works once a server answers at its address.
	proxy, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	defer proxy.Close()
	go forward(proxy, srv.Addr())
	require.Eventually(t, func() bool { return pool.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
}

// forward passes connections on to another address.
func forward(from net.Listener, to string) {
	for {
		a, err := from.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", to)
		if err != nil {
			_ = a.Close()
			continue
		}
		go func() { _, _ = io.Copy(a, b); _ = a.Close() }()
		go func() { _, _ = io.Copy(b, a); _ = b.Close() }()
	}
}

func TestCloseIsFinalAndIdempotent(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	ctx := t.Context()
	require.NoError(t, pool.Ping(ctx))
	var order []string
	for _, name := range []string{"first", "second"} {
		_, err := redisio.Of(pool).Own(note(func() { order = append(order, name) }))
		require.NoError(t, err)
	}
	disown, err := redisio.Of(pool).Own(note(func() { order = append(order, "gone") }))
	require.NoError(t, err)
	require.Equal(t, 3, pool.Stats().Owned)
	disown()
	disown()

	require.NoError(t, pool.Close())
	require.Equal(t, []string{"second", "first"}, order, "newest first")
	require.NoError(t, pool.Close())
	require.ErrorIs(t, pool.Ping(ctx), redis.ErrClosed)
	require.ErrorIs(t, pool.Async().Ping(ctx).Err(), redis.ErrClosed)
	_, err = redisio.Of(pool).Own(note(func() {}))
	require.ErrorIs(t, err, storage.ErrClosed)
	require.ErrorIs(t, redisio.Of(pool).Blocking(ctx, nil), storage.ErrClosed)
	done := make(chan error, 1)
	redisio.Of(pool).Writer().Push(ctx, "l", nil, func(_ int64, err error) { done <- err })
	require.ErrorIs(t, <-done, storage.ErrClosed)

	unused, err := storage.Open(storage.Config{})
	require.NoError(t, err)
	require.NoError(t, unused.Close())
	require.ErrorIs(t, unused.Redis().Ping(ctx).Err(), redis.ErrClosed)
}

func TestCloseReportsWhatDidNotClose(t *testing.T) {
	t.Parallel()
	cfg, stop, err := embedded.Start()
	require.NoError(t, err)
	defer stop()
	pool, err := storage.Open(cfg)
	require.NoError(t, err)
	_, err = redisio.Of(pool).Own(func() error { return errStuck })
	require.NoError(t, err)
	require.ErrorIs(t, pool.Close(), errStuck)
	require.ErrorIs(t, pool.Close(), errStuck)
}

var errStuck = errors.New("stuck")

// note is an end that only notes it.
func note(n func()) func() error { return func() error { n(); return nil } }

func TestNewLeavesTheHostsClientAlone(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--requirepass", "s3cr3t")
	ctx := t.Context()
	host := redis.NewClient(&redis.Options{Addr: srv.Addr(), Password: "s3cr3t", DB: 3, ReadTimeout: -1, MaxRetries: -1, PoolSize: 1})
	defer host.Close()
	before := *host.Options()

	pool, err := storage.New(host, storage.Config{Prefix: "obs"})
	require.NoError(t, err)
	require.Same(t, host, pool.Redis())
	require.NoError(t, pool.Ping(ctx))

	// The host's one connection is taken; ours do not need it.
	conn := host.Conn()
	require.NoError(t, conn.Ping(ctx).Err())
	require.NoError(t, pool.Async().Set(ctx, "a", "1", 0).Err())
	pushed := make(chan error, 1)
	redisio.Of(pool).Writer().Push(ctx, "l", []byte("x"), func(_ int64, err error) { pushed <- err })
	require.NoError(t, <-pushed)
	err = redisio.Of(pool).Blocking(ctx, func(ctx context.Context, c redis.UniversalClient) error {
		require.Equal(t, "1", c.Get(ctx, "a").Val(), "the host's database and password")
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	require.NoError(t, pool.Close())
	require.NoError(t, host.Ping(ctx).Err(), "open still")
	require.NoError(t, pool.Redis().Ping(ctx).Err())
	require.Equal(t, before.MaxRetries, host.Options().MaxRetries)
	require.Equal(t, before.ReadTimeout, host.Options().ReadTimeout)
	require.Equal(t, before.PoolSize, host.Options().PoolSize)
	mine, err := host.AsyncAutoPipeline()
	require.NoError(t, err)
	require.NoError(t, mine.Ping(ctx).Err())
}

func TestNewRefusesOtherClientsByName(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for want, client := range map[string]redis.UniversalClient{
		"*redis.Ring":            ring,
		"storage_test.wrapper":   wrapper{ring},
		"nil *redis.Client":      (*redis.Client)(nil),
		"nil *redis.ClusterClie": (*redis.ClusterClient)(nil),
		"client is nil":          nil,
	} {
		_, err := storage.New(client, storage.Config{})
		require.ErrorContains(t, err, want)
	}
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	_, err := storage.New(client, storage.Config{URL: "redis://h"})
	require.ErrorContains(t, err, "Config.URL and Config.Redis must be empty")
	_, err = storage.New(client, storage.Config{Redis: redis.UniversalOptions{DB: 1}})
	require.ErrorContains(t, err, "Config.URL and Config.Redis must be empty")
	_, err = storage.New(client, storage.Config{Prefix: "*"})
	require.ErrorContains(t, err, "Config.Prefix")
}

type wrapper struct{ redis.UniversalClient }

func TestBlockingEndsWithTheTrueError(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		started := make(chan struct{}, 1)
		read := func(ctx context.Context, c redis.UniversalClient) error {
			started <- struct{}{}
			return c.XRead(ctx, &redis.XReadArgs{Streams: []string{"s", "0"}, Block: 3 * time.Second}).Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- redisio.Of(pool).Blocking(ctx, read) }()
		<-started
		cancel()
		require.Equal(t, context.Canceled, <-ended)
		require.Equal(t, context.Canceled, redisio.Of(pool).Blocking(ctx, read))

		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, redisio.Of(pool).Blocking(ctx, read))
		<-started

		require.ErrorIs(t, redisio.Of(pool).Blocking(t.Context(), func(context.Context, redis.UniversalClient) error { return errStuck }), errStuck)

		go func() { ended <- redisio.Of(pool).Blocking(t.Context(), read) }()
		<-started
		require.NoError(t, pool.Close())
		require.Equal(t, storage.ErrClosed, <-ended)
	})
}

func TestTimeoutsAreTheContextsErrors(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cfg := srv.Config()
	cfg.Redis.ReadTimeout, cfg.Redis.MaxRetries = 50*time.Millisecond, -1
	pool := storagetest.Open(t, cfg)
	require.NoError(t, pool.Ping(t.Context()))
	srv.Pause()
	defer srv.Resume()
	err := pool.Ping(t.Context())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "redis did not answer in time")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, pool.Ping(ctx))
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	require.Equal(t, context.Canceled, pool.Ping(ctx))
}

func TestClockTellsTheTimeOfRedis(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		for _, off := range []time.Duration{0, time.Minute, -time.Hour} {
			clock := redisio.NewClock(func() time.Time { return time.Now().Add(off) })
			require.InDelta(t, 0, time.Until(clock.Now().Add(-off)).Seconds(), 5, "local time before the first Sync")
			require.NoError(t, clock.Sync(ctx, pool.Redis()))
			truth, err := pool.Redis().Time(ctx).Result()
			require.NoError(t, err)
			require.InDelta(t, 0, clock.Now().Sub(truth).Seconds(), 5)
		}
		// Set while it runs, it is right again after a Sync.
		off := time.Duration(0)
		clock := redisio.NewClock(func() time.Time { return time.Now().Add(off) })
		require.NoError(t, clock.Sync(ctx, pool.Redis()))
		off = time.Hour
		require.NoError(t, clock.Sync(ctx, pool.Redis()))
		require.InDelta(t, 0, time.Until(clock.Now()).Seconds(), 5)
	})
}

// A dedicated client reads from primaries, whatever the URL says of replicas.
func TestDedicatedClientsReadFromPrimaries(t *testing.T) {
	cfg, err := storage.ParseURL("redis+cluster://h:6379?read_only=true&route_by_latency=true")
	require.NoError(t, err)
	pool, err := storage.Open(cfg)
	require.NoError(t, err)
	defer pool.Close()
	client := redisio.Of(pool).Dedicated()
	defer client.Close()
	opts := client.(*redis.ClusterClient).Options()
	require.False(t, opts.ReadOnly)
	require.False(t, opts.RouteByLatency)
	require.True(t, pool.Redis().(*redis.ClusterClient).Options().ReadOnly)
}
