package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// These variables make the test binary a worker of type calc on the Redis at
// that address, with so many slots.
const (
	workerAddr  = "HELIOGRAPH_TEST_WORKER"
	workerSlots = "HELIOGRAPH_TEST_SLOTS"
)

var (
	Hang  = bus.NewMethod[struct{}, struct{}]("hang")
	Count = bus.NewStream[struct{}, int]("count")       // up, until the caller gives up
	Brief = bus.NewMethod[int, struct{}]("brief")       // takes a millisecond
	Slow  = bus.NewMethod[int, struct{}]("slow")        // takes a second
	Twice = bus.NewMethod[struct{}, []int]("run_twice") // arguments of those two
)

func init() {
	addr := os.Getenv(workerAddr)
	if addr == "" {
		return
	}
	if err := workerMain(addr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func workerMain(addr string) error {
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err != nil {
		return err
	}
	slots, _ := strconv.Atoi(os.Getenv(workerSlots))
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", Concurrency: slots})
	if err != nil {
		return err
	}
	bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
		fmt.Println("taken")
		<-ctx.Done()
		return struct{}{}, nil
	})
	bus.HandleStream(w, Count, func(_ context.Context, _ struct{}, send func(int) error) error {
		for i := 0; ; i++ {
			if err := send(i); err != nil {
				return err
			}
		}
	})
	var mu sync.Mutex
	ran := map[int]int{}
	for m, d := range map[bus.Method[int, struct{}]]time.Duration{Brief: time.Millisecond, Slow: time.Second} {
		bus.Handle(w, m, func(_ context.Context, n int) (struct{}, error) {
			mu.Lock()
			ran[n]++
			mu.Unlock()
			time.Sleep(d)
			return struct{}{}, nil
		})
	}
	bus.Handle(w, Twice, func(context.Context, struct{}) (twice []int, err error) {
		mu.Lock()
		defer mu.Unlock()
		for n, times := range ran {
			if times > 1 {
				twice = append(twice, n)
			}
		}
		return twice, nil
	})
	go func() {
		<-w.Ready()
		fmt.Println(w.ID())
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return w.Run(ctx)
}

// process is a worker in a process of its own.
type process struct {
	*exec.Cmd
	id  string
	out *bufio.Scanner
}

func startProcess(t *testing.T, srv *storagetest.Server, slots int) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerAddr+"="+srv.Addr(), workerSlots+"="+strconv.Itoa(slots))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &process{Cmd: cmd, out: bufio.NewScanner(out)}
	p.id = p.line(t)
	return p
}

// line waits for a line of the process.
func (p *process) line(t *testing.T) string {
	require.True(t, p.out.Scan(), "the worker says nothing")
	return p.out.Text()
}

// A worker process dies with one call in a handler and another in its queue: the
// first caller is told that its call may have been run, the second that it was
// not, long before their deadlines.
func TestCallersOfTheLastWorkerThatIsKilledAreTold(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c := client(t, pool, bus.ClientConfig{Timeout: 10 * time.Minute})
	proc := startProcess(t, srv, 1)
	ends := make([]chan error, 2)
	for i := range ends {
		ends[i] = make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
			ends[i] <- err
		}()
		if i == 0 {
			require.Equal(t, "taken", proc.line(t))
		}
	}
	require.Eventually(t, func() bool { return pool.Redis().LLen(t.Context(), "bus:{local:calc}:queue").Val() == 1 }, patience, time.Millisecond)
	require.NoError(t, proc.Process.Kill())
	require.ErrorIs(t, <-ends[0], bus.ErrWorkerLost)
	require.ErrorIs(t, <-ends[1], bus.ErrNoWorkers)
	_, err := bus.Call(t.Context(), c, bus.Group("calc"), Hang, struct{}{})
	require.ErrorIs(t, err, bus.ErrNoWorkers)
	require.Zero(t, pool.Redis().LLen(t.Context(), "bus:{local:calc}:queue").Val())
}

