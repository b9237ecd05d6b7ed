package jobs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// QueueConfig says how a worker serves a queue. The zero value is ready to use.
type QueueConfig struct {
	// Concurrency is how many jobs of the queue the worker runs at a time, beside its
	// calls. Defaults to that of the worker.
	Concurrency int

	// GlobalConcurrency is how many jobs of the queue run at a time in all workers.
	// Defaults to no limit.
	GlobalConcurrency int

	// GroupConcurrency is how many jobs of each SubmitOptions.Group run at a time in all
	// workers. Defaults to no limit.
	GroupConcurrency int

	// Rate limits how often jobs of the queue begin in all workers, and GroupRate how often
	// those of each group do. Default to no limit. Workers of a queue should agree on the
	// limits: each observes its own.
	Rate, GroupRate Rate

	// Backoff returns how long a job waits after an attempt that failed with err, before
	// the next. It must not block. Defaults to DefaultBackoff.
	Backoff func(j Job, err error) time.Duration

	// MaxDead is the number of dead letters that the queue keeps. The oldest are
	// removed, and logged. Defaults to 100,000.
	MaxDead int
}

// DefaultBackoff returns how long a job waits after an attempt that failed: 1 second
// after the first, doubled with each up to an hour, and changed by up to a quarter at
// random.
func DefaultBackoff(j Job, _ error) time.Duration {
	d := min(time.Second<<min(max(j.Attempt-1, 0), 12), time.Hour)
	return d - d/4 + rand.N(d/2)
}

// Serve makes a worker run the jobs of a queue, besides the calls to it, by the handlers
// that it has. It must be called before the worker runs. A worker may serve several
// queues, and a queue may have many workers, also of different types: each must have a
// handler for every method of the queue. A worker serves a queue once.
func Serve(w *bus.Worker, queue string, cfg QueueConfig) error {
	if w == nil {
		return invalid("Serve: nil worker")
	}
	if cfg.Backoff == nil {
		cfg.Backoff = DefaultBackoff
	}
	cfg.MaxDead = cmp.Or(cfg.MaxDead, 100_000)
	for _, f := range []struct {
		name string
		n    int
	}{
		{"Concurrency", cfg.Concurrency}, {"GlobalConcurrency", cfg.GlobalConcurrency},
		{"GroupConcurrency", cfg.GroupConcurrency}, {"MaxDead", cfg.MaxDead},
	} {
		if f.n < 0 {
			return invalid("QueueConfig.%s: %d is negative", f.name, f.n)
		}
	}
	var err error
	if cfg.Rate, err = cfg.Rate.complete("Rate"); err != nil {
		return err
	}
	if cfg.GroupRate, err = cfg.GroupRate.complete("GroupRate"); err != nil {
		return err
	}
	if err := checkName("queue", queue); err != nil {
		return err
	}
	s := &server{cfg: cfg, limited: cfg.limits(), runs: make(map[place]*run), byID: make(map[string]*run)}
	host, err := busio.Attach(w, "queue "+queue, s)
	if err != nil {
		return redisio.Wrap("jobs: serve "+queue, err)
	}
	return s.init(host, queue)
}

// server runs the jobs of a queue in a worker. It has four goroutines: fetch, follow,
// keep and settle.
type server struct {
	cfg   QueueConfig
	host  busio.Host
	pool  *storage.Pool
	clock *redisio.Clock
	q     queue
	log   *slog.Logger
	fail  func(error)

	reader  redis.UniversalClient // of fetch; guarded by mu
	watcher redis.UniversalClient // of follow
	plain   redis.UniversalClient // of keep, and of fetch for claims
	writer  redis.UniversalClient // of settle
	halt    chan struct{}         // closed by Halt
	quit    chan struct{}         // closed by End
	ending  context.Context       // ends when End does not wait any longer
	giveUp  context.CancelFunc
	readers sync.WaitGroup // fetch and follow
	keepers sync.WaitGroup // keep and settle

	noise   redisio.Throttle
	orphans atomic.Bool   // there are jobs to claim
	wake    chan struct{} // fetch is to look again; holds one

	mu     sync.Mutex
	free   int            // slots
	runs   map[place]*run // jobs that this worker has, until Redis knows their outcome
	byID   map[string]*run
	paused bool
	// limited says that jobs are taken by luaTake: there are limits, or jobs of groups
	limited bool
	halted  bool
	// following says that follow reads the notes about jobs that begin now
	following bool
	valid     bool        // the lease has not ended
	lapses    uint64      // how often it has ended
	asked     uint64      // lapses when fetch last asked Redis for jobs
	lapse     *time.Timer // ends the lease
	adopt     bool        // there may be entries of this worker that it has not received

	outcomes []*run        // whose outcome Redis is to be told
	settled  chan struct{} // outcomes has elements; holds one
}

