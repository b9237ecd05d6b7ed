package bus_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
		require.Positive(t, add.P50)
		require.LessOrEqual(t, add.P50, add.P99)

		_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Stop, struct{}{})
		require.ErrorIs(t, err, bus.CodeNotAllowed)
		for rep, err := range bus.Gather(t.Context(), c, bus.Broadcast(""), bus.Ping, struct{}{}) {
			require.NoError(t, err)
			require.Equal(t, w.ID(), rep.From.ID)
		}
	})
}

func TestStopStopsAWorkerThatAllowsIt(t *testing.T) {
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

func TestNamesOfBuiltinMethodsAreTaken(t *testing.T) {
	require.PanicsWithError(t, `bus: method: name "bus.ping": "bus." is for the methods that every worker has`, func() { bus.NewMethod[int, int]("bus.ping") })
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

func TestFilesAreServedBelowTheRootOnly(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		dir := t.TempDir()
		inside := filepath.Join(dir, "root")
		big := bytes.Repeat([]byte("0123456789"), 100_000)
		require.NoError(t, os.MkdirAll(filepath.Join(inside, "sub", "empty"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("s3cr3t"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(inside, "big"), big, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(inside, "sub", "none"), nil, 0o644))
		require.NoError(t, os.Symlink("../secret", filepath.Join(inside, "escape")))
		require.NoError(t, os.Symlink("big", filepath.Join(inside, "link")))
		root, err := os.OpenRoot(inside)
		require.NoError(t, err)
		defer root.Close()
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) { bus.Files(w, root) })
		c := client(t, pool, bus.ClientConfig{})
		fetch := func(m bus.StreamMethod[string, []byte], name string) ([]byte, error) {
			var all []byte
			for chunk, err := range bus.Stream(t.Context(), c, bus.Group("calc"), m, name) {
				if err != nil {
					return nil, err
				}
				all = append(all, chunk...)
			}
			return all, nil
		}
		for name, want := range map[string][]byte{"big": big, "./sub/../big": big, "link": big, "sub/none": nil} {
			data, err := fetch(bus.Download, name)
			require.NoError(t, err, name)
			require.Equal(t, want, data)
		}
		for name, want := range map[string]error{
			"": bus.CodeNotAllowed, "sub": bus.CodeNotAllowed, "../secret": bus.CodeNotAllowed, "/etc/passwd": bus.CodeNotAllowed,
			"sub/../../secret": bus.CodeNotAllowed, "escape": bus.CodeFailed, "nothing": bus.CodeNotFound, "sub/nothing": bus.CodeNotFound,
		} {
			_, err := fetch(bus.Download, name)
			require.ErrorIs(t, err, want, name)
			require.NotContains(t, err.Error(), "s3cr3t")
			require.NotContains(t, err.Error(), dir)
		}
		data, err := fetch(bus.DownloadDir, ".")
		require.NoError(t, err)
		archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		var names []string
		for _, f := range archive.File {
			names = append(names, f.Name)
		}
		require.Equal(t, []string{"big", "sub/none"}, names)
		f, err := archive.Open("big")
		require.NoError(t, err)
		data, err = io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, big, data)
		_, err = fetch(bus.DownloadDir, "big")
		require.ErrorIs(t, err, bus.CodeNotAllowed)
		_, err = fetch(bus.DownloadDir, "nothing")
		require.ErrorIs(t, err, bus.CodeNotFound)
	})
}

