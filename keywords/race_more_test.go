package keywords_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The races that go on from race_test.go.

// R6: two dispatchers could both pass the check that there is none, one that
// crashed was never forgotten, and one that ended unregistered its successor.
func TestRace06TwoDispatchersAtOnce(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		ctx := soon(t)
		for range 5 {
			var all []*running
			for range 6 {
				all = append(all, run(t, pool, keywords.DispatcherConfig{Refuse: true}, nil))
			}
			refused := 0
			var first *running
			for _, d := range all {
				select {
				case <-d.Ready():
					require.Nil(t, first, "two of them are ready")
					first = d
				case err := <-d.ended:
					require.ErrorIs(t, err, keywords.ErrServed)
					refused++
				case <-ctx.Done():
					t.Fatal("neither ready nor refused")
				}
			}
			require.NotNil(t, first)
			require.Equal(t, 5, refused)
			first.stop()
			require.NoError(t, <-first.ended)
		}
		// A greater fencing number has taken over: what the first says at its end is not
		// about its successor.
		d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
		owner, err := pool.Key("kw", redisio.HashTag("stage"), "own", "main")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().Set(ctx, owner, "9000000000000000:another", 0).Err())
		require.ErrorIs(t, <-d.ended, keywords.CodeFenced)
		require.Equal(t, "9000000000000000:another", pool.Redis().Get(ctx, owner).Val())
		require.NoError(t, pool.Redis().Del(ctx, owner).Err())
		run(t, pool, keywords.DispatcherConfig{Refuse: true}, nil).wait()
	})
}

// R7: the subscription to what others write had the form of a pattern, and
// brought nothing. Here it does in any database, and after Redis has forgotten
// what it was to tell of.
func TestRace07ExternalWrites(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cfg := srv.Config()
	cfg.Redis.DB = 3
	pool := storagetest.Open(t, cfg)
	d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second, ExternalWrites: keywords.ExternalAccept}, nil).wait()
	require.NoError(t, d.Notifications())
	k := client(t, pool)
	n := newest(t, k)
	key, err := pool.Key("kw", redisio.HashTag("stage"), "v", "SPEED")
	require.NoError(t, err)
	external := func(v float64) {
		require.NoError(t, pool.Redis().HSet(soon(t), key, "v", v).Err())
		n.await(v)
		got, err := keywords.Read(soon(t), k, Speed)
		require.NoError(t, err)
		require.Equal(t, v, got.V)
	}
	external(7)
	srv.Restart()
	n.await(7)
	require.Eventually(t, func() bool {
		return len(pool.Redis().ConfigGet(soon(t), "notify-keyspace-events").Val()["notify-keyspace-events"]) > 1
	}, patience, time.Millisecond)
	external(8)
}

// R8: the question whether a watcher listens was always answered with no.
func TestRace08WhetherItListens(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	for _, policy := range []keywords.ExternalWrites{keywords.ExternalIgnore, keywords.ExternalAccept, keywords.ExternalRevert} {
		d := run(t, pool, keywords.DispatcherConfig{ExternalWrites: policy}, nil).wait()
		require.NoError(t, d.Notifications())
		d.stop()
		require.NoError(t, <-d.ended)
	}
	deaf := storagetest.New(t)
	d := run(t, deaf, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
	require.ErrorIs(t, d.Notifications(), keywords.ErrNotificationsUnavailable)
}

// R9: the flags of the server's notifications were overwritten.
func TestRace09FlagsOfTheServer(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--notify-keyspace-events", "Elz")
	pool := storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
	k, ctx := client(t, pool), soon(t)
	n := newest(t, k)
	_, err := keywords.Modify(ctx, k, Speed, 2)
	require.NoError(t, err)
	n.await(2)
	flags := pool.Redis().ConfigGet(ctx, "notify-keyspace-events").Val()["notify-keyspace-events"]
	for _, flag := range "Elz" {
		require.Contains(t, flags, string(flag))
	}
}

// R10: value, status and error were three keys, read one after another.
func TestRace10TornReads(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, ctx := client(t, pool), soon(t)
		_, err := keywords.ModifyMany(ctx, k, Speed.To(0), Note.To("0"))
		require.NoError(t, err)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; !isClosed(stop); i++ {
				v := i % 20
				if _, err := keywords.ModifyMany(ctx, k, Speed.To(float64(v)), Note.To(strconv.Itoa(v))); err != nil {
					t.Error(err)
					return
				}
			}
		})
		seen := map[keywords.Revision]keywords.Value[string]{}
		for range 500 {
			all, err := keywords.ReadMany(ctx, k, "stage", "SPEED", "NOTE")
			require.NoError(t, err)
			speed, note := all["SPEED"], all["NOTE"]
			require.Equal(t, speed.V, note.V)
			require.Equal(t, speed.Rev.N+1, note.Rev.N)
			if was, ok := seen[note.Rev]; ok {
				require.Equal(t, was, note, "a revision is one value")
			}
			seen[note.Rev] = note
		}
		close(stop)
		wg.Wait()
	})
}