func (s *server) init(host busio.Host, name string) (err error) {
	s.host, s.pool = host, host.Pool()
	s.cfg.Concurrency = cmp.Or(s.cfg.Concurrency, host.Concurrency())
	s.free = s.cfg.Concurrency
	s.log = redisio.Of(s.pool).Logger().With("worker", host.ID(), "queue", name)
	s.halt, s.quit = make(chan struct{}), make(chan struct{})
	s.wake, s.settled = make(chan struct{}, 1), make(chan struct{}, 1)
	s.clock = redisio.NewClock(nil)
	s.q, err = openQueue(s.pool, host.Site(), name)
	return err
}

// Start begins to run jobs. It is called by the worker.
func (s *server) Start(fail func(error)) {
	s.fail = func(err error) { fail(redisio.Wrap("jobs: serve "+s.q.name, err)) }
	of := redisio.Of(s.pool)
	s.reader, s.watcher, s.plain, s.writer = of.Dedicated(), of.Dedicated(), of.Dedicated(), of.Dedicated()
	s.ending, s.giveUp = context.WithCancel(context.Background())
	s.lapse = time.AfterFunc(time.Hour, s.loseLease)
	s.lapse.Stop()
	s.readers.Go(s.fetch)
	s.readers.Go(s.follow)
	s.keepers.Go(s.keep)
	s.keepers.Go(s.settle)
}

// Halt takes no more jobs, and gives back those that have not begun.
func (s *server) Halt() {
	close(s.halt)
	s.mu.Lock()
	s.halted = true
	_ = s.reader.Close() // entries that are on their way stay this worker's, and are given back
	s.mu.Unlock()
	_ = s.watcher.Close()
	s.readers.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := s.returnUnknown(ctx); err != nil {
		s.log.Warn("jobs: jobs that have not begun are claimed by other workers when the lease of this one has ended", "error", err)
	}
}

// stopTimeout limits each of the last steps of a stopping worker.
const stopTimeout = 2 * time.Second

// End tells Redis the last outcomes, and ends the lease.
func (s *server) End() {
	timer := time.AfterFunc(stopTimeout, s.giveUp)
	close(s.quit)
	s.keepers.Wait()
	timer.Stop()
	s.giveUp()
	s.lapse.Stop()
	s.mu.Lock()
	left := len(s.runs)
	s.mu.Unlock()
	if left == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = luaLeave.Run(ctx, s.plain, append([]string{s.q.alive()}, s.q.streams()...), s.host.ID(), group).Err()
	}
	_ = s.plain.Close()
	_ = s.writer.Close()
}

// troubled handles the error of a command of a goroutine. It waits, and returns false
// once stop is closed or the error ends the worker.
func (s *server) troubled(err error, stop <-chan struct{}, try *int) bool {
	select {
	case <-stop:
		return false
	default:
	}
	if redis.IsPermissionError(err) || redis.IsAuthError(err) || errors.Is(err, storage.ErrClosed) {
		s.fail(err)
		<-stop
		return false
	}
	s.noise.Warn(s.log, "jobs: Redis did not carry out a command, trying again", "error", err)
	*try++
	select {
	case <-stop:
		return false
	case <-time.After(redisio.Backoff(*try)):
		return true
	}
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
