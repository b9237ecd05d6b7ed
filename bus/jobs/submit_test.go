package jobs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestASubmitWithAnIDMayBeRepeated(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool)
		for _, o := range []jobs.SubmitOptions{{ID: "now"}, {ID: "later", Delay: 50 * time.Millisecond}} {
			first, err := jobs.SubmitMany(t.Context(), c, "q", Double, []int{1, 2}, o)
			require.NoError(t, err)
			require.Equal(t, []jobs.Submitted{{ID: "q:" + o.ID + "-0", New: true}, {ID: "q:" + o.ID + "-1", New: true}}, first)
			again, err := jobs.SubmitMany(t.Context(), c, "q", Double, []int{1, 2, 3}, o)
			require.NoError(t, err)
			require.Equal(t, []bool{false, false, true}, []bool{again[0].New, again[1].New, again[2].New})
		}
		serve(t, pool, jobs.QueueConfig{}, nil)
		state(t, c, "q:now-1", jobs.StateDone)
		state(t, c, "q:later-2", jobs.StateDone)
		again, err := jobs.SubmitMany(t.Context(), c, "q", Double, []int{1}, jobs.SubmitOptions{ID: "now"})
		require.NoError(t, err)
		require.False(t, again[0].New, "a day after it was done")
		empty(t, pool, c)
	})
}

func TestSubmitManyKeepsTheOrder(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c, list := client(t, pool), make([]int, 300)
		for i := range list {
			list[i] = i
		}
		low, err := jobs.SubmitMany(t.Context(), c, "q", Task, []int{-2}, jobs.SubmitOptions{Priority: jobs.PriorityLow})
		require.NoError(t, err)
		require.True(t, low[0].New)
		all, err := jobs.SubmitMany(t.Context(), c, "q", Task, list)
		require.NoError(t, err)
		require.Len(t, all, len(list))
		_, err = jobs.Submit(t.Context(), c, "q", Task, -1, jobs.SubmitOptions{Priority: jobs.PriorityHigh})
		require.NoError(t, err)
		n, err := c.Counts(t.Context(), "q")
		require.NoError(t, err)
		require.Equal(t, jobs.Counts{Waiting: 302}, n)

		got := make(chan int, 302)
		serve(t, pool, jobs.QueueConfig{Concurrency: 1}, func(_ context.Context, n int) (int, error) {
			got <- n
			return 0, nil
		})
		require.Equal(t, -1, <-got)
		for i := range list {
			require.Equal(t, i, <-got)
		}
		require.Equal(t, -2, <-got)
		empty(t, pool, c)
	})
}

