package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func redisZ(member string, at time.Time) redis.Z {
	return redis.Z{Score: float64(at.UnixMilli()), Member: member}
}

func TestEveryWorkerAnswersTheBuiltinMethods(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{
			Version: "1.2.3", Description: "adds", Labels: map[string]string{"zone": "eu"}, Path: "/opt/calc", Spawner: "init",
			OnTick: func(context.Context) {}, TickInterval: time.Hour, Serial: true,
			Extra: func() map[string]any { return map[string]any{"dome": "closed", "n": 7} },
		}, serveUpTo, func(w *bus.Worker) {
			bus.HandleAny(w, func(_ context.Context, _ string, b bus.Body) (bus.Body, error) { return b, nil })
		})
		c := client(t, pool, bus.ClientConfig{})
		for _, to := range []bus.Address{bus.Group("calc"), bus.Direct(w.ID())} {
			_, err := bus.Call(t.Context(), c, to, bus.Ping, struct{}{})
			require.NoError(t, err)
		}
		_, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.UpdateSpawner, "helio")
		require.NoError(t, err)

		d, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Info, struct{}{})
		require.NoError(t, err)
		require.Equal(t, w.ID(), d.ID)
		require.Equal(t, "1.2.3", d.Version)
		require.Equal(t, map[string]string{"zone": "eu"}, d.Labels)
		require.Equal(t, os.Getpid(), d.PID)
		require.Equal(t, "/opt/calc", d.Path)
		require.Equal(t, "helio", d.Spawner)
		require.Equal(t, time.Hour, d.Tick)
		require.NotEmpty(t, d.User)
		require.Positive(t, d.Uptime)
		require.Equal(t, map[string]any{"dome": "closed", "n": int64(7)}, d.Extra)
		var names []string
		for _, m := range d.Methods {
			names = append(names, m.Name)
			if m.Name == "add" {
				require.JSONEq(t, `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}`, string(m.Args))
				require.JSONEq(t, `{"type":"integer"}`, string(m.Result))
			}
		}
		require.Equal(t, []string{"*", "add", "name", "up_to"}, names)

		// As a shell sees it.
		body, err := bus.CallRaw(t.Context(), c, bus.Direct(w.ID()), "bus.info", bus.Body{Codec: storage.JSON})
		require.NoError(t, err)
		var seen map[string]any
		require.NoError(t, json.Unmarshal(body.Data, &seen))
		require.Equal(t, w.ID(), seen["id"])
		require.Equal(t, "integer", seen["methods"].([]any)[1].(map[string]any)["result"].(map[string]any)["type"])

		_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{1, 2})
		require.NoError(t, err)
		_, err = bus.CallRaw(t.Context(), c, bus.Group("calc"), "add", bus.Body{Codec: storage.JSON, Data: []byte("3")})
		require.ErrorIs(t, err, bus.CodeBadArguments)
		var s bus.WorkerStats
		require.Eventually(t, func() bool {
			s, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Stats, struct{}{})
			return err == nil && s.Methods[1].InFlight == 0
		}, patience, time.Millisecond)
		add := s.Methods[1]
		require.Equal(t, "add", add.Name)
		require.EqualValues(t, 2, add.Calls)
		require.Equal(t, map[bus.Code]int64{bus.CodeBadArguments: 1}, add.Errors)
		require.EqualValues(t, 2, add.Time.Count)
		require.Positive(t, add.Time.Sum)
		require.Positive(t, add.Time.Quantile(0.5))
		require.LessOrEqual(t, add.Time.Quantile(0.5), add.Time.Quantile(1))
		require.EqualValues(t, 2, add.Wait.Count)

		_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Stop, struct{}{})
		require.ErrorIs(t, err, bus.CodeNotAllowed)
		for rep, err := range bus.Gather(t.Context(), c, bus.Broadcast(""), bus.Ping, struct{}{}) {
			require.NoError(t, err)
			require.Equal(t, w.ID(), rep.From.ID)
		}
	})
}

func TestStopStopsAWorkerThatAllowsIt(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{AllowStop: true})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Stop, struct{}{})
		require.NoError(t, err)
		require.NoError(t, <-w.ended)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
	})
}

