package redisio_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// outcome is how a write ended.
type outcome struct {
	n   int64
	err error
}

// outcomes collects the ends of writes.
type outcomes chan outcome

func (o outcomes) done(n int64, err error) { o <- outcome{n, err} }

func TestWriterKeepsTheOrderOfEachKey(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const writers, each = 8, 2000
		ctx := t.Context()
		ended := make(outcomes, writers*each)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				list := "list" + strconv.Itoa(i%4)
				for j := range each {
					redisio.Of(pool).Writer().Push(ctx, list, fmt.Appendf(nil, "%d:%d", i, j), ended.done)
				}
			})
		}
		wg.Wait()
		for range writers * each {
			o := <-ended
			require.NoError(t, o.err)
			require.Positive(t, o.n)
		}
		last := map[int]int{}
		for l := range 4 {
			elems, err := pool.Redis().LRange(ctx, "list"+strconv.Itoa(l), 0, -1).Result()
			require.NoError(t, err)
			require.Len(t, elems, writers/4*each)
			for _, e := range elems {
				var i, j int
				_, err := fmt.Sscanf(e, "%d:%d", &i, &j)
				require.NoError(t, err)
				require.Equal(t, last[i], j, "of writer %d", i)
				last[i]++
			}
		}
		stats := pool.Stats().Writes
		require.EqualValues(t, writers*each, stats.Written)
		require.Less(t, stats.Batches, stats.Written/2, "many ride one batch")
		require.Zero(t, stats.Queued)
		require.Zero(t, stats.QueuedBytes)
	})
}

func TestWriterTellsWhatRedisAnswers(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx, w, ended := t.Context(), redisio.Of(pool).Writer(), make(outcomes, 10)
		w.Push(ctx, "l", []byte("a"), ended.done)
		require.Equal(t, outcome{1, nil}, <-ended)
		w.Push(ctx, "l", nil, ended.done)
		require.Equal(t, outcome{2, nil}, <-ended)
		w.Do(ctx, ended.done, "pexpire", "l", 60_000)
		require.Equal(t, outcome{1, nil}, <-ended)
		w.Do(ctx, ended.done, "pexpire", "nowhere", 60_000)
		require.Equal(t, outcome{0, nil}, <-ended)

		w.Append(ctx, "s", []byte("a"), ended.done)
		require.Equal(t, outcome{0, redis.Nil}, <-ended, "no such stream, and none was made")
		require.NoError(t, pool.Redis().XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{"x", ""}}).Err())
		w.Append(ctx, "s", []byte("a"), ended.done)
		require.Equal(t, outcome{0, nil}, <-ended)
		entries, err := pool.Redis().XRange(ctx, "s", "-", "+").Result()
		require.NoError(t, err)
		require.Equal(t, map[string]any{redisio.StreamField: "a"}, entries[1].Values)

		w.Push(ctx, "s", []byte("a"), ended.done)
		o := <-ended
		require.ErrorContains(t, o.err, "WRONGTYPE")
		require.NotErrorIs(t, o.err, storage.ErrIndeterminate)
		w.Push(ctx, "l", []byte("b"), ended.done)
		require.Equal(t, outcome{3, nil}, <-ended, "others are not harmed")
	})
}

// Commands that can't be one share a batch all the same, each with its answer.
func TestWriterBatchesOtherCommands(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const n = 5000
		ctx, w, ended := t.Context(), redisio.Of(pool).Writer(), make(outcomes, 2*n)
		script := "return redis.call('RPUSH', KEYS[1], ARGV[1])"
		for i := range n {
			w.Do(ctx, ended.done, "rpush", "l", i)
			w.Eval(ctx, ended.done, script, []string{"e"}, i)
		}
		seen := map[int64]int{}
		for range 2 * n {
			o := <-ended
			require.NoError(t, o.err)
			seen[o.n]++
		}
		require.Len(t, seen, n, "every length twice")
		for _, list := range []string{"l", "e"} {
			elems := pool.Redis().LRange(ctx, list, 0, -1).Val()
			require.Len(t, elems, n)
			for i, e := range elems {
				require.Equal(t, strconv.Itoa(i), e, "in order")
			}
		}
		require.Less(t, pool.Stats().Writes.Batches, int64(n/2))

		w.Do(ctx, ended.done, "rpush", "l", "x")
		w.Do(ctx, ended.done, "incr", "l")
		w.Do(ctx, ended.done, "rpush", "l", "y")
		require.EqualValues(t, n+1, (<-ended).n)
		require.ErrorContains(t, (<-ended).err, "WRONGTYPE")
		require.Equal(t, outcome{n + 2, nil}, <-ended, "others are not harmed")
	})
}

