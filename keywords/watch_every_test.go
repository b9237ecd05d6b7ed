package keywords_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// logged returns a keyword that keeps its last values, and what serves it.
func logged(history int) (keywords.Keyword[int], func(*keywords.Dispatcher)) {
	kw := keywords.Define("stage", "LOGGED", keywords.Spec[int]{History: history, Persist: true})
	return kw, func(d *keywords.Dispatcher) {
		keywords.Serve(d, kw, keywords.Hooks[int]{})
		serveAll(d)
	}
}

func every(from keywords.Revision) keywords.WatchOptions {
	return keywords.WatchOptions{Every: true, From: from}
}

// modify sets a keyword to the numbers from first to last, and returns the revision of the
// last.
func modify(t *testing.T, k *keywords.Client, kw keywords.Keyword[int], first, last int) (rev keywords.Revision) {
	t.Helper()
	for i := first; i <= last; i++ {
		var err error
		rev, err = keywords.Modify(soon(t), k, kw, i)
		require.NoError(t, err)
	}
	return rev
}

func TestEveryChangeOutOfTheHistory(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(1000)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, ctx := client(t, pool), soon(t)
		_, err := keywords.Modify(ctx, k, kw, 0)
		require.NoError(t, err)

		next := watched(t, keywords.Watch(ctx, k, kw, keywords.WatchOptions{Every: true, Queue: 4 << 10}))
		first := next(keywords.EventInitial)
		require.Equal(t, 0, first.Value.V)
		require.Nil(t, first.Prev)
		modify(t, k, kw, 1, 300) // while the loop waits
		var middle, last keywords.Event[int]
		for i := 1; i <= 300; i++ {
			last = next(keywords.EventChange)
			require.Equal(t, i, last.Value.V)
			require.Equal(t, i-1, last.Prev.V)
			require.NotEmpty(t, last.Value.Source)
			if i == 150 {
				middle = last
			}
		}
		modify(t, k, kw, 301, 310)
		for i := 301; i <= 310; i++ {
			require.Equal(t, i, next(keywords.EventChange).Value.V)
		}
		require.Positive(t, k.Stats().Overflows)
		require.Zero(t, k.Stats().Gaps)

		// From a revision on, by name and from the begin.
		text := watched(t, keywords.WatchText(ctx, k, "stage", "LOGGED", every(middle.Value.Rev)))
		for i := 151; i <= 310; i++ {
			require.Equal(t, fmt.Sprint(i), text(keywords.EventChange).Value.V)
		}
		all := watched(t, keywords.Watch(ctx, k, kw, every(keywords.Revision{N: 1})))
		for i := range 311 {
			require.Equal(t, i, all(keywords.EventChange).Value.V)
		}
	})
}

// The history has lost what the archive asks for: the gap comes first, and is exact.
func TestAGapIsToldExactly(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(3)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, ctx := client(t, pool), soon(t)
		from := modify(t, k, kw, 1, 5)
		modify(t, k, kw, 6, 500) // Redis keeps some more than three
		kept, err := keywords.History(ctx, k, "stage", "LOGGED", 3)
		require.NoError(t, err)
		require.Len(t, kept, 3)

		next := watched(t, keywords.Watch(ctx, k, kw, every(from)))
		gap := next(keywords.EventGap)
		require.Equal(t, from, gap.Gap.After)
		require.Equal(t, from, gap.Value.Rev)
		require.Equal(t, int64(1), k.Stats().Gaps)
		ev := next(keywords.EventChange)
		require.Equal(t, gap.Gap.Before, ev.Value.Rev)
		for i := ev.Value.V + 1; i <= 500; i++ {
			ev = next(keywords.EventChange)
			require.Equal(t, i, ev.Value.V)
		}
		require.Equal(t, kept[0].Rev, ev.Value.Rev)
		require.Equal(t, "values after "+from.String()+" and before "+gap.Gap.Before.String(), gap.Gap.String())
	})
}