func TestMiddlewareOnBothSides(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var mu sync.Mutex
		var log []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, s)
		}
		around := func(name string) bus.Middleware {
			return func(next bus.Next) bus.Next {
				return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
					note(name + ">" + req.Method + strings.Join(req.Header.Keys(), ","))
					req.Header.Set(name, "1")
					resp, err := next(ctx, req)
					if err != nil {
						note(name + "!")
						return nil, err
					}
					note(name + "<" + strings.Join(resp.Header.Keys(), ","))
					if resp.Header != nil {
						resp.Header.Set("by-"+name, "1")
					}
					return resp, nil
				}
			}
		}
		reject := func(next bus.Next) bus.Next {
			return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
				if req.Header.Get("token") == "bad" {
					return nil, bus.Errorf("unauthorized", "who are you?")
				}
				return next(ctx, req)
			}
		}
		seen := bus.NewMethod[struct{}, []string]("seen")
		w := start(t, pool, bus.WorkerConfig{Middleware: []bus.Middleware{reject, around("w1"), around("w2")}}, serveUpTo, func(w *bus.Worker) {
			bus.Handle(w, seen, func(ctx context.Context, _ struct{}) ([]string, error) {
				return slices.Sorted(maps.Keys(bus.HeaderFrom(ctx))), nil
			})
		})
		c := client(t, pool, bus.ClientConfig{Middleware: []bus.Middleware{around("c1"), around("c2")}})
		header := bus.Header{"own": "1"}
		keys, err := bus.Call(t.Context(), c, bus.Group("calc"), seen, struct{}{}, bus.CallOptions{Header: header})
		require.NoError(t, err)
		require.Equal(t, []string{"c1", "c2", "own", "w1", "w2"}, keys)
		require.Equal(t, bus.Header{"own": "1"}, header, "the caller's stays his")
		require.Equal(t, []string{
			"c1>seenown", "c2>seenc1,own", "w1>seenc1,c2,own", "w2>seenc1,c2,own,w1",
			"w2<", "w1<by-w2", "c2<by-w1,by-w2", "c1<by-c2,by-w1,by-w2",
		}, log)

		log = nil
		n := 0
		for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), UpTo, UpToArgs{3}) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 3, n)
		require.Equal(t, []string{"c1>up_to", "c2>up_toc1", "w1>up_toc1,c2", "w2>up_toc1,c2,w1"}, log[:4])
		log = nil
		require.Equal(t, []string{w.ID()}, answers(t, c, bus.Broadcast("calc")))
		require.Equal(t, []string{"c1>name", "c2>namec1"}, log[:2])
		require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), Name, ""))

		_, err = bus.Call(t.Context(), c, bus.Group("calc"), seen, struct{}{}, bus.CallOptions{Header: bus.Header{"token": "bad"}})
		require.ErrorIs(t, err, bus.Code("unauthorized"))
		_, err = bus.NewClient(pool, bus.ClientConfig{Middleware: []bus.Middleware{nil}})
		require.ErrorContains(t, err, "ClientConfig.Middleware: 0 is nil")
	})
}

func TestWorkersKeepTheirLog(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var out bytes.Buffer
		var log *slog.Logger
		w := start(t, pool, bus.WorkerConfig{KeepLog: 10}, func(w *bus.Worker) {
			log = slog.New(w.LogHandler(slog.NewTextHandler(&out, nil), slog.LevelInfo))
			log.Info("before it runs")
		})
		c := client(t, pool, bus.ClientConfig{})
		for i := range 20 {
			log.With("dome", "north").WithGroup("weather").Warn("wind", "speed", i)
			log.Debug("not this")
		}
		var kept []bus.LogRecord
		require.Eventually(t, func() bool {
			var err error
			kept, err = c.Log(t.Context(), w.ID(), 100)
			require.NoError(t, err)
			return len(kept) == 10 && kept[9].Attrs["weather"].(map[string]any)["speed"] == int64(19)
		}, patience, time.Millisecond)
		require.Equal(t, "wind", kept[0].Message)
		require.Equal(t, slog.LevelWarn, kept[0].Level)
		require.Equal(t, "north", kept[0].Attrs["dome"])
		require.WithinDuration(t, time.Now(), kept[0].Time, time.Minute)
		require.Equal(t, 21, strings.Count(out.String(), "\n"))
		log.Error("the last words")
		require.NoError(t, w.end())
		kept, err := c.Log(t.Context(), w.ID(), 1)
		require.NoError(t, err)
		require.Equal(t, "the last words", kept[0].Message)
		_, err = c.Log(t.Context(), "nonsense", 1)
		require.ErrorContains(t, err, "want type:host:pid:uid")
		ttl, err := pool.Redis().PTTL(t.Context(), "bus:local:log:"+w.ID()).Result()
		require.NoError(t, err)
		require.Positive(t, ttl)
	})
}

func TestWatchTellsWhoJoinsAndLeaves(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		first := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var second *running
		step := 0
		for ev, err := range c.Watch(ctx, "calc") {
			step++
			switch step {
			case 1:
				require.True(t, ev.Joined)
				require.Equal(t, first.ID(), ev.Worker.ID)
				second = start(t, pool, bus.WorkerConfig{Version: "2"})
			case 2:
				require.True(t, ev.Joined)
				require.Equal(t, second.ID(), ev.Worker.ID)
				require.Equal(t, "2", ev.Worker.Version)
				require.NoError(t, first.end())
			case 3:
				require.False(t, ev.Joined)
				require.Equal(t, first.ID(), ev.Worker.ID)
				cancel()
			default:
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		require.Equal(t, 4, step)
		for _, err := range c.Watch(t.Context(), "a b") {
			require.ErrorContains(t, err, `name "a b"`)
		}
	})
}