func TestWriterPublishes(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const n = 3000
		ctx, w, ended := t.Context(), redisio.Of(pool).Writer(), make(outcomes, n)
		w.Publish(ctx, "a", nil, false, ended.done)
		require.Equal(t, outcome{0, nil}, <-ended, "no receiver")
		sub := pool.Redis().Subscribe(ctx, "a", "b")
		defer sub.Close()
		for range 2 {
			_, err := sub.Receive(ctx)
			require.NoError(t, err)
		}
		for i := range n {
			w.Publish(ctx, []string{"a", "b"}[i%2], []byte(strconv.Itoa(i)), false, ended.done)
		}
		for i := range n {
			require.Equal(t, outcome{1, nil}, <-ended)
			m, err := sub.ReceiveMessage(ctx)
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(i), m.Payload, "in order")
		}
		require.Less(t, pool.Stats().Writes.Batches, int64(n/2))
	})
}

func TestWriterWritesHugeAndManyElements(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx, ended := t.Context(), make(outcomes, 3000)
		for range 20 {
			redisio.Of(pool).Writer().Push(ctx, "l", make([]byte, 1<<20), ended.done)
		}
		for range 2980 {
			redisio.Of(pool).Writer().Push(ctx, "l", []byte("x"), ended.done)
		}
		for range 3000 {
			require.NoError(t, (<-ended).err)
		}
		require.EqualValues(t, 3000, pool.Redis().LLen(ctx, "l").Val())
	})
}

func TestWriterTriesAgainWhatWasSurelyNotWritten(t *testing.T) {
	srv := storagetest.Start(t)
	var log bytes.Buffer
	cfg := srv.Config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	pool := storagetest.Open(t, cfg)
	ctx, w, ended := t.Context(), redisio.Of(pool).Writer(), make(outcomes, 100)
	srv.Kill()
	wanted, cancel := context.WithCancel(ctx)
	w.Push(wanted, "l", []byte("not wanted"), ended.done)
	for i := range 50 {
		w.Push(ctx, "l", []byte(strconv.Itoa(i)), ended.done)
	}
	require.Eventually(t, func() bool { return pool.Stats().Writes.Retried > 0 }, 10*time.Second, time.Millisecond)
	cancel()
	o := <-ended
	require.Zero(t, o.n)
	require.ErrorIs(t, o.err, context.Canceled)
	srv.Restart()
	for range 50 {
		require.NoError(t, (<-ended).err)
	}
	elems := pool.Redis().LRange(ctx, "l", 0, -1).Val()
	require.Len(t, elems, 50)
	for i, e := range elems {
		require.Equal(t, strconv.Itoa(i), e, "in order")
	}
	require.NoError(t, pool.Close())
	require.Contains(t, log.String(), "Redis takes no writes")

	t.Run("OOM", func(t *testing.T) {
		pool := storagetest.Open(t, srv.Config())
		w := redisio.Of(pool).Writer()
		require.NoError(t, pool.Redis().ConfigSet(ctx, "maxmemory", "1").Err())
		w.Push(ctx, "oom", []byte("x"), ended.done)
		require.Eventually(t, func() bool { return pool.Stats().Writes.Retried > 0 }, 10*time.Second, time.Millisecond)
		require.Empty(t, ended)
		require.NoError(t, pool.Redis().ConfigSet(ctx, "maxmemory", "0").Err())
		require.Equal(t, outcome{1, nil}, <-ended)
	})
	t.Run("Close", func(t *testing.T) {
		pool := storagetest.Open(t, srv.Config())
		srv.Kill()
		redisio.Of(pool).Writer().Push(ctx, "l", nil, ended.done)
		require.Eventually(t, func() bool { return pool.Stats().Writes.Retried > 0 }, 10*time.Second, time.Millisecond)
		require.NoError(t, pool.Close())
		require.Equal(t, outcome{0, storage.ErrClosed}, <-ended)
	})
}