func TestEveryChangeNeedsAHistory(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(10)
		d := run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, ctx := client(t, pool), soon(t)
		rev := modify(t, k, kw, 1, 1)
		refused := func(want, pattern string, o keywords.WatchOptions) {
			t.Helper()
			for _, err := range keywords.WatchText(ctx, k, "stage", pattern, o) {
				require.EqualError(t, err, "keywords: "+want)
			}
		}
		refused("stage.SPEED: WatchOptions.Every needs a history, and Spec.History of the keyword is 0", "SPEED", every(keywords.Revision{}))
		refused("stage.SPEED: WatchOptions.Every needs a history, and Spec.History of the keyword is 0", "S*", every(keywords.Revision{}))
		refused("stage.SPEED: WatchOptions.Every needs a history, and Spec.History of the keyword is 0", "LOGGED,SPEED", every(keywords.Revision{}))
		refused("WatchOptions.From: "+rev.String()+" is of one keyword: watch each by itself", "L*", every(rev))
		refused("WatchOptions.From: "+rev.String()+" without Every", "LOGGED", keywords.WatchOptions{From: rev})
		refused("WatchOptions.Queue: 5 without Every", "LOGGED", keywords.WatchOptions{Queue: 5})
		refused("WatchOptions.Queue: -1 is negative", "LOGGED", keywords.WatchOptions{Every: true, Queue: -1})
		refused("WatchOptions.MinInterval: 1s with Every", "LOGGED", keywords.WatchOptions{Every: true, MinInterval: time.Second})
		refused("WatchOptions.DeadBand: 1 with Every", "LOGGED", keywords.WatchOptions{Every: true, DeadBand: 1})

		// A glob leaves out what keeps no history, and a watch ends if its keyword keeps none any more.
		next, stop := iter.Pull2(keywords.WatchText(ctx, k, "stage", "*", every(keywords.Revision{})))
		defer stop()
		ev, err, _ := next()
		require.NoError(t, err)
		require.Equal(t, "LOGGED", ev.Keyword)
		_, err = keywords.Modify(ctx, k, Speed, 3)
		require.NoError(t, err)
		modify(t, k, kw, 2, 2)
		ev, err, _ = next()
		require.NoError(t, err)
		require.Equal(t, "2", ev.Value.V)
		d.stop()
		require.NoError(t, <-d.ended)
		_, serve = logged(0)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		for err == nil {
			ev, err, _ = next()
		}
		require.EqualError(t, err, "keywords: stage.LOGGED: its dispatcher keeps no history any more, which WatchOptions.Every needs")
		stop()
		require.Zero(t, k.Stats().Watchers)
	})
}

// A loop that ends early leaves nothing behind, whatever waits.
func TestAnArchiverThatEndsFreesAll(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(1000)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k := client(t, pool)
		modify(t, k, kw, 1, 100)
		for range keywords.Watch(t.Context(), k, kw, every(keywords.Revision{N: 1})) {
			modify(t, k, kw, 101, 110)
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, err := range keywords.Watch(ctx, k, kw, every(keywords.Revision{N: 1})) {
			cancel()
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		stats := k.Stats()
		require.Zero(t, stats.Watchers)
		require.Zero(t, stats.Services)
		for _, err := range keywords.Watch(t.Context(), k, kw, every(keywords.Revision{N: 1})) {
			if err != nil {
				require.ErrorIs(t, err, keywords.ErrClosed)
			} else {
				require.NoError(t, k.Close())
			}
		}
	})
}

