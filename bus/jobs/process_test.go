//go:build unix

package jobs_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// workerAddr makes the test binary a worker of the queue q on the Redis at that address.
// Its method task adds the job's id to the set "ran".
const workerAddr = "HELIOGRAPH_TEST_JOBS"

func init() {
	addr := os.Getenv(workerAddr)
	if addr == "" {
		return
	}
	fmt.Println("ended", workerMain(addr))
	os.Exit(1)
}

func workerMain(addr string) error {
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err != nil {
		return err
	}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "w", Lease: 2 * time.Second})
	if err != nil {
		return err
	}
	bus.Handle(w, Task, func(ctx context.Context, n int) (int, error) {
		j, _ := jobs.FromContext(ctx)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		return n, pool.Redis().SAdd(ctx, "ran", j.ID).Err()
	})
	backoff := func(jobs.Job, error) time.Duration { return 100 * time.Millisecond }
	if err := jobs.Serve(w, "q", jobs.QueueConfig{Concurrency: 16, Backoff: backoff}); err != nil {
		return err
	}
	go func() {
		<-w.Ready()
		fmt.Println("ready")
	}()
	return w.Run(context.Background())
}

// startProcess starts a worker and waits until it is ready.
func startProcess(t *testing.T, srv *storagetest.Server) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerAddr+"="+srv.Addr())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { killProcess(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return cmd
}

// killProcess kills with SIGKILL.
func killProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// Workers are killed, connections cut, and Redis is killed and restarted from its log,
// while jobs are submitted.
func TestSubmitAtLeastOnceOnRealServers(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	pool := storagetest.Open(t, srv.Config())
	c := client(t, pool)
	workers := []*exec.Cmd{startProcess(t, srv), startProcess(t, srv)}
	acknowledged := map[string]bool{}
	for round := range 12 {
		for batch := range 20 {
			opts := jobs.SubmitOptions{Attempts: 50}
			if batch%2 == 0 {
				opts.ID = fmt.Sprintf("r%d-%d", round, batch)
			}
			some, err := jobs.SubmitMany(t.Context(), c, "q", Task, make([]int, 20), opts)
			if err != nil {
				require.ErrorIs(t, err, jobs.ErrIndeterminate)
			}
			for _, s := range some {
				if s.ID != "" {
					acknowledged[s.ID] = true
				}
			}
		}
		switch round % 4 {
		case 0:
			killProcess(workers[round/4%2])
			workers[round/4%2] = startProcess(t, srv)
		case 1:
			admin := redis.NewClient(&redis.Options{Addr: srv.Addr()})
			require.NoError(t, admin.Do(t.Context(), "client", "kill", "type", "normal").Err())
			require.NoError(t, admin.Close())
		case 2:
			srv.Kill()
			srv.Restart()
		}
	}
	killProcess(workers[0]) // its jobs are claimed by the other
	empty(t, pool, c)
	ran, err := pool.Redis().SMembers(t.Context(), "ran").Result()
	require.NoError(t, err)
	for _, id := range ran {
		delete(acknowledged, id)
	}
	for id := range acknowledged {
		info, err := c.Get(t.Context(), id)
		require.NoError(t, err, "%s is lost", id)
		require.Equal(t, jobs.StateDead, info.State)
	}
	require.Greater(t, len(ran), 3000)
}

// A worker that is suspended for longer than its lease loses its jobs to another, and goes on
// when it is resumed.
func TestASuspendedWorkersJobsRunElsewhere(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	c := client(t, pool)
	workers := []*exec.Cmd{startProcess(t, srv), startProcess(t, srv)}
	acknowledged := map[string]bool{}
	for round := range 3 {
		require.NoError(t, workers[round%2].Process.Signal(syscall.SIGSTOP))
		for range 10 {
			some, err := jobs.SubmitMany(t.Context(), c, "q", Task, make([]int, 50))
			require.NoError(t, err)
			for _, s := range some {
				acknowledged[s.ID] = true
			}
		}
		empty(t, pool, c) // the other has claimed what the suspended one held
		require.NoError(t, workers[round%2].Process.Signal(syscall.SIGCONT))
	}
	ran, err := pool.Redis().SMembers(t.Context(), "ran").Result()
	require.NoError(t, err)
	require.Len(t, ran, len(acknowledged))
}
