package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// Task is a request of a schedule.
type Task struct {
	ID    int           // of its call or gather
	Takes time.Duration // of the handler, unless its context ends
}

var (
	Run   = bus.NewMethod[Task, int]("run")  // answers Task.ID
	Each  = bus.NewMethod[Task, int]("each") // by gathers
	Items = bus.NewStream[int, int]("items") // 0, 1, 2 and so on, as many as asked
)

const (
	scheduleTimeout = time.Minute // of operations
	scheduleLease   = 5 * time.Second

	// told is within what time after the last fault each operation must have ended: two
	// leases, and what the handlers take.
	told = 2*scheduleLease + 5*time.Second
)

// schedule is operations and faults at random, and what came of them.
type schedule struct {
	t       *testing.T
	network *storagetest.Network
	random  *rand.Rand // of the faults

	calls   history.Calls
	gathers history.Gathers
	streams history.Streams

	faults atomic.Int64 // that were begun
	calm   atomic.Bool  // no fault is under way, and all has recovered
	befell []string

	mu      sync.Mutex
	workers []*member // that run
}

// member is a worker with a link of its own.
type member struct {
	*running
	link *storagetest.Link
}

// open returns a pool by a link of its own, which logs nothing: faults are told by the
// thousand.
func (s *schedule) open(link *storagetest.Link) *storage.Pool {
	cfg := link.Config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	return storagetest.Open(s.t, cfg)
}