// One of two worker processes is killed under 2,000 calls a second. Idempotent
// calls are all answered; the callers of the others are told, long before their
// deadlines; and the worker that lives runs none twice.
func TestOneOfTwoWorkersIsKilledUnderLoad(t *testing.T) {
	storagetest.Long(t)
	for _, m := range []bus.Method[int, struct{}]{Brief, Slow} {
		t.Run(m.Name(), func(t *testing.T) {
			srv := storagetest.Start(t)
			pool := storagetest.Open(t, srv.Config())
			c := client(t, pool, bus.ClientConfig{Timeout: 5 * time.Minute, MaxQueue: 100_000})
			doomed, safe := startProcess(t, srv, 2000), startProcess(t, srv, 2000)
			var (
				wg               sync.WaitGroup
				good, lost, told atomic.Int64
				killed           atomic.Pointer[time.Time]
			)
			call := func(n int, m bus.Method[int, struct{}], idempotent bool) {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), m, n)
				switch {
				case err == nil:
					good.Add(1)
				case !idempotent && errors.Is(err, bus.ErrWorkerLost):
					lost.Add(1)
					told.Store(max(told.Load(), int64(time.Since(*killed.Load()))))
				default:
					t.Error(n, idempotent, err)
				}
			}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for n := 0; n < 6000; {
				<-tick.C
				for range 20 {
					wg.Go(func(n int) func() {
						if n%2 == 0 {
							return func() { call(n, m.Idempotent(), true) }
						}
						return func() { call(n, m, false) }
					}(n))
					n++
				}
				if n == 3000 {
					now := time.Now()
					killed.Store(&now)
					require.NoError(t, doomed.Process.Kill())
				}
			}
			wg.Wait()
			t.Logf("%d answered, %d lost, the last told after %v (a lease is 5s)", good.Load(), lost.Load(), time.Duration(told.Load()))
			if m == Slow {
				require.NotZero(t, lost.Load())
			}
			twice, err := bus.Call(t.Context(), c, bus.Direct(safe.id), Twice, struct{}{})
			require.NoError(t, err)
			require.Empty(t, twice)
		})
	}
}

// The caller of a stream is told when its worker is killed, and so is a gather.
func TestStreamsAndGathersOfAWorkerThatIsKilled(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c := client(t, pool, bus.ClientConfig{})
	doomed, safe := startProcess(t, srv, 8), startProcess(t, srv, 8)
	want := 0
	for n, err := range bus.Stream(t.Context(), c, bus.Direct(doomed.id), Count, struct{}{}) {
		if err != nil {
			require.ErrorIs(t, err, bus.ErrWorkerLost)
			want = -1
			break
		}
		require.Equal(t, want, n)
		want++
		if n == 1000 {
			require.NoError(t, doomed.Process.Signal(os.Interrupt)) // nothing catches it
		}
	}
	require.Equal(t, -1, want)

	doomed = startProcess(t, srv, 8)
	require.Eventually(t, func() bool {
		workers, err := c.Workers(t.Context(), "calc")
		return err == nil && len(workers) == 2
	}, patience, 10*time.Millisecond)
	go func() {
		if doomed.out.Scan() {
			_ = doomed.Process.Kill()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for rep, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), Hang, struct{}{}) {
		if rep.From.ID == doomed.id {
			require.ErrorIs(t, err, bus.ErrWorkerLost)
			cancel() // the other one hangs
			continue
		}
		require.Equal(t, safe.id, rep.From.ID)
		require.ErrorIs(t, err, context.Canceled)
	}
}

// A worker that stops while it is busy leaves the registry, but its calls go on and are
// not lost.
func TestAWorkerThatDrainsIsNotLost(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{Lease: 500 * time.Millisecond}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		ended := make(chan error, 1)
		go func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
			ended <- err
		}()
		<-g.entered
		w.stop()
		require.Eventually(t, func() bool {
			workers, err := c.Workers(t.Context(), "calc")
			return err == nil && len(workers) == 0
		}, patience, time.Millisecond)
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(4 * time.Second): // many leases, and looks of the client
		}
		close(g.open)
		require.NoError(t, <-ended)
		require.NoError(t, w.end())
		require.Empty(t, keysLike(t, pool, "leaving", "control"))
	})
}

