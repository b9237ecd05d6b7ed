package bus_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// While a script of another program keeps Redis busy, or Redis can't save a snapshot, it
// refuses commands. Calls and replies wait.
func TestCallsWaitWhileRedisRefusesCommands(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, srv *storagetest.Server, admin *redis.Client) (heal func()){
		"BUSY": func(t *testing.T, srv *storagetest.Server, admin *redis.Client) func() {
			require.NoError(t, admin.ConfigSet(t.Context(), "busy-reply-threshold", "50").Err())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = admin.Eval(context.Background(), "while true do end", nil).Err()
			}()
			return func() {
				require.NoError(t, admin.ScriptKill(t.Context()).Err())
				<-ended
			}
		},
		"MISCONF": func(t *testing.T, srv *storagetest.Server, admin *redis.Client) func() {
			require.NoError(t, os.Mkdir(srv.File("dump"), 0o700)) // a snapshot can't replace it
			require.NoError(t, admin.ConfigSet(t.Context(), "save", "3600 1000000").Err())
			require.NoError(t, admin.BgSave(t.Context()).Err())
			return func() { require.NoError(t, admin.ConfigSet(t.Context(), "save", "").Err()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := storagetest.Start(t, "--dbfilename", "dump")
			admin := redis.NewClient(&redis.Options{Addr: srv.Addr(), MaxRetries: -1, ReadTimeout: time.Minute})
			t.Cleanup(func() { _ = admin.Close() })
			held := newGate()
			hold := bus.NewMethod[int, int]("hold")
			w := start(t, storagetest.Open(t, srv.Config()), bus.WorkerConfig{}, func(w *bus.Worker) {
				bus.Handle(w, hold, func(ctx context.Context, n int) (int, error) { return n, held.pass(ctx) })
			})
			c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
			ended := make(chan error, 2)
			call := func() {
				_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, 1)
				ended <- err
			}
			go call()
			<-held.entered

			heal := fault(t, srv, admin)
			probe := redis.NewClient(&redis.Options{Addr: srv.Addr(), MaxRetries: -1, DisableIdentity: true})
			t.Cleanup(func() { _ = probe.Close() })
			require.Eventually(t, func() bool {
				return redis.HasErrorPrefix(probe.Set(t.Context(), "probe", "", 0).Err(), name)
			}, patience, 10*time.Millisecond)
			close(held.open) // the reply is refused
			go call()        // and so is the request
			select {
			case err := <-ended:
				t.Fatalf("a call ended: %v", err)
			case <-time.After(time.Second):
			}
			heal()
			require.NoError(t, <-ended)
			require.NoError(t, <-ended)
			require.Zero(t, w.Stats().Lost)
		})
	}
}

// A full Redis takes no new leases. A worker keeps the one that it has, its calls are not
// lost, and new ones say what they wait for.
func TestAFullRedisDoesNotEndLeases(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config()).Redis()
	held := newGate()
	hold := bus.NewMethod[int, int]("hold")
	w := start(t, storagetest.Open(t, srv.Config()), bus.WorkerConfig{Lease: 2 * time.Second}, func(w *bus.Worker) {
		bus.Handle(w, hold, func(ctx context.Context, n int) (int, error) { return n, held.pass(ctx) })
	})
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	ended := make(chan error, 1)
	go func() {
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, 1)
		ended <- err
	}()
	<-held.entered
	inboxes := keysLike(t, storagetest.Open(t, srv.Config()), "inbox")
	require.Len(t, inboxes, 1)
	require.Eventually(t, func() bool { // the worker has announced the call
		return slices.ContainsFunc(admin.XRange(t.Context(), inboxes[0], "-", "+").Val(), func(m redis.XMessage) bool {
			return m.Values[redisio.StreamField] != ""
		})
	}, patience, time.Millisecond)

	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for range 3 { // leases
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Add, AddArgs{1, 2})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "OOM")
	}
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	sum, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{1, 2})
	require.NoError(t, err)
	require.Equal(t, 3, sum)
	close(held.open)
	require.NoError(t, <-ended)
}
