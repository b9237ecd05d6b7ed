package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

const scheduleLease = 3 * time.Second

// schedule is jobs and faults at random, and what came of them.
type schedule struct {
	t       *testing.T
	network *storagetest.Network
	jobs    history.Jobs

	mu     sync.Mutex
	random *rand.Rand // of the handlers
}

// member is a worker with a link of its own.
type member struct {
	link *storagetest.Link
	stop func() error
}

// open returns a pool by a link, which logs nothing: faults are told by the thousand.
func (s *schedule) open(link *storagetest.Link) *storage.Pool {
	cfg := link.Config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	return storagetest.Open(s.t, cfg)
}

// start runs a worker of the queue q, whose jobs take up to two seconds and fail one time
// in five.
func (s *schedule) start() *member {
	m := &member{link: s.network.Link()}
	w, err := bus.NewWorker(s.open(m.link), bus.WorkerConfig{Type: "w", Lease: scheduleLease, Drain: time.Second})
	require.NoError(s.t, err)
	bus.Handle(w, Task, func(ctx context.Context, n int) (int, error) {
		j, _ := jobs.FromContext(ctx)
		if j.Attempt < 1 || j.Attempt > j.Attempts {
			s.t.Errorf("%s: attempt %d of %d", j.ID, j.Attempt, j.Attempts)
		}
		returned := s.jobs.Run(ctx, j.ID)
		s.mu.Lock()
		pause, fails := time.Duration(s.random.Int64N(int64(2*time.Second))), s.random.IntN(5) == 0
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			returned(false)
			return 0, ctx.Err()
		case <-time.After(pause):
		}
		returned(!fails)
		if fails {
			return 0, errors.New("no luck")
		}
		return n, nil
	})
	backoff := func(j jobs.Job, _ error) time.Duration { return time.Duration(j.Attempt) * 300 * time.Millisecond }
	require.NoError(s.t, jobs.Serve(w, "q", jobs.QueueConfig{Concurrency: 4, Backoff: backoff}))
	m.stop, err = bus.Start(context.Background(), w)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = m.stop() })
	return m
}

// submit submits jobs n times.
func (s *schedule) submit(c *jobs.Client, r *rand.Rand, n int) {
	for step := range n {
		opts := jobs.SubmitOptions{Priority: jobs.Priority(r.IntN(3)), Attempts: 8}
		switch r.IntN(3) {
		case 0:
			opts.ID = "own" + strconv.Itoa(step)
		case 1:
			opts.Delay = time.Duration(1+r.IntN(2000)) * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		some, err := jobs.SubmitMany(ctx, c, "q", Task, []int{1, 2, 3}[:1+r.IntN(3)], opts)
		cancel()
		for _, submitted := range some {
			if submitted.ID != "" {
				s.jobs.Acknowledge(submitted.ID)
			}
		}
		if err != nil && !errors.Is(err, jobs.ErrIndeterminate) && !errors.Is(err, context.DeadlineExceeded) {
			s.t.Error("a submit ended with ", err)
		}
		time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
	}
}

// TestJobsSchedules submits jobs while workers are killed, stopped and cut off for longer
// than their leases, and connections and Redis fail without loss of data. Each job that
// was acknowledged is done or a dead letter at the end, and none ran on two workers that
// were not told to stop.
func TestJobsSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Short: 8, Long: 60}, func(t *testing.T, seed uint64) {
		s := &schedule{t: t, network: storagetest.NewNetwork(t), random: rand.New(rand.NewPCG(seed, 1))}
		random := rand.New(rand.NewPCG(seed, 0))
		var befell []string
		defer func() {
			if t.Failed() {
				t.Log("after ", befell)
			}
		}()
		pool := s.open(s.network.Link())
		c := client(t, pool)
		var submitting sync.WaitGroup
		submitting.Go(func() { s.submit(c, rand.New(rand.NewPCG(seed, 2)), 12) })
		members := []*member{s.start(), s.start()}
		lasting := storagetest.Faults[:len(storagetest.Faults)-3] // the others lose data
		for range 2 + random.IntN(3) {
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			i := random.IntN(len(members))
			switch dice := random.IntN(len(lasting) + 3); dice {
			case len(lasting):
				befell = append(befell, "kill")
				members[i].link.Down()
				members[i] = s.start()
			case len(lasting) + 1:
				befell = append(befell, "stop")
				require.NoError(t, members[i].stop())
				members[i] = s.start()
			case len(lasting) + 2:
				befell = append(befell, "part")
				members[i].link.Down()
				time.Sleep(time.Duration(random.Int64N(int64(2 * scheduleLease))))
				members[i].link.Up()
			default:
				befell = append(befell, string(lasting[dice]))
				s.network.Befall(lasting[dice], random, 2*scheduleLease)
			}
		}
		submitting.Wait()
		time.Sleep(2 * scheduleLease)
		empty(t, pool, c)
		require.NoError(t, s.jobs.Check(func(id string) bool {
			info, err := c.Get(t.Context(), id)
			return err == nil && info.State == jobs.StateDead
		}))
		n, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.LessOrEqual(t, n.Dead, int64(len(s.jobs.Acknowledged()))/2, "most jobs succeed")
	})
}