// A watch that is cut off says so, and yields afterwards what was set meanwhile.
func TestAnArchiverThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		kw, serve := logged(1000)
		d := run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, other := client(t, wire.pool(t)), client(t, pool)
		modify(t, other, kw, 1, 1)
		next := watched(t, keywords.Watch(soon(t), k, kw, every(keywords.Revision{})))
		require.Equal(t, 1, next(keywords.EventInitial).Value.V)
		wire.pull()
		ev := next(keywords.EventDisconnected)
		require.Equal(t, keywords.QualityDisconnected, ev.Value.Quality)
		require.Equal(t, 1, ev.Value.V)
		modify(t, other, kw, 2, 50)
		wire.plug()
		for i := 2; i <= 50; i++ {
			ev := next(keywords.EventChange)
			require.Equal(t, i, ev.Value.V)
			require.Equal(t, keywords.QualityGood, ev.Value.Quality)
		}
		d.stop()
		require.NoError(t, <-d.ended)
		ev = next(keywords.EventStale)
		require.Equal(t, 50, ev.Value.V)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		last := next(keywords.EventGood)
		require.Equal(t, ev.Value.Rev, last.Value.Rev, "the revision of the line, not that of the value which was committed again")
		modify(t, other, kw, 51, 51)
		require.Equal(t, 51, next(keywords.EventChange).Value.V)
		require.Zero(t, k.Stats().Gaps)
	})
}

// Redis loses everything, or comes back with an older snapshot, while the archiver is
// away: what is lost is told as soon as the dispatcher has written its values again.
func TestAnArchiverLearnsWhatRedisHasLost(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(1000)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, ctx := client(t, pool), soon(t)
		n := 0
		for _, lose := range []func(restore func()){
			func(restore func()) { restore() },
			func(func()) { require.NoError(t, pool.Redis().FlushDB(ctx).Err()) },
		} {
			from := modify(t, k, kw, n+1, n+3)
			restore := snap(t, pool)
			lost := modify(t, k, kw, n+4, n+6)
			lose(restore)
			time.Sleep(2 * time.Second) // a third of the lease, and its commit

			late := watched(t, keywords.Watch(ctx, k, kw, every(from)))
			gap := late(keywords.EventGap)
			require.Equal(t, from, gap.Gap.After)
			ev := late(keywords.EventChange)
			require.Equal(t, n+6, ev.Value.V)
			require.Equal(t, gap.Gap.Before, ev.Value.Rev)
			require.Positive(t, ev.Value.Rev.Compare(lost))

			// One that had seen them all misses nothing.
			whole := watched(t, keywords.Watch(ctx, k, kw, every(lost)))
			require.Equal(t, n+6, whole(keywords.EventChange).Value.V)
			modify(t, k, kw, n+7, n+7)
			require.Equal(t, n+7, whole(keywords.EventChange).Value.V)
			require.Equal(t, n+7, late(keywords.EventChange).Value.V)
			n += 7
		}
	})
}

// A keyword that gets a history while it has a value begins it with that value.
func TestAHistoryBeginsWithTheValue(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		kw, serve := logged(0)
		d := run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		k, ctx := client(t, pool), soon(t)
		modify(t, k, kw, 1, 7)
		d.stop()
		require.NoError(t, <-d.ended)
		_, serve = logged(10)
		run(t, pool, keywords.DispatcherConfig{}, serve).wait()
		past, err := keywords.History(ctx, k, "stage", "LOGGED", 10)
		require.NoError(t, err)
		require.Len(t, past, 1)
		require.Equal(t, "7", past[0].V)
		v, err := keywords.Read(ctx, k, kw)
		require.NoError(t, err)
		require.Equal(t, v.Rev, past[0].Rev)
		next := watched(t, keywords.Watch(ctx, k, kw, every(v.Rev)))
		modify(t, k, kw, 8, 8)
		require.Equal(t, 8, next(keywords.EventChange).Value.V)
	})
}

// Keywords that do not broadcast are read out of their history too.
func TestEveryChangeOfAKeywordThatDoesNotBroadcast(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		quiet := keywords.Define("stage", "QUIET", keywords.Spec[int]{NoBroadcast: true, History: 100})
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) { keywords.Serve(d, quiet, keywords.Hooks[int]{}) }).wait()
		k := client(t, pool)
		modify(t, k, quiet, 1, 1)
		next := watched(t, keywords.Watch(soon(t), k, quiet, every(keywords.Revision{})))
		require.Equal(t, 1, next(keywords.EventInitial).Value.V)
		modify(t, k, quiet, 2, 20)
		for i := 2; i <= 20; i++ {
			require.Equal(t, i, next(keywords.EventChange).Value.V)
		}
	})
}
