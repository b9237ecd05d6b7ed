package bus_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A proxy in front of a Redis that is away takes connections and ends them at once.
// What is to be written meanwhile was not sent: requests and replies wait.
func TestRequestsAndRepliesWaitWhileHandshakesFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		cfg := network.Config()
		var dead atomic.Bool
		connect := cfg.Redis.Dialer
		cfg.Redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !dead.Load() {
				return connect(ctx, network, addr)
			}
			client, server := net.Pipe()
			return client, server.Close()
		}
		held := newGate()
		w := start(t, storagetest.Open(t, cfg), bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, bus.NewMethod[int, int]("held"), func(ctx context.Context, n int) (int, error) {
				return n, held.pass(ctx)
			})
		})
		c := client(t, storagetest.Open(t, cfg), bus.ClientConfig{})
		call := make(chan error, 1)
		go func() {
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[int, int]("held"), 1)
			call <- err
		}()
		<-held.entered

		dead.Store(true)
		network.Cut()
		close(held.open)
		// The first write finds out that the connection is gone: its own fate is unknown.
		require.ErrorIs(t, bus.Send(t.Context(), c, bus.Group("calc"), Add, AddArgs{}), storage.ErrIndeterminate)
		sent := make(chan error, 1)
		go func() { sent <- bus.Send(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2}) }()
		time.Sleep(3 * time.Second)
		dead.Store(false)
		require.NoError(t, <-sent)
		require.NoError(t, <-call)
		require.Zero(t, w.Stats().Lost)
	})
}