// What the control list brought while the worker stopped is answered before Run
// returns.
func TestAStoppingWorkerAnswersItsLastQuestion(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		asked, answered := make(chan struct{}), make(chan error, 1)
		var c *bus.Client
		var w *running
		w = start(t, pool, bus.WorkerConfig{
			Extra: func() map[string]any {
				close(asked)
				time.Sleep(200 * time.Millisecond)
				return nil
			},
			OnStop: func(context.Context) {
				go func() {
					_, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Info, struct{}{})
					answered <- err
				}()
				<-asked
			},
		})
		c = client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Ping, struct{}{}) // so that it is known to be alive
		require.NoError(t, err)
		require.NoError(t, w.end())
		require.NoError(t, <-answered)
	})
}

func TestNamesOfBuiltinMethodsAreTaken(t *testing.T) {
	require.PanicsWithError(t, `bus: method: name "bus.ping": names that begin with "bus." are reserved for built-in methods`, func() { bus.NewMethod[int, int]("bus.ping") })
	require.Panics(t, func() { bus.NewStream[int, int]("bus.x") })
}

// Camera is a stateful object without locks.
type Camera struct{ exposures int }

type ExposeArgs struct {
	Seconds float64 `json:"seconds"`
}

func (c *Camera) Expose(_ context.Context, a ExposeArgs) (int, error) {
	if a.Seconds < 0 {
		return 0, bus.Errorf("negative", "%v s", a.Seconds)
	}
	c.exposures++
	return c.exposures, nil
}

func (c *Camera) Close() error                                     { return nil }
func (c *Camera) Exposures(context.Context, struct{}) (int, error) { return c.exposures, nil }

func TestRegisterServesTheMethodsOfAnObject(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		start(t, pool, bus.WorkerConfig{Serial: true}, func(w *bus.Worker) {
			require.Equal(t, []string{"Expose", "Exposures"}, bus.Register(w, &Camera{}))
			require.Panics(t, func() { bus.Register(w, &Camera{}) })
			require.PanicsWithValue(t, "bus: Register: strings.Builder has no exported method func(context.Context, Req) (Res, error)", func() { bus.Register(w, &strings.Builder{}) })
			require.Panics(t, func() { bus.Register(w, nil) })
		})
		c := client(t, pool, bus.ClientConfig{})
		expose := bus.NewMethod[ExposeArgs, int]("Expose")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := bus.Call(t.Context(), c, bus.Group("calc"), expose, ExposeArgs{1}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n, err := bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[struct{}, int]("Exposures"), struct{}{})
		require.NoError(t, err)
		require.Equal(t, 50, n)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), expose, ExposeArgs{-1})
		require.ErrorIs(t, err, bus.Code("negative"))
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[string, int]("Expose"), "long")
		require.ErrorIs(t, err, bus.CodeBadArguments)
	})
}

func TestHooksRunInTurn(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var inside, ticks atomic.Int32
		alone := func() {
			require.EqualValues(t, 1, inside.Add(1))
			time.Sleep(time.Millisecond)
			inside.Add(-1)
		}
		started, stopped := false, make(chan struct{})
		w := start(t, pool, bus.WorkerConfig{
			Serial: true, TickInterval: time.Millisecond,
			OnStart: func(context.Context) error { started = true; return nil },
			OnTick:  func(context.Context) { alone(); ticks.Add(1) },
			OnStop:  func(ctx context.Context) { require.NoError(t, ctx.Err()); close(stopped) },
		}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(context.Context, struct{}) (struct{}, error) { alone(); return struct{}{}, nil })
		})
		require.True(t, started)
		c := client(t, pool, bus.ClientConfig{})
		for range 20 {
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), Hang, struct{}{})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return ticks.Load() > 5 }, patience, time.Millisecond)
		require.EqualValues(t, 20, w.Stats().Calls)
		require.NoError(t, w.end())
		<-stopped

		bad, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", OnStart: func(context.Context) error { return errors.New("no dome") }})
		require.NoError(t, err)
		require.ErrorContains(t, bad.Run(t.Context()), "OnStart: no dome")
		require.Empty(t, keysLike(t, pool, bad.ID()))
	})
}

// An idempotent call whose worker stops is made again at another.
// Whatever lies in the queues, workers go on, and say what can be answered.