func TestBadInputIsRefusedAndNothingWritten(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool)
	for name, submit := range map[string]func() error{
		"queue":    func() error { _, err := jobs.Submit(t.Context(), c, "a b", Double, 1); return err },
		"colon":    func() error { _, err := jobs.Submit(t.Context(), c, "a:b", Double, 1); return err },
		"Delay":    func() error { return with(t, c, jobs.SubmitOptions{Delay: -1}) },
		"both set": func() error { return with(t, c, jobs.SubmitOptions{Delay: time.Second, At: time.Now()}) },
		"At":       func() error { return with(t, c, jobs.SubmitOptions{At: time.Now().AddDate(2, 0, 0)}) },
		"Attempts": func() error { return with(t, c, jobs.SubmitOptions{Attempts: -1}) },
		"Timeout":  func() error { return with(t, c, jobs.SubmitOptions{Timeout: time.Nanosecond}) },
		"Expires":  func() error { return with(t, c, jobs.SubmitOptions{Expires: -time.Hour}) },
		"Keep":     func() error { return with(t, c, jobs.SubmitOptions{KeepResult: 365 * 24 * time.Hour}) },
		"Priority": func() error { return with(t, c, jobs.SubmitOptions{Priority: 3}) },
		"Header": func() error {
			return with(t, c, jobs.SubmitOptions{Header: bus.Header{"x": strings.Repeat("x", 1<<17)}})
		},
		"ID":         func() error { return with(t, c, jobs.SubmitOptions{ID: "a*"}) },
		"own ids":    func() error { return with(t, c, jobs.SubmitOptions{ID: "12-3.n"}) },
		"bytes":      func() error { return with(t, c, jobs.SubmitOptions{ID: strings.Repeat("x", 201)}) },
		"more than":  func() error { return with(t, c, jobs.SubmitOptions{}, jobs.SubmitOptions{}) },
		"method":     func() error { return with2(t, c, bus.Body{}, "") },
		"codec":      func() error { return with2(t, c, bus.Body{Codec: 99}, "double") },
		"MaxMessage": func() error { return with2(t, c, bus.Body{Data: make([]byte, 1<<20+1)}, "double") },
		"arguments": func() error {
			_, err := jobs.Submit(t.Context(), c, "q", bus.NewMethod[chan int, int]("ch"), nil)
			if err == nil {
				_, err = jobs.Submit(t.Context(), c, "q", bus.NewMethod[func(), int]("f"), func() {})
			}
			return err
		},
	} {
		err := submit()
		require.ErrorIs(t, err, jobs.ErrInvalid, name)
		require.NotEqual(t, name, "", err.Error())
	}
	keys, err := pool.Redis().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)

	full, err := jobs.NewClient(pool, jobs.ClientConfig{MaxQueue: 2})
	require.NoError(t, err)
	_, err = jobs.SubmitMany(t.Context(), full, "q", Double, []int{1, 2})
	require.NoError(t, err)
	until(t, func() bool {
		_, err := jobs.Submit(t.Context(), full, "q", Double, 3)
		if err == nil {
			return false
		}
		require.ErrorIs(t, err, jobs.ErrQueueFull)
		return true
	}, "the queue does not become full")
	require.NoError(t, full.Close())
	_, err = jobs.Submit(t.Context(), full, "q", Double, 3)
	require.ErrorIs(t, err, jobs.ErrClosed)

	for _, id := range []string{"", "q", "q:", "q:a b", "x y:z"} {
		_, err := c.Get(t.Context(), id)
		require.ErrorIs(t, err, jobs.ErrInvalid, id)
	}
	for _, id := range []string{"q:none", "q:1-1.n", "other:1-1.h"} {
		_, err := c.Get(t.Context(), id)
		require.ErrorIs(t, err, jobs.ErrNotFound, id)
		_, err = c.Cancel(t.Context(), id)
		require.ErrorIs(t, err, jobs.ErrNotFound, id)
		require.ErrorIs(t, c.Retry(t.Context(), id), jobs.ErrNotFound, id)
	}
	_, err = jobs.NewClient(nil, jobs.ClientConfig{})
	require.Error(t, err)
	_, err = jobs.NewClient(pool, jobs.ClientConfig{Site: "{"})
	require.ErrorIs(t, err, jobs.ErrInvalid)
	require.ErrorIs(t, jobs.Serve(nil, "q", jobs.QueueConfig{}), jobs.ErrInvalid)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "w"})
	require.NoError(t, err)
	require.ErrorIs(t, jobs.Serve(w, "a:b", jobs.QueueConfig{}), jobs.ErrInvalid)
	require.ErrorIs(t, jobs.Serve(w, "q", jobs.QueueConfig{Concurrency: -1}), jobs.ErrInvalid)
	require.ErrorIs(t, jobs.Serve(w, "q", jobs.QueueConfig{MaxDead: -1}), jobs.ErrInvalid)
	require.NoError(t, jobs.Serve(w, "q", jobs.QueueConfig{}))
	require.ErrorContains(t, jobs.Serve(w, "q", jobs.QueueConfig{}), "already")
}

func with(t *testing.T, c *jobs.Client, o ...jobs.SubmitOptions) error {
	_, err := jobs.Submit(t.Context(), c, "q", Double, 1, o...)
	return err
}

func with2(t *testing.T, c *jobs.Client, b bus.Body, method string) error {
	_, err := jobs.SubmitRaw(t.Context(), c, "q", method, b)
	return err
}

func TestWhatRedisRefusesIsTyped(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config()).Redis()
	c := client(t, storagetest.Open(t, srv.Config()))
	_, err := jobs.Submit(t.Context(), c, "q", Double, 1)
	require.NoError(t, err)

	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "1").Err())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = jobs.Submit(ctx, c, "q", Double, 2)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "OOM")
	ended := make(chan error, 1)
	go func() {
		_, err := jobs.SubmitMany(t.Context(), c, "q", Double, []int{3, 4}, jobs.SubmitOptions{ID: "x"})
		ended <- err
	}()
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, <-ended)
	n, err := c.Counts(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, 3, n.Waiting, "what was refused was not written, what was not was written once")

	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "default", "-xadd").Err())
	_, err = jobs.Submit(t.Context(), c, "q", Double, 5)
	require.True(t, redis.IsPermissionError(err), "%v", err)
}
