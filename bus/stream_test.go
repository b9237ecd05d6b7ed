package bus_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type UpToArgs struct {
	N int `json:"n"`
}

var UpTo = bus.NewStream[UpToArgs, int]("up_to") // 0 to N-1

func serveUpTo(w *bus.Worker) {
	bus.HandleStream(w, UpTo, func(_ context.Context, a UpToArgs, send func(int) error) error {
		if a.N < 0 {
			return bus.Errorf("negative", "%d", a.N)
		}
		for i := range a.N {
			if err := send(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// read ranges over a stream of 0, 1, 2, … and returns how many came, and the
// error.
func read(t *testing.T, c *bus.Client, to bus.Address, n int, opts ...bus.StreamOptions) (int, error) {
	t.Helper()
	want := 0
	for i, err := range bus.Stream(t.Context(), c, to, UpTo, UpToArgs{n}, opts...) {
		if err != nil {
			return want, err
		}
		require.Equal(t, want, i)
		want++
	}
	return want, nil
}

func TestStreamsAreOrderedAndWhole(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{}, serveUpTo)
		c := client(t, pool, bus.ClientConfig{})
		for _, to := range []bus.Address{bus.Group("calc"), bus.Direct(w.ID())} {
			for _, opts := range []bus.StreamOptions{{}, {Window: 1}, {WindowBytes: 1}, {Window: 1000}} {
				for _, n := range []int{0, 1, 1000} {
					got, err := read(t, c, to, n, opts)
					require.NoError(t, err)
					require.Equal(t, n, got)
				}
			}
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if n, err := read(t, c, bus.Group("calc"), 500); n != 500 || err != nil {
					t.Error(n, err)
				}
			})
		}
		wg.Wait()
		require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond)
	})
}

func TestStreamsEndWithTheirError(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		start(t, pool, bus.WorkerConfig{MaxMessage: 100}, serveUpTo, func(w *bus.Worker) {
			bus.HandleStream(w, bus.NewStream[string, any]("odd"), func(ctx context.Context, how string, send func(any) error) error {
				if err := send("first"); err != nil {
					return err
				}
				switch how {
				case "panic":
					panic(how)
				case "huge":
					_ = send(make([]byte, 1000)) // and the error is ignored
				case "wrong":
					return send(func() {})
				case "late":
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})
		})
		c := client(t, pool, bus.ClientConfig{})
		n, err := read(t, c, bus.Group("calc"), -3)
		require.Zero(t, n)
		require.ErrorIs(t, err, bus.Code("negative"))
		_, err = read(t, c, bus.Group("absent"), 1)
		require.ErrorIs(t, err, bus.ErrNoWorkers)
		require.ErrorContains(t, err, "bus: stream up_to at group absent: ")
		_, err = read(t, c, bus.Group("calc"), 1, bus.StreamOptions{Window: -1})
		require.ErrorContains(t, err, "StreamOptions.Window: -1 is negative")
		_, err = read(t, c, bus.Group("calc"), 1, bus.StreamOptions{Window: 10_001})
		require.ErrorContains(t, err, "StreamOptions.Window: 10001 is more than 10000")
		_, err = read(t, c, bus.Group("calc"), 1, bus.StreamOptions{WindowBytes: 64<<20 + 1})
		require.ErrorContains(t, err, "StreamOptions.WindowBytes: 67108865 is more than 67108864")
		_, err = read(t, c, bus.Group("calc"), 1, bus.StreamOptions{}, bus.StreamOptions{})
		require.ErrorContains(t, err, "more than one bus.StreamOptions")
		_, err = read(t, c, bus.Group("a b"), 1)
		require.ErrorContains(t, err, `name "a b"`)

		// A stream that is called, and a call that is streamed.
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[UpToArgs, int]("up_to"), UpToArgs{})
		require.ErrorIs(t, err, bus.CodeUnknownMethod)
		require.ErrorContains(t, err, `method "up_to" is a stream`)
		for _, err := range bus.StreamRaw(t.Context(), c, bus.Group("calc"), "add", bus.Body{}) {
			require.ErrorIs(t, err, bus.CodeUnknownMethod)
		}
		for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), bus.NewStream[string, int]("up_to"), "what") {
			require.ErrorIs(t, err, bus.CodeBadArguments)
		}

		for how, want := range map[string]error{"panic": bus.CodePanic, "huge": bus.CodeBadResult, "wrong": bus.CodeBadResult, "late": context.DeadlineExceeded} {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			items := 0
			for item, err := range bus.Stream(ctx, c, bus.Group("calc"), bus.NewStream[string, any]("odd"), how) {
				if err == nil {
					require.Equal(t, "first", item)
					items++
					continue
				}
				require.ErrorIs(t, err, want)
				items += 10
			}
			require.Equal(t, 11, items, how)
		}
	})
}

// A caller that consumes nothing stops the handler after a window, and Redis
// holds no more than that.
func TestASlowCallerSlowsTheHandler(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var sent atomic.Int64
		big := bus.NewStream[struct{}, []byte]("big")
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.HandleStream(w, big, func(_ context.Context, _ struct{}, send func([]byte) error) error {
				item := make([]byte, 10_000)
				for {
					if err := send(item); err != nil {
						return err
					}
					sent.Add(1)
				}
			})
		})
		c := client(t, pool, bus.ClientConfig{})
		for _, opts := range []bus.StreamOptions{{Window: 8}, {WindowBytes: 80_000}} {
			sent.Store(0)
			taken := int64(0)
			for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), big, struct{}{}, opts) {
				require.NoError(t, err)
				taken++
				require.Eventually(t, func() bool { return sent.Load() >= taken+3 }, patience, time.Millisecond)
				require.LessOrEqual(t, sent.Load(), taken+8)
				if taken == 100 {
					break
				}
			}
			require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond, "break cancels the handler")
		}
	})
}

