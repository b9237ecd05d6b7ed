package peers

import (
	"context"
	"io"
	"log"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// jobHandlers is how many jobs run at a time, and how many goroutines submit.
const jobHandlers = 64

// jobSystem submits jobs of 128 bytes, whose handlers count.
type jobSystem struct {
	submit  func(n int)
	handled atomic.Int64
	signal  chan struct{}
	want    atomic.Int64
}

func (s *jobSystem) handle() {
	if s.handled.Add(1) == s.want.Load() {
		s.signal <- struct{}{}
	}
}

// storm submits n jobs by several goroutines, and returns how many a second were submitted
// and handled.
func (s *jobSystem) storm(n int) float64 {
	s.handled.Store(0)
	s.want.Store(int64(n))
	var left atomic.Int64
	left.Store(int64(n))
	var submitters sync.WaitGroup
	begin := time.Now()
	for range jobHandlers {
		submitters.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				s.submit(int(i))
			}
		})
	}
	submitters.Wait()
	<-s.signal
	return float64(n) / time.Since(begin).Seconds()
}

var count = bus.NewMethod[[]byte, struct{}]("count")

func helioJobs(b *testing.B, cfg storage.Config, queue jobs.QueueConfig, options func(i int) jobs.SubmitOptions) *jobSystem {
	s, site := &jobSystem{signal: make(chan struct{}, 1)}, newSite()
	pool := storagetest.Open(b, cfg)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: site, Type: "count", Concurrency: jobHandlers})
	require.NoError(b, err)
	bus.Handle(w, count, func(context.Context, []byte) (struct{}, error) { s.handle(); return struct{}{}, nil })
	require.NoError(b, jobs.Serve(w, "q", queue))
	stop, err := bus.Start(context.Background(), w)
	require.NoError(b, err)
	b.Cleanup(func() { _ = stop() })
	c, err := jobs.NewClient(pool, jobs.ClientConfig{Site: site})
	require.NoError(b, err)
	body := make([]byte, 128)
	s.submit = func(i int) {
		if _, err := jobs.Submit(context.Background(), c, "q", count, body, options(i)); err != nil {
			b.Error(err)
		}
	}
	return s
}

func plainJob(int) jobs.SubmitOptions { return jobs.SubmitOptions{} }

func asynqJobs(b *testing.B, cfg storage.Config) *jobSystem {
	s, name := &jobSystem{signal: make(chan struct{}, 1)}, newSite()
	opts := redisOptions(b, cfg)
	connect := asynq.RedisClientOpt{Addr: opts.Addrs[0], PoolSize: 2 * jobHandlers}
	log.SetOutput(io.Discard)
	server := asynq.NewServer(connect, asynq.Config{Concurrency: jobHandlers, Queues: map[string]int{name: 1}, LogLevel: asynq.FatalLevel})
	require.NoError(b, server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { s.handle(); return nil })))
	b.Cleanup(server.Shutdown)
	c := asynq.NewClient(connect)
	b.Cleanup(func() { _ = c.Close() })
	body := make([]byte, 128)
	s.submit = func(int) {
		if _, err := c.Enqueue(asynq.NewTask("count", body), asynq.Queue(name)); err != nil {
			b.Error(err)
		}
	}
	return s
}

func redisOptions(b *testing.B, cfg storage.Config) redis.UniversalOptions {
	opts := cfg.Redis
	if cfg.URL != "" {
		parsed, err := redis.ParseURL(cfg.URL)
		require.NoError(b, err)
		opts.Addrs = []string{parsed.Addr}
	}
	return opts
}

// jobRivals runs two systems in turn, and reports the rate of the first and the median of
// its ratios to the second.
func jobRivals(b *testing.B, unit string, ours, theirs func(n int) float64) {
	const turns = 7
	n := max(b.N/turns, 1000)
	var rate, ratio []float64
	for turn := range turns + 1 {
		our, their := ours(n), theirs(n)
		if turn == 0 {
			continue // to warm up
		}
		rate, ratio = append(rate, our), append(ratio, our/their)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "jobs/s")
	b.ReportMetric(median(ratio), unit)
}

