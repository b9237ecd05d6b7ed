package bus_test

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Redis refuses to make a client's inbox anew, since it is full, but not to read from
// it. Once Redis takes writes again the client tells of lost calls again.
func TestAClientWhoseInboxWasRefusedTellsOfLostCalls(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool, raw := storagetest.Open(t, srv.Config()), storagetest.Open(t, srv.Config()).Redis()
	g := newGate()
	start(t, pool, bus.WorkerConfig{Type: "calc", Concurrency: 1}, func(w *bus.Worker) {
		bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
	})
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{Timeout: 10 * time.Minute})
	call := func() <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
			ended <- err
		}()
		return ended
	}
	first := call()
	<-g.entered

	inbox, err := raw.Keys(t.Context(), "bus:{local:inbox:*").Result()
	require.NoError(t, err)
	require.Len(t, inbox, 1)
	require.NoError(t, raw.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.NoError(t, raw.Del(t.Context(), inbox[0]).Err())
	require.NoError(t, raw.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
	refused := regexp.MustCompile(`cmdstat_xadd:.*rejected_calls=[1-9]`)
	require.Eventually(t, func() bool {
		return refused.MatchString(raw.Info(t.Context(), "commandstats").Val())
	}, patience, 10*time.Millisecond)
	require.NoError(t, raw.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.Eventually(t, func() bool { return raw.Exists(t.Context(), inbox[0]).Val() == 1 }, patience, 10*time.Millisecond)

	lost := call() // the worker is busy
	require.Eventually(t, func() bool { return raw.LPop(t.Context(), "bus:{local:calc}:queue").Err() == nil }, patience, time.Millisecond)
	select {
	case err := <-lost:
		require.ErrorIs(t, err, bus.ErrWorkerLost)
	case <-time.After(patience):
		t.Fatal("the caller is not told")
	}
	close(g.open)
	require.NoError(t, <-first)
}