func TestRetryAndBreaker(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		// A worker comes while a call is tried again.
		c := client(t, pool, bus.ClientConfig{Retry: bus.Retry{Attempts: 1000, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond}})
		answered := make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			answered <- err
		}()
		time.Sleep(20 * time.Millisecond)
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
				<-ctx.Done()
				return struct{}{}, ctx.Err()
			})
		})
		require.NoError(t, <-answered)
		twice := client(t, pool, bus.ClientConfig{Retry: bus.Retry{Attempts: 2, MinPause: time.Millisecond}})
		_, err := bus.Call(t.Context(), twice, bus.Group("nobody"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)

		c = client(t, pool, bus.ClientConfig{Breaker: bus.Breaker{Failures: 3, Cooldown: 300 * time.Millisecond}})
		hang := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Hang, struct{}{})
			return err
		}
		for range 3 {
			require.ErrorIs(t, hang(), context.DeadlineExceeded)
		}
		require.ErrorIs(t, hang(), bus.ErrBreakerOpen)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err, "another address")
		require.Eventually(t, func() bool { return !errors.Is(hang(), bus.ErrBreakerOpen) }, patience, 10*time.Millisecond)
		require.ErrorIs(t, hang(), bus.ErrBreakerOpen, "one was let through, and was not answered")
		require.Eventually(t, func() bool {
			_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{})
			return err == nil
		}, patience, 10*time.Millisecond)
		require.ErrorIs(t, hang(), context.DeadlineExceeded, "it is closed again")

		for field, cfg := range map[string]bus.ClientConfig{
			"Retry.Attempts":   {Retry: bus.Retry{Attempts: -1}},
			"Retry.MinPause":   {Retry: bus.Retry{MinPause: -1}},
			"Retry.MaxPause":   {Retry: bus.Retry{MinPause: 2, MaxPause: 1}},
			"Breaker.Failures": {Breaker: bus.Breaker{Failures: -1}},
			"Breaker.Cooldown": {Breaker: bus.Breaker{Cooldown: -1}},
		} {
			_, err := bus.NewClient(pool, cfg)
			require.ErrorContains(t, err, "bus: ClientConfig."+field+": ")
		}
	})
}

// An idempotent call whose worker stops is made again at another.
func TestAnIdempotentCallOutlivesItsWorker(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		}
		first := start(t, pool, bus.WorkerConfig{Drain: -1}, hold)
		c := client(t, pool, bus.ClientConfig{})
		ends := make([]chan error, 2)
		for i, m := range []bus.Method[struct{}, struct{}]{Hang, Hang.Idempotent()} {
			ends[i] = make(chan error, 1)
			go func() {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), m, struct{}{})
				ends[i] <- err
			}()
			<-g.entered
		}
		start(t, pool, bus.WorkerConfig{}, hold)
		require.NoError(t, first.end())
		require.ErrorIs(t, <-ends[0], bus.CodeStopped)
		<-g.entered
		close(g.open)
		require.NoError(t, <-ends[1])
	})
}

// Whatever lies in the queues, workers go on, and say what can be answered.
func TestGarbageInEveryQueue(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		inbox := keysLike(t, pool, "inbox")
		require.Len(t, inbox, 1)
		name := strings.TrimSuffix(strings.TrimPrefix(inbox[0], "bus:{local:inbox:"), "}")
		ctx := t.Context()
		queues := []string{"bus:{local:calc}:queue", "bus:{local:calc}:queue:" + w.ID(), "bus:{local:calc}:control:" + w.ID()}
		n := int64(0)
		for _, queue := range queues {
			for _, garbage := range [][]byte{
				[]byte("hello"), {0x9c}, {0x9c, 1}, {0x96, 1, 1}, {0x96, 1, 9, 7}, bytes.Repeat([]byte{0x91}, 1<<20),
				{0xdd, 0x7f, 0xff, 0xff, 0xff}, {0xdf, 0x0f, 0xff, 0xff, 0xff}, later(t, name, 1<<40),
			} {
				n++
				require.NoError(t, pool.Redis().RPush(ctx, queue, garbage).Err())
			}
			_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Add, AddArgs{})
			require.NoError(t, err)
			_, err = bus.Call(ctx, c, bus.Direct(w.ID()), bus.Ping, struct{}{})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return w.Stats().Malformed == n }, patience, time.Millisecond)
		// What a later version asks is answered, if only with no.
		got, err := pool.Redis().XRange(ctx, inbox[0], "-", "+").Result()
		require.NoError(t, err)
		text, err := json.Marshal(got)
		require.NoError(t, err)
		require.Contains(t, string(text), "version 2 is not 1")
	})
}

func later(t *testing.T, client string, id uint64) []byte {
	frame, err := msgpackMarshal([]any{2, 0, id, client, "and", "other", "things"})
	require.NoError(t, err)
	return frame
}