// BenchmarkJobs compares jobs that are submitted and handled with those of asynq.
func BenchmarkJobs(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	jobRivals(b, "x-asynq", helioJobs(b, cfg, jobs.QueueConfig{}, plainJob).storm, asynqJobs(b, cfg).storm)
}

// BenchmarkJobsLimited compares jobs under a limit over all processes, and of 10,000 groups,
// with those without.
func BenchmarkJobsLimited(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	plain := helioJobs(b, cfg, jobs.QueueConfig{}, plainJob)
	b.Run("global", func(b *testing.B) {
		jobRivals(b, "x-without", helioJobs(b, cfg, jobs.QueueConfig{GlobalConcurrency: 1000}, plainJob).storm, plain.storm)
	})
	b.Run("groups", func(b *testing.B) {
		groups := helioJobs(b, cfg, jobs.QueueConfig{GroupConcurrency: 10}, func(i int) jobs.SubmitOptions {
			return jobs.SubmitOptions{Group: "g" + strconv.Itoa(i%10_000)}
		})
		jobRivals(b, "x-without", groups.storm, plain.storm)
	})
}

// BenchmarkJobsBulk compares SubmitMany with bare XADDs of the same size in pipelines.
func BenchmarkJobsBulk(b *testing.B) {
	cfg, site := storagetest.BenchServer(b), newSite()
	pool := storagetest.Open(b, cfg)
	c, err := jobs.NewClient(pool, jobs.ClientConfig{Site: site})
	require.NoError(b, err)
	opts := redisOptions(b, cfg)
	rdb := redis.NewUniversalClient(&opts)
	b.Cleanup(func() { _ = rdb.Close() })
	ctx := context.Background()
	ours := func(n int) float64 {
		list := make([][]byte, n)
		for i := range list {
			list[i] = make([]byte, 128)
		}
		begin := time.Now()
		_, err := jobs.SubmitMany(ctx, c, "q", count, list)
		rate := float64(n) / time.Since(begin).Seconds()
		require.NoError(b, err)
		require.NoError(b, rdb.Del(ctx, "jobs:{"+site+":q}:ready:n").Err())
		return rate
	}
	theirs := func(n int) float64 {
		body := make([]byte, 160) // as large as a job's record
		begin := time.Now()
		for sent := 0; sent < n; sent += 256 {
			_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range min(256, n-sent) {
					p.XAdd(ctx, &redis.XAddArgs{Stream: "bare:" + site, Values: []any{"j", body}})
				}
				return nil
			})
			require.NoError(b, err)
		}
		rate := float64(n) / time.Since(begin).Seconds()
		require.NoError(b, rdb.Del(ctx, "bare:"+site).Err())
		return rate
	}
	jobRivals(b, "x-bare", ours, theirs)
}

// BenchmarkJobsBacklog compares the rate at which jobs are handled while a million wait
// with that of a queue that has only them.
func BenchmarkJobsBacklog(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	drain := func(waiting int) func(n int) float64 {
		site := newSite()
		pool := storagetest.Open(b, cfg)
		c, err := jobs.NewClient(pool, jobs.ClientConfig{Site: site})
		require.NoError(b, err)
		fill := func(n int) {
			for left := n; left > 0; left -= 10_000 {
				list := make([][]byte, min(left, 10_000))
				for i := range list {
					list[i] = make([]byte, 128)
				}
				_, err := jobs.SubmitMany(context.Background(), c, "q", count, list)
				require.NoError(b, err)
			}
		}
		fill(waiting)
		return func(n int) float64 {
			fill(n) // so that it has as many as before once n are handled
			s := &jobSystem{signal: make(chan struct{}, 1)}
			s.want.Store(int64(n))
			w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: site, Type: "count", Concurrency: jobHandlers})
			require.NoError(b, err)
			bus.Handle(w, count, func(context.Context, []byte) (struct{}, error) { s.handle(); return struct{}{}, nil })
			require.NoError(b, jobs.Serve(w, "q", jobs.QueueConfig{}))
			begin := time.Now()
			stop, err := bus.Start(context.Background(), w)
			require.NoError(b, err)
			<-s.signal
			rate := float64(n) / time.Since(begin).Seconds()
			require.NoError(b, stop())
			return rate
		}
	}
	jobRivals(b, "x-empty", drain(1_000_000), drain(0))
}