// A call that waits in a worker which stops is run by another, without its
// client reporting it as lost.
func TestCallsThatAreGivenBackAreNotLost(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		}
		first := start(t, pool, bus.WorkerConfig{Serial: true}, hold)
		c := client(t, pool, bus.ClientConfig{})
		ends := make(chan error, 3)
		for range cap(ends) {
			go func() {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
				ends <- err
			}()
		}
		<-g.entered
		require.Eventually(t, func() bool { return first.Stats().Held == 3 }, patience, time.Millisecond)
		time.Sleep(time.Second) // it announces all three
		first.stop()
		require.Eventually(t, func() bool { return pool.Redis().LLen(t.Context(), "bus:{local:calc}:queue").Val() == 2 }, patience, time.Millisecond)
		second := start(t, pool, bus.WorkerConfig{Serial: true}, hold)
		<-g.entered
		select {
		case err := <-ends:
			t.Fatal(err)
		case <-time.After(4 * time.Second):
		}
		close(g.open)
		for range cap(ends) {
			require.NoError(t, <-ends)
		}
		require.NoError(t, first.end())
		require.NoError(t, second.end())
	})
}

// A call is lost only after two looks: between them, a stopping worker may give the
// call back, or a missing worker may be found again.
func TestACallIsNotLostAfterOneLook(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1, Lease: 600 * time.Millisecond}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		ends := make(chan error, 2)
		call := func() {
			_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
			ends <- err
		}
		go call()
		<-g.entered
		go call()
		const queue = "bus:{local:calc}:queue"
		ctx := t.Context()
		time.Sleep(1500 * time.Millisecond) // the first is announced, and the second looked for
		for begun := time.Now(); time.Since(begun) < 900*time.Millisecond; time.Sleep(time.Millisecond) {
			require.NoError(t, pool.Redis().Del(ctx, "bus:{local:calc}:info:"+w.ID()).Err())
		}
		frame, err := pool.Redis().LPop(ctx, queue).Result()
		require.NoError(t, err)
		w.stop()
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, pool.Redis().LPush(ctx, queue, frame).Err())
		select {
		case err := <-ends:
			t.Fatal(err)
		default:
		}
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
		})
		close(g.open)
		for range cap(ends) {
			require.NoError(t, <-ends)
		}
	})
}

// Two workers that stop give back what they took in another order than that in
// which it came: what waits behind a younger call has not been taken.
func TestACallBehindAYoungerOneIsNotLost(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, pool, bus.ClientConfig{})
		ends := make(chan error, 3)
		for i := range cap(ends) {
			if i == 2 {
				time.Sleep(2200 * time.Millisecond) // the second has been looked for
			}
			go func() {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
				ends <- err
			}()
			if i == 0 {
				<-g.entered
			}
		}
		const queue = "bus:{local:calc}:queue"
		ctx := t.Context()
		require.Eventually(t, func() bool { return pool.Redis().LLen(ctx, queue).Val() == 2 }, patience, time.Millisecond)
		require.NoError(t, pool.Redis().LMove(ctx, queue, queue, "right", "left").Err())
		select {
		case err := <-ends:
			t.Fatal(err)
		case <-time.After(4 * time.Second): // four looks
		}
		close(g.open)
		for range cap(ends) {
			require.NoError(t, <-ends)
		}
	})
}

// A caller that goes away cancels its handler.
func TestTheEndOfACallerReachesTheHandler(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		cancelled := make(chan error, 1)
		g := newGate()
		w := start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
				err := g.pass(ctx)
				cancelled <- err
				return struct{}{}, err
			})
		})
		c := client(t, pool, bus.ClientConfig{})
		for _, wait := range []time.Duration{0, 500 * time.Millisecond} { // before and after it was announced
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-g.entered
				time.Sleep(wait)
				cancel()
			}()
			_, err := bus.Call(ctx, c, bus.Group("calc"), Hang, struct{}{})
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, <-cancelled, context.Canceled)
		}
		require.Eventually(t, func() bool { return w.Stats().Held == 0 }, patience, time.Millisecond)
		for _, m := range w.Stats().Methods {
			if m.Name == "hang" {
				require.EqualValues(t, 2, m.Cancelled)
				require.Zero(t, m.InFlight)
			}
		}

		// A client that is closed, without a word.
		gone, err := bus.NewClient(pool, bus.ClientConfig{Timeout: -1})
		require.NoError(t, err)
		go func() { _, _ = bus.Call(context.Background(), gone, bus.Group("calc"), Hang, struct{}{}) }()
		<-g.entered
		require.NoError(t, gone.Close())
		require.ErrorIs(t, <-cancelled, context.Canceled)
	})
}