func TestWriterDoesNotRepeatWhatMayHaveBeenWritten(t *testing.T) {
	srv := storagetest.Start(t)
	cfg := srv.Config()
	cfg.Redis.ReadTimeout = 100 * time.Millisecond
	pool := storagetest.Open(t, cfg)
	ctx, ended := t.Context(), make(outcomes, 10)
	redisio.Of(pool).Writer().Push(ctx, "l", []byte("a"), ended.done)
	require.NoError(t, (<-ended).err)

	srv.Pause()
	redisio.Of(pool).Writer().Push(ctx, "l", []byte("b"), ended.done)
	o := <-ended
	require.ErrorIs(t, o.err, storage.ErrIndeterminate)
	require.ErrorIs(t, o.err, context.DeadlineExceeded)
	srv.Resume()
	redisio.Of(pool).Writer().Push(ctx, "l", []byte("c"), ended.done)
	require.NoError(t, (<-ended).err)
	require.Equal(t, []string{"a", "b", "c"}, pool.Redis().LRange(ctx, "l", 0, -1).Val(), "b once")
}

func TestWriterRefusesWhatDoesNotFit(t *testing.T) {
	srv := storagetest.Start(t)
	for _, limit := range []func(*storage.Config){
		func(c *storage.Config) { c.MaxQueued = 10 },
		func(c *storage.Config) { c.MaxQueuedBytes = 1500 },
	} {
		cfg := srv.Config()
		limit(&cfg)
		pool := storagetest.Open(t, cfg)
		ctx, ended := t.Context(), make(outcomes, 100)
		srv.Pause()
		for range 20 {
			redisio.Of(pool).Writer().Push(ctx, "l", make([]byte, 100), ended.done)
		}
		refused := pool.Stats().Writes.Refused
		require.Positive(t, refused)
		require.Less(t, refused, int64(20))
		for range refused {
			require.Equal(t, outcome{0, storage.ErrQueueFull}, <-ended)
		}
		srv.Resume()
		for range 20 - refused {
			require.NoError(t, (<-ended).err)
		}
		redisio.Of(pool).Writer().Push(ctx, "l", nil, ended.done)
		require.NoError(t, (<-ended).err)
		require.NoError(t, pool.Redis().Del(ctx, "l").Err())
	}
}

// A million writes or one: nothing is kept of keys that were written to.
func TestWriterForgetsKeys(t *testing.T) {
	pool := storagetest.New(t)
	ended := make(outcomes, 1000)
	for i := range 1000 {
		redisio.Of(pool).Writer().Push(t.Context(), strconv.Itoa(i), nil, ended.done)
	}
	for range 1000 {
		require.NoError(t, (<-ended).err)
	}
	require.Eventually(t, func() bool { return redisio.Lanes(redisio.Of(pool).Writer()) == 0 }, 5*time.Second, time.Millisecond)
}

// Elements that go to Redis in one command get the lengths that they met: who
// made the list sees 1 and can give it a time to live.
func TestWriterTellsEachElementItsOwnLength(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const n = 2000
		lengths := make(outcomes, n)
		for range n {
			redisio.Of(pool).Writer().Push(t.Context(), "l", []byte("a"), lengths.done)
		}
		for i := range n {
			require.Equal(t, outcome{int64(i + 1), nil}, <-lengths)
		}
		require.Less(t, pool.Stats().Writes.Batches, int64(n))
	})
}

// What is refused because too many writes wait takes nothing off the bytes that
// wait.
func TestWriterCountsBytesOfWhatItRefusedOnce(t *testing.T) {
	srv := storagetest.Start(t)
	srv.Kill()
	cfg := srv.Config()
	cfg.MaxQueued = 10
	pool := storagetest.Open(t, cfg)
	ended := make(outcomes, 30)
	for range cap(ended) {
		redisio.Of(pool).Writer().Push(t.Context(), "l", make([]byte, 100), ended.done)
	}
	for range 20 {
		require.ErrorIs(t, (<-ended).err, storage.ErrQueueFull)
	}
	stats := pool.Stats().Writes
	require.EqualValues(t, 10, stats.Queued)
	require.GreaterOrEqual(t, stats.QueuedBytes, int64(10*100))
}

// What the writer reads decides, such as who lives: it is never read from a replica.
func TestWriterReadsFromPrimaries(t *testing.T) {
	t.Parallel()
	cfg, err := storage.ParseURL("redis+cluster://h:6379?read_only=true&route_by_latency=true")
	require.NoError(t, err)
	opts := redisio.ClientOf(redisio.Of(storagetest.Open(t, cfg)).Writer()).(*redis.ClusterClient).Options()
	require.False(t, opts.ReadOnly)
	require.False(t, opts.RouteByLatency)
}