func (s *schedule) start() *member {
	m := &member{link: s.network.Link()}
	m.running = start(s.t, s.open(m.link), bus.WorkerConfig{Lease: scheduleLease, Concurrency: 8, Drain: time.Second}, func(w *bus.Worker) {
		bus.Handle(w, Run, func(ctx context.Context, task Task) (int, error) {
			done := s.calls.Run(task.ID)
			defer done()
			return task.ID, wait(ctx, task.Takes)
		})
		bus.Handle(w, Each, func(ctx context.Context, task Task) (int, error) {
			s.gathers.Run(task.ID, w.ID())
			return task.ID, wait(ctx, task.Takes)
		})
		bus.HandleStream(w, Items, func(ctx context.Context, n int, send func(int) error) error {
			for i := range n {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, m)
	return m
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alive returns the ids of the workers.
func (s *schedule) alive() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.workers {
		ids = append(ids, m.ID())
	}
	return ids
}

// take takes a worker off the list of those that run, at random.
func (s *schedule) take() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.random.IntN(len(s.workers))
	m := s.workers[i]
	s.workers = append(s.workers[:i:i], s.workers[i+1:]...)
	return m
}

// outcome says what a caller knows of a call that ended with err.
func (s *schedule) outcome(err error, idempotent bool) history.Outcome {
	var remote *bus.Error
	switch {
	case err == nil:
		return history.Answered
	case errors.Is(err, bus.ErrNoWorkers), errors.Is(err, bus.ErrQueueFull):
		if idempotent { // an attempt before may have run
			return history.Unknown
		}
		return history.NotRun
	case errors.Is(err, bus.ErrWorkerLost), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.As(err, &remote) && remote.Code == bus.CodeStopped:
		return history.Unknown
	}
	s.t.Error("a call ended with ", err)
	return history.Unknown
}

// operate runs n operations of one caller.
func (s *schedule) operate(c *bus.Client, r *rand.Rand, n int) {
	for range n {
		switch dice := r.IntN(10); {
		case dice < 5:
			s.call(c, r)
		case dice < 6:
			s.cancel(c, r)
		case dice < 8:
			s.gather(c, r)
		default:
			s.stream(c, r)
		}
		time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
	}
}

func (s *schedule) call(c *bus.Client, r *rand.Rand) {
	calm, faults := s.calm.Load(), s.faults.Load()
	method, to, idempotent := Run, bus.Group("calc"), r.IntN(2) == 0
	if idempotent {
		method = Run.Idempotent()
	}
	ids := s.alive()
	if r.IntN(4) == 0 && len(ids) > 0 {
		to = bus.Direct(ids[r.IntN(len(ids))])
	}
	timeout := scheduleTimeout
	if r.IntN(4) == 0 {
		timeout = time.Duration(1+r.IntN(2000)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	call := s.calls.Begin(history.CallOptions{Idempotent: idempotent, Deadline: deadline.Add(time.Millisecond)})
	got, err := bus.Call(ctx, c, to, method, Task{call.ID, time.Duration(r.IntN(500)) * time.Millisecond})
	if err == nil && got != call.ID {
		s.t.Errorf("call %d got the answer to %d", call.ID, got)
	}
	call.End(s.outcome(err, idempotent))
	if calm && s.faults.Load() == faults && err != nil && timeout == scheduleTimeout {
		s.t.Errorf("no fault befell call %d, which ended with: %v", call.ID, err)
	}
}

// cancel makes a call that takes long, and gives it up.
func (s *schedule) cancel(c *bus.Client, r *rand.Rand) {
	calm, faults := s.calm.Load(), s.faults.Load()
	ctx, cancel := context.WithTimeout(context.Background(), scheduleTimeout)
	defer cancel()
	time.AfterFunc(time.Duration(r.IntN(1000))*time.Millisecond, cancel)
	call := s.calls.Begin()
	_, err := bus.Call(ctx, c, bus.Group("calc"), Run, Task{call.ID, 10 * time.Second})
	time.Sleep(time.Second)
	outcome := s.outcome(err, false)
	if outcome == history.Unknown && calm && s.faults.Load() == faults {
		outcome = history.Cancelled
	}
	call.End(outcome)
}

func (s *schedule) gather(c *bus.Client, r *rand.Rand) {
	calm, faults := s.calm.Load(), s.faults.Load()
	ctx, cancel := context.WithTimeout(context.Background(), scheduleTimeout)
	defer cancel()
	var workers []string
	if calm {
		workers = s.alive()
	}
	g := s.gathers.Begin(workers...)
	var end error
	for rep, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), Each, Task{g.ID, time.Duration(r.IntN(200)) * time.Millisecond}) {
		if rep.From.ID == "" {
			end = err
			continue
		}
		g.Yield(rep.From.ID, err == nil)
	}
	if s.faults.Load() != faults {
		g.Forgive()
	}
	g.End(end)
}

func (s *schedule) stream(c *bus.Client, r *rand.Rand) {
	calm, faults := s.calm.Load(), s.faults.Load()
	ctx, cancel := context.WithTimeout(context.Background(), scheduleTimeout)
	defer cancel()
	n := 1 + r.IntN(40)
	st := s.streams.Begin(n)
	var end error
	for item, err := range bus.Stream(ctx, c, bus.Group("calc"), Items, n, bus.StreamOptions{Window: 1 + r.IntN(8)}) {
		if err != nil {
			end = err
			break
		}
		st.Item(item)
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
	}
	st.End(end)
	// A pool notices that a connection in memory was reset only when it uses it again,
	// unlike a socket: an item may be lost long after the fault.
	if calm && s.faults.Load() == faults && end != nil && !errors.Is(end, bus.ErrStreamBroken) {
		s.t.Error("no fault befell a stream, which ended with: ", end)
	}
}

// faultsOfSchedules are what befalls a schedule beside the faults of the network.
var faultsOfSchedules = map[string]func(s *schedule){
	"kill": func(s *schedule) { // a worker that nothing is heard of any more
		m := s.take()
		m.link.Down()
		m.stop()
		s.start()
	},
	"stop": func(s *schedule) { // cleanly
		m := s.take()
		s.start()
		require.NoError(s.t, m.end())
	},
	"part": func(s *schedule) { // a worker is cut off and comes back
		m := s.take()
		m.link.Down()
		time.Sleep(time.Duration(s.random.Int64N(int64(2 * scheduleLease))))
		m.link.Up()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.workers = append(s.workers, m)
	},
}

var namesOfFaults = []string{"kill", "stop", "part"}

// befall brings a fault about and returns when it is over.
func (s *schedule) befall() {
	i := s.random.IntN(len(namesOfFaults) + len(storagetest.Faults))
	s.faults.Add(1)
	if i < len(namesOfFaults) {
		s.befell = append(s.befell, namesOfFaults[i])
		faultsOfSchedules[namesOfFaults[i]](s)
		return
	}
	f := storagetest.Faults[i-len(namesOfFaults)]
	s.befell = append(s.befell, string(f))
	s.network.Befall(f, s.random, scheduleLease)
	if f == storagetest.FaultRollback || f == storagetest.FaultFailover {
		s.calls.Forgive()
		s.gathers.Forgive()
	}
}

// TestCallsSchedules runs calls, gathers and streams while workers are killed, stopped and
// cut off, and Redis fails in every way. Each call ends once, and soon after the faults;
// each that may not run twice does not; cancels reach their handlers; gathers miss no
// worker; streams are never silently short; and nothing is left in Redis.
func TestCallsSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Long: 100}, func(t *testing.T, seed uint64) {
		s := &schedule{t: t, network: storagetest.NewNetwork(t), random: rand.New(rand.NewPCG(seed, 0))}
		defer func() {
			if t.Failed() {
				t.Log("after ", s.befell)
			}
		}()
		for range 2 {
			s.start()
		}
		s.calm.Store(true)
		var clients []*bus.Client
		for range 2 {
			c, err := bus.NewClient(s.open(s.network.Link()), bus.ClientConfig{})
			require.NoError(t, err)
			clients = append(clients, c)
		}
		operate := func(round uint64, n int) *sync.WaitGroup {
			var callers sync.WaitGroup
			for i := range uint64(4) {
				callers.Go(func() { s.operate(clients[i%2], rand.New(rand.NewPCG(seed, 10*round+i+1)), n) })
			}
			return &callers
		}
		first := operate(0, 8)
		time.Sleep(time.Second)
		s.calm.Store(false)
		for range 1 + s.random.IntN(3) {
			s.befall()
			time.Sleep(time.Duration(s.random.IntN(1000)) * time.Millisecond)
		}
		// The operations that are under way end soon, and those after them are as good as
		// before the faults.
		time.Sleep(told)
		old := s.calls.Open()
		s.calm.Store(true)
		time.Sleep(told)
		for _, id := range s.calls.Open() {
			for _, was := range old {
				require.NotEqual(t, was, id, "call %d has not ended %v after the last fault", id, 2*told)
			}
		}
		first.Wait()
		operate(1, 4).Wait()
		s.end(clients)
	})
}

// end checks the histories, and that nothing is left.
func (s *schedule) end(clients []*bus.Client) {
	for _, c := range clients {
		require.NoError(s.t, c.Close())
	}
	for _, m := range s.workers {
		require.NoError(s.t, m.end())
	}
	require.NoError(s.t, errors.Join(s.calls.Check(), s.gathers.Check(), s.streams.Check()))
	time.Sleep(2 * time.Minute) // what is orphaned expires
	keys := keysOf(s.t, s.open(s.network.Link()))
	require.Empty(s.t, keys, fmt.Sprint(s.befell))
}
