package embedded_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

func TestTheClockRuns(t *testing.T) {
	pool := storagetest.New(t)
	ctx := t.Context()
	require.NoError(t, pool.Redis().Set(ctx, "k", "v", 20*time.Millisecond).Err())
	require.Eventually(t, func() bool { return pool.Redis().Exists(ctx, "k").Val() == 0 }, 5*time.Second, time.Millisecond)
}

func TestServersDoNotSeeEachOther(t *testing.T) {
	a, b := storagetest.New(t), storagetest.New(t)
	require.NoError(t, a.Redis().Set(t.Context(), "k", "v", 0).Err())
	require.Zero(t, b.Redis().Exists(t.Context(), "k").Val())
}

func TestOpenRefusesToBeElsewhere(t *testing.T) {
	for _, cfg := range []storage.Config{{URL: "redis://localhost"}, {Redis: redis.UniversalOptions{Addrs: []string{"localhost:6379"}}}, {Prefix: "a b"}} {
		_, err := embedded.Open(cfg)
		require.Error(t, err)
	}
}

func ExampleOpen() {
	pool, err := embedded.Open(storage.Config{Prefix: "obs"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close() // and with it the server
	fmt.Println(pool.Ping(context.Background()))
	// Output: <nil>
}

func TestStartAtAnAddress(t *testing.T) {
	addr := "127.0.0.1:" + storagetest.FreePort(t)
	cfg, stop, err := embedded.StartAt(addr)
	require.NoError(t, err)
	defer stop()
	require.Equal(t, []string{addr}, cfg.Redis.Addrs)
	require.NoError(t, storagetest.Open(t, storage.Config{URL: "redis://" + addr}).Ping(t.Context()))
	_, _, err = embedded.StartAt(addr)
	require.ErrorContains(t, err, "address already in use")
}

func ExampleStartAt() {
	_, stop, err := embedded.StartAt("127.0.0.1:no")
	if err != nil {
		fmt.Println("no such port")
		return
	}
	stop()
	// Output: no such port
}

func Example() {
	cfg, stop, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	fmt.Println(pool.Redis().Incr(context.Background(), "visits").Val())
	// Output: 1
}