// Every slot of a worker is taken by a stream that waits for credit. It answers
// ping, accepts a cancel, and ends its streams.
func TestAWorkerFullOfStreamsServesItsControlList(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{Concurrency: 4}, serveUpTo)
		c := client(t, pool, bus.ClientConfig{})
		halfway, goOn := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				n := 0
				for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), UpTo, UpToArgs{1000}, bus.StreamOptions{Window: 4}) {
					if err != nil {
						t.Error(err)
					}
					n++
					if n == 10 {
						halfway <- struct{}{}
						if i == 0 {
							return
						}
						<-goOn
					}
				}
				if n != 1000 {
					t.Error(n)
				}
			})
		}
		for range 4 {
			<-halfway
		}
		require.Eventually(t, func() bool { return w.Stats().Held == 3 }, patience, time.Millisecond, "one was cancelled")
		blocked := make(chan error)
		go func() { // takes the slot that was freed
			_, err := read(t, c, bus.Group("calc"), math.MaxInt, bus.StreamOptions{Window: 1})
			blocked <- err
		}()
		require.Eventually(t, func() bool { return w.Stats().Held == 4 }, patience, time.Millisecond)
		for range 50 {
			begun := time.Now()
			_, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), bus.Ping, struct{}{})
			require.NoError(t, err)
			if d := time.Since(begun); d > 100*time.Millisecond {
				t.Log("a ping took", d)
			}
		}
		close(goOn)
		wg.Wait()
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-blocked, bus.ErrClosed)
	})
}

// Connections are cut while items are sent. A stream that lost one, or may have, ends
// with ErrStreamBroken, whatever its handler returns.
func TestAStreamThatACutBrokeSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		start(t, storagetest.Open(t, network.Config()), bus.WorkerConfig{}, serveUpTo)
		c := client(t, storagetest.Open(t, network.Config()), bus.ClientConfig{})
		broken := 0
		for i := range 40 {
			time.AfterFunc(10*time.Millisecond+time.Duration(i)*37*time.Microsecond, func() { network.Cut() })
			if n, err := read(t, c, bus.Group("calc"), 2000); err != nil {
				lost := errors.Is(err, bus.ErrWorkerLost) // the request, or the end of the stream
				require.True(t, lost || errors.Is(err, bus.ErrStreamBroken), err)
				broken++
			} else {
				require.Equal(t, 2000, n)
			}
		}
		require.NotZero(t, broken)
	})
}

// A stream without a deadline outlives ClientConfig.Timeout, which bounds the
// wait for its beginning only.
func TestAStreamOutlivesTheTimeout(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.HandleStream(w, UpTo, func(ctx context.Context, _ UpToArgs, send func(int) error) error {
				if err := g.pass(ctx); err != nil {
					return err
				}
				return send(0)
			})
		})
		c := client(t, pool, bus.ClientConfig{Timeout: 100 * time.Millisecond})
		ended := make(chan error, 1)
		go func() {
			_, err := read(t, c, bus.Group("calc"), 1)
			ended <- err
		}()
		<-g.entered
		_, err := read(t, c, bus.Group("calc"), 1)
		require.ErrorIs(t, err, context.DeadlineExceeded, "there is no slot for this one")
		time.Sleep(200 * time.Millisecond)
		close(g.open)
		require.NoError(t, <-ended)
	})
}

// Redis restarts without its data: streams end with an error instead of ending
// early, and new ones begin.
func TestStreamsEndWhenRedisLosesItsData(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	w := start(t, pool, bus.WorkerConfig{}, serveUpTo)
	c := client(t, pool, bus.ClientConfig{})
	for range 3 {
		started := make(chan struct{})
		ended := make(chan error)
		go func() {
			n := 0
			for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), UpTo, UpToArgs{math.MaxInt}) {
				if err != nil {
					ended <- err
					return
				}
				n++
				if n == 1000 {
					close(started)
				}
			}
			ended <- errors.New("no error")
		}()
		<-started
		srv.Kill()
		srv.Restart()
		require.ErrorIs(t, <-ended, bus.ErrStreamBroken)
		require.Eventually(t, func() bool { n, err := read(t, c, bus.Group("calc"), 100); return err == nil && n == 100 }, patience, 10*time.Millisecond)
		require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond)
	}
}

// Connections are cut while streams run: each ends whole, or with an error.
func TestStreamsSurviveTheirConnections(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	start(t, pool, bus.WorkerConfig{}, serveUpTo)
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var whole, broken atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				switch n, err := read(t, c, bus.Group("calc"), 2000); {
				case err == nil && n == 2000:
					whole.Add(1)
				case err != nil:
					broken.Add(1)
				default:
					t.Error("silently short", n)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for _, cmd := range []string{"cmd=xread", "cmd=blmpop", "cmd=xadd", "cmd=rpush"} {
		killed := 0
		for range 10 {
			was := whole.Load()
			killed += kill(t, pool, cmd)
			require.Eventually(t, func() bool { return whole.Load() > was }, patience, time.Millisecond)
		}
		t.Log(cmd, killed)
	}
	close(stop)
	wg.Wait()
	t.Log(whole.Load(), "whole", broken.Load(), "broken")
}
