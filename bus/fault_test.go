package bus_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// load calls add at a group from many goroutines until it is stopped, and sorts
// the ends of the calls.
type load struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	good   atomic.Int64
	wrong  atomic.Int64
	mu     sync.Mutex
	errors map[string]int
}

func startLoad(c *bus.Client, callers int, timeout time.Duration) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel, errors: make(map[string]int)}
	for i := range callers {
		l.wg.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				callCtx, cancel := context.WithTimeout(context.Background(), timeout)
				sum, err := bus.Call(callCtx, c, bus.Group("calc"), Add, AddArgs{i, j})
				cancel()
				switch {
				case err != nil:
					l.mu.Lock()
					l.errors[err.Error()]++
					l.mu.Unlock()
				case sum != i+j:
					l.wrong.Add(1)
				default:
					l.good.Add(1)
				}
			}
		})
	}
	return l
}

// end stops the load and returns the errors that it met.
func (l *load) end() map[string]int {
	l.stop()
	l.wg.Wait()
	return l.errors
}

// progress waits for so many more good calls.
func (l *load) progress(t testing.TB, n int64) {
	t.Helper()
	want := l.good.Load() + n
	require.Eventually(t, func() bool { return l.good.Load() >= want }, patience, time.Millisecond, "no progress: %v", l.errors)
}

// Workers are replaced one after the other, as in a rolling deployment, while
// others call: no call is lost, none is refused, none waits for its deadline.
func cleanRestarts(restarts int) func(t *testing.T, pool *storage.Pool) {
	return func(t *testing.T, pool *storage.Pool) {
		c := client(t, storagetest.Open(t, pool.Config()), bus.ClientConfig{})
		old := start(t, pool, bus.WorkerConfig{})
		l := startLoad(c, 32, patience)
		for i := range restarts {
			next := start(t, pool, bus.WorkerConfig{Serial: i%5 == 0})
			l.progress(t, 10)
			require.NoError(t, old.end())
			old = next
		}
		require.Empty(t, l.end())
		require.Zero(t, l.wrong.Load())
		t.Logf("%d calls over %d restarts", l.good.Load(), restarts)
	}
}

func TestCleanRestartsLoseNoCall(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, cleanRestarts(30))
}

func TestManyCleanRestartsLoseNoCall(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	restarts := 500
	if testing.Short() {
		restarts = 50
	}
	storagetest.Servers(t, cleanRestarts(restarts))
}

// A million calls, of which every tenth is abandoned, leave no key behind.
func TestAMillionCallsLeaveNoKeyBehind(t *testing.T) {
	storagetest.Long(t)
	calls := int64(1_000_000)
	if testing.Short() {
		calls /= 20
	}
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	ctx := t.Context()
	workers := []*running{start(t, pool, bus.WorkerConfig{}), start(t, pool, bus.WorkerConfig{})}
	c := client(t, storagetest.Open(t, pool.Config()), bus.ClientConfig{})
	var left, good, abandoned atomic.Int64
	left.Store(calls)
	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				if n%10 != 0 {
					if _, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{1, 2}); err != nil {
						t.Error(err)
						return
					}
					good.Add(1)
					continue
				}
				gone, cancel := context.WithTimeout(ctx, time.Duration(n%500)*time.Microsecond)
				_, err := bus.Call(gone, c, bus.Group("calc"), Add, AddArgs{1, 2})
				cancel()
				if err == nil {
					good.Add(1)
				} else if abandoned.Add(1); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, calls, good.Load()+abandoned.Load())
	t.Logf("%d answered, %d abandoned", good.Load(), abandoned.Load())
	for _, key := range keysOf(t, pool) {
		require.Eventually(t, func() bool { return pool.Redis().PTTL(ctx, key).Val() != -1 }, patience, time.Millisecond, key)
	}
	for _, w := range workers {
		require.NoError(t, w.end())
	}
	require.NoError(t, c.Close())
	require.Empty(t, keysOf(t, pool))
}

// Redis is killed and started again, empty, while calls are made.
func TestWorkersSurviveRestartsOfRedis(t *testing.T) {
	storagetest.Long(t)
	restarts := 20
	if testing.Short() {
		restarts = 2
	}
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	workers := []*running{start(t, pool, bus.WorkerConfig{}), start(t, pool, bus.WorkerConfig{})}
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	l := startLoad(c, 32, time.Second)
	l.progress(t, 1000)
	before := runtime.NumGoroutine()
	for range restarts {
		srv.Restart()
		l.progress(t, 1000)
		for _, w := range workers { // none is lost
			var err error
			require.Eventually(t, func() bool {
				_, err = bus.Call(t.Context(), c, bus.Direct(w.ID()), Name, "")
				return err == nil
			}, patience, 10*time.Millisecond)
		}
	}
	errors := l.end()
	t.Logf("%d calls, errors %v", l.good.Load(), errors)
	for text := range errors {
		require.True(t, strings.Contains(text, "context deadline exceeded"), "the request or the reply went with Redis: %s", text)
	}
	require.Zero(t, l.wrong.Load())
	require.LessOrEqual(t, runtime.NumGoroutine(), before+10)
	for _, w := range workers {
		require.NoError(t, w.end())
	}
}