// R11: each keyword and each wait cost the server a pattern, and with it every
// command of every client.
func TestRace11NoPatterns(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k, ctx := client(t, pool), soon(t)
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var begun sync.WaitGroup
	begun.Add(100)
	for range 100 {
		wg.Go(func() {
			once := sync.OnceFunc(begun.Done)
			for range keywords.WatchText(waiting, k, "stage", "*") {
				once()
			}
		})
		wg.Go(func() {
			_, _ = keywords.WaitFor(waiting, k, Speed, func(v float64) bool { return v > 19 })
		})
	}
	begun.Wait()
	require.Zero(t, pool.Redis().PubSubNumPat(ctx).Val())
	const channel = "kw:stage:0:changes"
	require.EqualValues(t, 1, pool.Redis().PubSubNumSub(ctx, channel).Val()[channel], "one for all of them")
	cancel()
	wg.Wait()
	require.Eventually(t, func() bool {
		return pool.Redis().PubSubNumSub(ctx, channel).Val()[channel] == 0
	}, patience, time.Millisecond, "and none without watchers")
}

// R12: each service asked Redis a thousand times a second whether there was news.
func TestRace12NoPolling(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k := client(t, pool)
	newest(t, k)
	commands := func() int {
		info := pool.Redis().InfoMap(soon(t), "stats").Val()
		n, err := strconv.Atoi(info["Stats"]["total_commands_processed"])
		require.NoError(t, err)
		return n
	}
	before := commands()
	time.Sleep(2 * time.Second)
	asked := commands() - before
	t.Logf("%d commands in 2s", asked)
	require.Less(t, asked, 200)
}

// R13: a '*' in a name matched other names.
func TestRace13GlobsInNames(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, ctx := client(t, pool), soon(t)
		for _, bad := range []string{"*", "SP*", "S?EED", "SPEE[D]", `SP\EED`, "SPEED*", "{SPEED}"} {
			require.Panics(t, func() { keywords.Define("stage", bad, keywords.Spec[int]{}) }, bad)
			require.Panics(t, func() { keywords.Define(strings.ToLower(bad), "SPEED", keywords.Spec[int]{}) }, bad)
			_, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: strings.ToLower(bad)})
			require.ErrorContains(t, err, "Service")
			_, err = keywords.ModifyText(ctx, k, "stage", bad, "3")
			require.ErrorIs(t, err, keywords.CodeUnknownKeyword, bad)
			_, err = keywords.ReadText(ctx, k, "stage", bad)
			require.ErrorIs(t, err, keywords.CodeUnknownKeyword, bad)
			_, err = keywords.ReadMany(ctx, k, "stage", "SPEED", bad)
			require.ErrorIs(t, err, keywords.CodeUnknownKeyword, bad)
			_, err = k.Keywords(ctx, strings.ToLower(bad))
			require.Error(t, err, bad)
		}
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 1.0, v.V)
	})
}
