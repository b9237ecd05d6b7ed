package jobs_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// numbers notes the arguments of the jobs that begin.
type numbers struct {
	mu   sync.Mutex
	list []int
}

func (n *numbers) add(v int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, v)
}

func (n *numbers) take() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// slowly runs jobs for 10 seconds.
func (n *numbers) slowly(ctx context.Context, v int) (int, error) {
	n.add(v)
	select {
	case <-time.After(10 * time.Second):
		return v, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestUniqueRefuse(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), &numbers{}
		serve(t, pool, jobs.QueueConfig{}, ran.slowly)
		submit := func(n int, u jobs.Unique, delay time.Duration) (string, error) {
			return jobs.Submit(t.Context(), c, "q", Task, n, jobs.SubmitOptions{Unique: u, Delay: delay, Attempts: 1})
		}
		key := jobs.Unique{Key: "user:1 report"}
		first, err := submit(1, key, time.Minute) // scheduled
		require.NoError(t, err)
		other, err := submit(2, key, 0)
		require.ErrorIs(t, err, jobs.ErrDuplicate)
		require.Equal(t, first, other)
		time.Sleep(65 * time.Second) // running
		_, err = submit(3, key, 0)
		require.ErrorIs(t, err, jobs.ErrDuplicate)
		time.Sleep(10 * time.Second) // done
		second, err := submit(4, key, 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, []int{1, 4}, ran.take())
		_, err = submit(5, jobs.Unique{Key: key.Key, For: time.Second}, 0)
		require.NoError(t, err, "the job is older than For")
		_, err = c.Cancel(t.Context(), second)
		require.NoError(t, err)
		state(t, c, second, jobs.StateDead)
		_, err = submit(6, key, 0)
		require.ErrorIs(t, err, jobs.ErrDuplicate, "the job 5 has the key")
		require.ErrorIs(t, c.Retry(t.Context(), second), jobs.ErrDuplicate)
		time.Sleep(20 * time.Second)
		require.NoError(t, c.Retry(t.Context(), second))
		_, err = submit(7, key, 0)
		require.ErrorIs(t, err, jobs.ErrDuplicate)
		time.Sleep(20 * time.Second)
		require.Equal(t, []int{5, 4}, ran.take())

		// Without a key: one job for each argument.
		many, err := jobs.SubmitMany(t.Context(), c, "q", Task, []int{1, 2, 1}, jobs.SubmitOptions{Unique: jobs.Unique{Mode: jobs.UniqueRefuse}})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, false}, []bool{many[0].New, many[1].New, many[2].New})
		require.Equal(t, many[0].ID, many[2].ID)
		empty(t, pool, c)
	})
}

func TestUniqueThrottle(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), &numbers{}
		serve(t, pool, jobs.QueueConfig{}, func(_ context.Context, n int) (int, error) { ran.add(n); return n, nil })
		var ids []string
		for n := range 25 {
			id, err := jobs.Submit(t.Context(), c, "q", Task, n, jobs.SubmitOptions{Unique: jobs.Unique{Mode: jobs.UniqueThrottle, Key: "k", For: 10500 * time.Millisecond}})
			require.NoError(t, err)
			ids = append(ids, id)
			time.Sleep(time.Second)
		}
		require.Equal(t, []int{0, 11, 22}, ran.take())
		require.Equal(t, ids[0], ids[10])
		require.NotEqual(t, ids[10], ids[11])
		empty(t, pool, c)
		time.Sleep(11 * time.Second)
		keys, err := pool.Redis().Keys(t.Context(), "*throttle*").Result()
		require.NoError(t, err)
		require.Empty(t, keys)
	})
}

func TestUniqueDebounce(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), &numbers{}
		serve(t, pool, jobs.QueueConfig{}, ran.slowly)
		o := jobs.SubmitOptions{Unique: jobs.Unique{Mode: jobs.UniqueDebounce, Key: "k", For: 3 * time.Second}}
		for n := range 5 {
			_, err := jobs.Submit(t.Context(), c, "q", Task, n, o)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		counts, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.Equal(t, jobs.Counts{Scheduled: 1}, counts)
		time.Sleep(2 * time.Second)
		require.Equal(t, []int{4}, ran.take())
		_, err = jobs.Submit(t.Context(), c, "q", Task, 5, o) // while 4 runs
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		require.Equal(t, []int{5}, ran.take())
		empty(t, pool, c)
	})
}

func TestUniqueLast(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		c, ran := client(t, pool), &numbers{}
		fail := true
		serve(t, pool, jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Second }}, func(ctx context.Context, n int) (int, error) {
			if n == 1 && fail { // a job that is tried again keeps its key
				fail = false
				return 0, errors.New("no luck")
			}
			return ran.slowly(ctx, n)
		})
		var ids []string
		for n := 1; n <= 4; n++ {
			id, err := jobs.Submit(t.Context(), c, "q", Task, n, jobs.SubmitOptions{Unique: jobs.Unique{Mode: jobs.UniqueLast, Key: "k"}})
			require.NoError(t, err)
			ids = append(ids, id)
			time.Sleep(100 * time.Millisecond)
		}
		_, err := c.Get(t.Context(), ids[1])
		require.ErrorIs(t, err, jobs.ErrNotFound, "another replaced it")
		state(t, c, ids[3], jobs.StateScheduled)
		time.Sleep(9 * time.Second)
		require.Equal(t, []int{1}, ran.take())
		time.Sleep(3 * time.Second)
		require.Equal(t, []int{4}, ran.take())
		held, err := jobs.Submit(t.Context(), c, "q", Task, 5, jobs.SubmitOptions{Unique: jobs.Unique{Mode: jobs.UniqueLast, Key: "k"}})
		require.NoError(t, err)
		_, err = c.Cancel(t.Context(), held)
		require.NoError(t, err)
		empty(t, pool, c)
		require.Empty(t, ran.take())
	})
}

func TestBadUniqueIsRefusedAndNothingWritten(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool)
	for want, o := range map[string]jobs.SubmitOptions{
		"Unique.Key":            {Unique: jobs.Unique{Key: strings.Repeat("x", 201)}},
		"not UTF-8":             {Unique: jobs.Unique{Key: "\xff"}},
		"Unique.Mode":           {Unique: jobs.Unique{Mode: 9}},
		"UniqueThrottle":        {Unique: jobs.Unique{Mode: jobs.UniqueThrottle, Key: "k"}},
		"UniqueLast needs none": {Unique: jobs.Unique{Mode: jobs.UniqueLast, Key: "k", For: time.Second}},
		"Unique.For":            {Unique: jobs.Unique{Key: "k", For: -time.Second}},
		"Delay or At":           {Unique: jobs.Unique{Mode: jobs.UniqueDebounce, For: time.Second}, Delay: time.Second},
		"Group: name":           {Group: "a*"},
		"Group: 101 bytes":      {Group: strings.Repeat("x", 101)},
	} {
		err := with(t, c, o)
		require.ErrorIs(t, err, jobs.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	keys, err := pool.Redis().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}
