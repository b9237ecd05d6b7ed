package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func ExampleStart() {
	pool := examplePool()
	defer stopExample()
	w, _ := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	double := bus.NewMethod[int, int]("double")
	bus.Handle(w, double, func(_ context.Context, n int) (int, error) { return 2 * n, nil })

	stop, err := bus.Start(context.Background(), w)
	if err != nil {
		fmt.Println(err) // a wrong password, for example
		return
	}
	c, _ := bus.NewClient(pool, bus.ClientConfig{})
	fmt.Println(bus.Call(context.Background(), c, bus.Group("calc"), double, 21))
	fmt.Println(stop())
	// Output:
	// 42 <nil>
	// <nil>
}

func TestStartReturnsWhenTheWorkerIsReady(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	stop, err := bus.Start(t.Context(), w)
	require.NoError(t, err)
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	workers, err := c.Workers(t.Context(), "calc")
	require.NoError(t, err)
	require.Len(t, workers, 1)
	require.NoError(t, stop())
	require.NoError(t, stop(), "again")
	_, err = bus.Start(t.Context(), w)
	require.ErrorContains(t, err, "was run before")
}

func TestStartSaysWhyTheWorkerIsNotReady(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--requirepass", "secret")
	cfg := srv.Config()
	cfg.Redis.Password = "wrong"
	pool := storagetest.Open(t, cfg)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	_, err = bus.Start(t.Context(), w)
	require.ErrorContains(t, err, "WRONGPASS")

	gone := storagetest.Open(t, storage.Config{URL: "redis://127.0.0.1:1/0"})
	w, err = bus.NewWorker(gone, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = bus.Start(ctx, w)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "deadline exceeded (dial tcp 127.0.0.1:1: connect: connection refused)")
}
