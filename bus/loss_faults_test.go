package bus_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Every 1.5 s a worker is killed, all connections are cut, a worker is stopped, or
// Redis is killed and comes back empty. Every caller learns what became of its call
// long before its deadline, and no call is lost that a living worker runs.
func TestLossesAreToldAmidFaults(t *testing.T) {
	storagetest.Long(t)
	const deadline = time.Minute
	faults := 24
	if testing.Short() {
		faults = 8
	}
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	steady := bus.NewMethod[int, struct{}]("steady") // takes four seconds
	var running sync.Map
	safe := start(t, pool, bus.WorkerConfig{Type: "safe"}, func(w *bus.Worker) {
		bus.Handle(w, steady, func(ctx context.Context, n int) (struct{}, error) {
			running.Store(n, true)
			defer running.Delete(n)
			select {
			case <-time.After(4 * time.Second):
			case <-ctx.Done():
			}
			return struct{}{}, ctx.Err()
		})
	})
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{MaxQueue: 100_000})
	procs := []*process{startProcess(t, srv, 500), startProcess(t, srv, 500)}

	var (
		stop    = make(chan struct{})
		wg      sync.WaitGroup
		number  atomic.Int64
		mu      sync.Mutex
		ends    = map[string]int{}
		longest = map[string]time.Duration{}
	)
	call := func(to bus.Address, m bus.Method[int, struct{}]) {
		n := int(number.Add(1))
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		begun := time.Now()
		_, err := bus.Call(ctx, c, to, m, n)
		end := "answered"
		switch {
		case err == nil:
		case errors.Is(err, bus.ErrWorkerLost):
			end = "lost"
			if _, runs := running.Load(n); runs {
				t.Errorf("call %d is lost, and runs in a living worker", n)
			}
		case errors.Is(err, bus.ErrNoWorkers):
			end = "no workers"
		case errors.Is(err, bus.CodeStopped):
			end = "stopped"
		case errors.Is(err, bus.CodeFailed): // the handler's context, cancelled by a worker that took its client to be gone
			end = "failed"
		default:
			t.Errorf("%s %d after %v: %v", m.Name(), n, time.Since(begun), err)
		}
		end = m.Name() + " " + end
		mu.Lock()
		defer mu.Unlock()
		ends[end]++
		longest[end] = max(longest[end], time.Since(begun).Round(time.Millisecond))
	}
	for range 8 {
		for _, calls := range []func(){
			func() { call(bus.Group("calc"), Brief) },
			func() { call(bus.Group("calc"), Slow) },
			func() { call(bus.Group("calc"), Slow.Idempotent()) },
			func() { call(bus.Direct(safe.ID()), steady) },
		} {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(rand.N(20 * time.Millisecond)):
						calls()
					}
				}
			})
		}
	}
	next := time.NewTicker(1500 * time.Millisecond)
	defer next.Stop()
	for i := range faults {
		<-next.C
		switch i % 4 {
		case 0:
			require.NoError(t, procs[0].Process.Kill())
			procs = append(procs[1:], startProcess(t, srv, 500))
		case 1:
			require.NoError(t, pool.Redis().Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
		case 2:
			require.NoError(t, procs[0].Process.Signal(syscall.SIGTERM))
			procs = append(procs[1:], startProcess(t, srv, 500))
		case 3:
			srv.Restart()
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("calls %v, the longest %v", ends, longest)
	require.NotZero(t, ends["slow lost"])
	require.NotZero(t, ends["steady answered"])
}

// The connections of a client are cut every 1.5 s. It is told of a call that was taken
// by a worker which then died; a call that a living worker holds is not lost.
func TestLossesAreToldWhileConnectionsAreCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		g := newGate()
		start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
		})
		c := client(t, storagetest.Open(t, network.Config()), bus.ClientConfig{Timeout: 10 * time.Minute})
		call := func() <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := bus.Call(context.Background(), c, bus.Group("calc"), Hang, struct{}{})
				ended <- err
			}()
			return ended
		}
		held := call()
		<-g.entered
		lost := call() // the worker is busy
		time.Sleep(time.Second)
		require.NoError(t, pool.Redis().LPop(t.Context(), "bus:{local:calc}:queue").Err())
		begun := time.Now()
		for told := false; !told; {
			time.Sleep(1500 * time.Millisecond)
			network.Cut()
			select {
			case err := <-lost:
				require.ErrorIs(t, err, bus.ErrWorkerLost)
				told = true
			case err := <-held:
				t.Fatal(err)
			default:
				require.Less(t, time.Since(begun), 10*time.Second, "two leases, in virtual time")
			}
		}
		for range 40 {
			time.Sleep(1500 * time.Millisecond)
			network.Cut()
		}
		close(g.open)
		require.NoError(t, <-held)
	})
}
