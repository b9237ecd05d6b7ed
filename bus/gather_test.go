package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// answers gathers the name method, and returns the workers that answered.
func answers(t *testing.T, c *bus.Client, to bus.Audience) (ids []string) {
	t.Helper()
	for rep, err := range bus.Gather(t.Context(), c, to, Name, "") {
		require.NoError(t, err)
		require.Equal(t, rep.From.ID, rep.Value)
		ids = append(ids, rep.Value)
	}
	return ids
}

func TestGatherReachesItsAudience(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		a := start(t, pool, bus.WorkerConfig{Type: "alpha", Labels: map[string]string{"zone": "eu", "disk": "ssd"}})
		b := start(t, pool, bus.WorkerConfig{Type: "alpha", Labels: map[string]string{"zone": "us"}})
		d := start(t, pool, bus.WorkerConfig{Type: "delta"})
		start(t, pool, bus.WorkerConfig{Type: "alpha", Site: "elsewhere"})
		c := client(t, pool, bus.ClientConfig{})
		eu := map[string]string{"zone": "eu"}
		for _, want := range []struct {
			to  bus.Audience
			ids []string
			s   string
		}{
			{bus.Broadcast("alpha"), []string{a.ID(), b.ID()}, "all alpha"},
			{bus.Broadcast(""), []string{a.ID(), b.ID(), d.ID()}, "all"},
			{bus.Broadcast("omega"), nil, "all omega"},
			{bus.Multicast("*"), []string{a.ID(), b.ID(), d.ID()}, "all *"},
			{bus.Multicast("alpha:*"), []string{a.ID(), b.ID()}, "all alpha:*"},
			{bus.Multicast("?elta:*"), []string{d.ID()}, "all ?elta:*"},
			{bus.Multicast("*" + b.ID()[len(b.ID())-8:]), []string{b.ID()}, "all *" + b.ID()[len(b.ID())-8:]},
			{bus.Multicast("alpha"), nil, "all alpha"},
			{bus.Multicast("a.*"), nil, "all a.*"},
			{bus.Local("delta"), []string{d.ID()}, "all delta here"},
			{bus.Local(""), []string{a.ID(), b.ID(), d.ID()}, "all here"},
			{bus.Broadcast("").WithLabels(eu), []string{a.ID()}, "all zone=eu"},
			{bus.Broadcast("alpha").WithLabels(eu).WithLabels(map[string]string{"disk": "ssd"}), []string{a.ID()}, "all alpha disk=ssd zone=eu"},
			{bus.Broadcast("delta").WithLabels(eu), nil, "all delta zone=eu"},
		} {
			require.ElementsMatch(t, want.ids, answers(t, c, want.to), want.s)
			require.Equal(t, want.s, want.to.String())
		}
		for _, err := range bus.Gather(t.Context(), c, bus.Broadcast("a b"), Name, "") {
			require.ErrorContains(t, err, `bus: gather name at all a b: type: name "a b"`)
		}
		require.ErrorContains(t, bus.Send(t.Context(), c, bus.Multicast(""), Name, ""), "bus: send name at all: Multicast: empty glob")
	})
}

func TestGatherNamesWorkersThatDidNotAnswer(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		moody := bus.NewMethod[string, string]("moody")
		var workers []*running
		for i := range 3 {
			workers = append(workers, start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
				bus.Handle(w, moody, func(ctx context.Context, _ string) (string, error) {
					switch i {
					case 0:
						return "", errors.New("not in the mood")
					case 1:
						<-ctx.Done()
						return "", ctx.Err()
					}
					return "fine", nil
				})
			}))
		}
		c := client(t, pool, bus.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		seen := map[string]error{}
		for rep, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), moody, "") {
			seen[rep.From.ID] = err
		}
		require.Len(t, seen, 3)
		require.ErrorIs(t, seen[workers[0].ID()], bus.CodeFailed)
		require.ErrorIs(t, seen[workers[1].ID()], context.DeadlineExceeded)
		require.ErrorContains(t, seen[workers[1].ID()], "bus: gather moody at worker "+workers[1].ID())
		require.NoError(t, seen[workers[2].ID()])

		// Whoever leaves the loop cancels the rest.
		for rep, err := range bus.Gather(t.Context(), c, bus.Broadcast("calc"), moody, "") {
			if err == nil {
				require.Equal(t, workers[2].ID(), rep.From.ID)
				break
			}
		}
		require.Eventually(t, func() bool { return workers[1].Stats().Held == 0 }, patience, time.Millisecond)

		_, err := gatherAll(bus.Gather(t.Context(), c, bus.Broadcast("calc"), bus.NewMethod[func(), int]("x"), nil))
		require.ErrorContains(t, err, "bus: gather x: storage: encode func()")
		_, err = gatherAll(bus.GatherRaw(t.Context(), c, bus.Broadcast("calc"), "no good", bus.Body{}))
		require.ErrorContains(t, err, `bus: method: name "no good"`)
		n, err := gatherAll(bus.GatherRaw(t.Context(), c, bus.Broadcast("calc"), "name", bus.Body{Codec: storage.JSON, Data: []byte(`""`)}))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	})
}

// A reply that came in time counts, however late the caller comes for it.
func TestASlowCallerGathersWhatCameInTime(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		for range 8 {
			start(t, pool, bus.WorkerConfig{})
		}
		c := client(t, pool, bus.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		n := 0
		for _, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), Name, "") {
			require.NoError(t, err)
			n++
			<-ctx.Done()
		}
		require.Equal(t, 8, n)
	})
}

func gatherAll[R any](replies func(func(bus.Reply[R], error) bool)) (n int, last error) {
	for _, err := range replies {
		if err != nil {
			last = err
		}
		n++
	}
	return n, last
}

func TestSendReachesAnAudience(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		note := bus.NewMethod[int, struct{}]("note")
		var sum atomic.Int64
		for range 3 {
			start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
				bus.Handle(w, note, func(_ context.Context, n int) (struct{}, error) {
					sum.Add(int64(n))
					return struct{}{}, nil
				})
			})
		}
		c := client(t, pool, bus.ClientConfig{})
		require.NoError(t, bus.Send(t.Context(), c, bus.Broadcast("calc"), note, 5))
		require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), note, 100))
		require.Eventually(t, func() bool { return sum.Load() == 115 }, patience, time.Millisecond)
		require.ErrorIs(t, bus.Send(t.Context(), c, bus.Broadcast("absent"), note, 5), bus.ErrNoWorkers)
	})
}

// Workers that are registered but dead are yielded as lost.
func TestGatherYieldsDeadWorkersAsLost(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		ghost := fmt.Sprintf("calc:%s:1:aaaaaaaa", "nowhere")
		ctx := t.Context()
		info := []byte(`{"id":"` + ghost + `","type":"calc"}`)
		require.NoError(t, pool.Redis().Set(ctx, "bus:{local:calc}:info:"+ghost, info, 2*time.Second).Err())
		require.NoError(t, pool.Redis().ZAdd(ctx, "bus:{local:calc}:alive", redisZ(ghost, time.Now().Add(2*time.Second))).Err())
		seen := map[string]error{}
		for rep, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), Name, "") {
			seen[rep.From.ID] = err
		}
		require.Len(t, seen, 2)
		require.NoError(t, seen[w.ID()])
		require.ErrorIs(t, seen[ghost], bus.ErrNoWorkers)
		require.Empty(t, keysLike(t, pool, ghost))
	})
}