func TestRedisMayComeLater(t *testing.T) {
	t.Parallel()
	storagetest.Outages(t, func(t *testing.T, pool *storage.Pool, down, up func()) {
		down()
		w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", Drain: time.Second})
		require.NoError(t, err)
		bus.Handle(w, Add, func(_ context.Context, a AddArgs) (int, error) { return a.A + a.B, nil })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		c := client(t, pool, bus.ClientConfig{})
		short, cancelShort := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelShort()
		_, err = bus.Call(short, c, bus.Group("calc"), Add, AddArgs{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		answered := make(chan error, 1)
		go func() {
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			answered <- err
		}()
		up()
		require.NoError(t, <-answered)

		// It goes for good: the worker and the client can be stopped all the same.
		down()
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, c.Close())
		idle, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
		require.NoError(t, err)
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.NoError(t, idle.Run(ctx))
	})
}

func TestWrongCredentialsAreSaidAtOnce(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--requirepass", "s3cr3t")
	cfg := srv.Config()
	cfg.Redis.Password = "wr0ng"
	pool := storagetest.Open(t, cfg)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	err = w.Run(t.Context())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "wr0ng")
	_, err = bus.Call(t.Context(), client(t, pool, bus.ClientConfig{}), bus.Group("calc"), Add, AddArgs{})
	require.ErrorContains(t, err, "WRONGPASS")
}

// The connections on which replies are read are cut again and again: every
// reply arrives all the same.
func TestRepliesSurviveTheirConnection(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	start(t, pool, bus.WorkerConfig{})
	c := client(t, storagetest.Open(t, srv.Config()), bus.ClientConfig{})
	l := startLoad(c, 32, patience)
	killed := 0
	for killed < 50 {
		l.progress(t, 100)
		killed += kill(t, pool, "cmd=xread")
	}
	require.Empty(t, l.end())
	require.Zero(t, l.wrong.Load())
}

// kill cuts the connections whose line in CLIENT LIST holds a text.
func kill(t testing.TB, pool *storage.Pool, text string) (n int) {
	ctx := context.Background()
	list, err := pool.Redis().ClientList(ctx).Result()
	require.NoError(t, err)
	for line := range strings.Lines(list) {
		if strings.Contains(line, text) {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			if pool.Redis().ClientKillByFilter(ctx, "id", id).Err() == nil {
				n++
			}
		}
	}
	return n
}

func TestCallsOnACluster(t *testing.T) {
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	pool := storagetest.Open(t, cluster.Config())
	var workers []*running
	for i := range 6 { // types in all slots
		workers = append(workers, start(t, pool, bus.WorkerConfig{Type: fmt.Sprint("calc", i)}))
	}
	c := client(t, storagetest.Open(t, cluster.Config()), bus.ClientConfig{})
	var wg sync.WaitGroup
	for i, w := range workers {
		for range 4 {
			wg.Go(func() {
				for range 100 {
					if sum, err := bus.Call(t.Context(), c, bus.Group(fmt.Sprint("calc", i)), Add, AddArgs{1, 2}); err != nil || sum != 3 {
						t.Error(sum, err)
					}
					if _, err := bus.Call(t.Context(), c, bus.Direct(w.ID()), Add, AddArgs{1, 2}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	_, err := bus.Call(t.Context(), c, bus.Group("absent"), Add, AddArgs{})
	require.ErrorIs(t, err, bus.ErrNoWorkers)
	all, err := c.Workers(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, all, 6)
	for _, w := range workers {
		require.NoError(t, w.end())
	}
}

func TestCallsSurviveAFailover(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	sentinel := storagetest.StartSentinel(t)
	pool := storagetest.Open(t, sentinel.Config())
	w := start(t, pool, bus.WorkerConfig{})
	c := client(t, storagetest.Open(t, sentinel.Config()), bus.ClientConfig{})
	l := startLoad(c, 16, time.Second)
	l.progress(t, 100)
	old := sentinel.Primary()
	old.Kill()
	require.Eventually(t, func() bool { return sentinel.Primary() != old }, patience, 10*time.Millisecond)
	l.progress(t, 1000)
	for text := range l.end() {
		require.True(t, strings.Contains(text, "context deadline exceeded"), text)
	}
	require.NoError(t, w.end())
}
