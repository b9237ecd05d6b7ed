package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// follower watches one keyword, whose revisions must rise.
type follower struct {
	last atomic.Pointer[keywords.Event[string]]
	seen atomic.Int64
}

func follow(t *testing.T, k *keywords.Client, kw keywords.Keyword[string]) *follower {
	f := &follower{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var newest keywords.Revision
		for ev, err := range keywords.Watch(ctx, k, kw) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(kw.Definition().Name, err)
				}
				return
			}
			rev := ev.Value.Rev
			order := rev.Compare(newest)
			same := order == 0 && (ev.Kind == keywords.EventStale || ev.Kind == keywords.EventDisconnected || ev.Kind == keywords.EventGood || ev.Kind == keywords.EventGone)
			if order <= 0 && !same {
				t.Errorf("%s: %v %v after %v", kw.Definition().Name, ev.Kind, rev, newest)
			}
			newest = rev
			f.last.Store(&ev)
			f.seen.Add(1)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// pressure is a changing set of writers.
type pressure struct {
	t    *testing.T
	k    *keywords.Client
	wg   sync.WaitGroup
	good atomic.Int64

	mu      sync.Mutex
	outcome map[string]int
}

// write has writers set keywords until ctx ends. They are not cut off: each has
// its answer in the end, if not before Redis has been left alone for a while.
func (p *pressure) write(ctx context.Context, round int, fields []keywords.Keyword[string]) {
	for i, kw := range fields {
		p.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				limit, cancel := context.WithTimeout(context.Background(), 3*patience)
				_, err := keywords.Modify(limit, p.k, kw, fmt.Sprintf("%d of %d in round %d", n, i, round))
				cancel()
				p.note(err)
			}
		})
	}
}

func (p *pressure) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.outcome["good"]++
		p.good.Add(1)
		return
	case errors.Is(err, keywords.ErrNoDispatcher):
		p.outcome["no dispatcher"]++
	case errors.Is(err, keywords.ErrIndeterminate):
		p.outcome["indeterminate"]++
	default:
		p.t.Error(err)
	}
	time.Sleep(time.Millisecond)
}

// Redis is killed twenty times and loses its data, and connections are cut
// at any time: the dispatcher goes on, and every watcher ends on the newest
// value.
func TestRedisLosesItsDataUnderWritesAndWatches(t *testing.T) {
	storagetest.Long(t)
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	var fields [4]keywords.Keyword[string]
	for i := range fields {
		fields[i] = keywords.Define("stage", "FIELD"+strconv.Itoa(i), keywords.Spec[string]{})
	}
	d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, func(d *keywords.Dispatcher) {
		keywords.Serve(d, Speed, keywords.Hooks[float64]{}) // never set
		for _, k := range fields {
			keywords.Serve(d, k, keywords.Hooks[string]{})
		}
	}).wait()
	var followers []*follower
	writer := client(t, pool)
	for _, kw := range fields {
		_, err := keywords.Modify(soon(t), writer, kw, "first")
		require.NoError(t, err)
	}
	for range 2 {
		k := client(t, storagetest.Open(t, srv.Config()))
		for _, kw := range fields {
			followers = append(followers, follow(t, k, kw))
		}
	}

	goroutines := runtime.NumGoroutine()
	w := &pressure{t: t, k: writer, outcome: make(map[string]int)}
	cut := func() {
		for _, kind := range []string{"pubsub", "normal"} {
			if rand.IntN(2) == 0 {
				_ = pool.Redis().Do(t.Context(), "CLIENT", "KILL", "TYPE", kind, "SKIPME", "no").Err()
			}
		}
	}
	for round := range 20 {
		ctx, stop := context.WithCancel(t.Context())
		w.write(ctx, round, fields[:])
		want := w.good.Load() + 50
		require.Eventually(t, func() bool {
			select {
			case err := <-d.ended:
				t.Fatal("the dispatcher has ended: ", err)
			default:
			}
			return w.good.Load() >= want
		}, patience, time.Millisecond, "round %d", round)
		for range 2 {
			cut()
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		srv.Restart()
		stop()
	}
	w.wg.Wait()
	t.Log(w.outcome)

	last := map[int]keywords.Value[string]{}
	for i, kw := range fields {
		require.Eventually(t, func() bool {
			_, err := keywords.Modify(soon(t), writer, kw, "last")
			return err == nil
		}, patience, 10*time.Millisecond)
		v, err := keywords.Read(soon(t), writer, kw)
		require.NoError(t, err)
		require.Equal(t, "last", v.V)
		last[i] = v
	}
	for i, f := range followers {
		want := last[i%len(fields)]
		require.Eventually(t, func() bool { ev := f.last.Load(); return ev != nil && ev.Value.Rev == want.Rev && ev.Value.V == "last" },
			patience, 10*time.Millisecond, "%v", want)
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+10 }, patience, 10*time.Millisecond)
	t.Logf("%d goroutines before, %d after", goroutines, runtime.NumGoroutine())
	v, err := keywords.Read(soon(t), writer, Speed)
	require.NoError(t, err)
	require.Equal(t, 1.0, v.V, "a value that no client sets is written again too")
	require.Equal(t, last[0].Rev.Epoch, v.Rev.Epoch)
	defs, err := writer.Keywords(soon(t), "stage")
	require.NoError(t, err)
	require.Len(t, defs, 5)
}

// Redis loses its data while no client writes: the dispatcher writes its values again by
// itself.
func TestRedisLosesItsDataWhileNothingIsWritten(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
	k := client(t, pool)
	n := newest(t, k)
	before, err := keywords.Modify(soon(t), k, Speed, 7)
	require.NoError(t, err)
	n.await(7)
	for i, forget := range []func(){
		srv.Restart,
		func() { require.NoError(t, pool.Redis().FlushDB(t.Context()).Err()) },
	} {
		forget()
		n.await(7 + float64(i))
		var v keywords.Value[float64]
		require.Eventually(t, func() bool { // its dispatcher notices within a third of the lease
			v, err = keywords.Read(soon(t), k, Speed)
			return err == nil
		}, patience, 10*time.Millisecond)
		require.Equal(t, 7+float64(i), v.V)
		require.NotEqual(t, before.Epoch, v.Rev.Epoch)
		require.Eventually(t, func() bool {
			before, err = keywords.Modify(soon(t), k, Speed, 8+float64(i))
			return err == nil
		}, patience, 10*time.Millisecond)
		n.await(8 + float64(i))
	}
}

var Focus = keywords.Define("stage", "FOCUS", keywords.Spec[int]{Dispatcher: "aux", Initial: new(5)})

func serveFocus(d *keywords.Dispatcher) { keywords.Serve(d, Focus, keywords.Hooks[int]{}) }

// A service has two dispatchers, each with keywords of its own.
func TestTwoDispatchersOfOneService(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		ctx := soon(t)
		d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
		aux := run(t, pool, keywords.DispatcherConfig{Lease: time.Second, Name: "aux"}, serveFocus).wait()
		k := client(t, pool)
		defs, err := k.Keywords(ctx, "stage")
		require.NoError(t, err)
		require.Len(t, defs, 5)
		require.Panics(t, func() {
			other, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Name: "aux"})
			require.NoError(t, err)
			serveAll(other)
		}, "the keywords of main")
		_, err = keywords.Modify(ctx, k, Focus, 6)
		require.NoError(t, err)
		_, err = keywords.Modify(ctx, k, Speed, 6)
		require.NoError(t, err)
		_, err = keywords.ModifyMany(ctx, k, Focus.To(7), Speed.To(7))
		require.ErrorContains(t, err, "another dispatcher")
		_, err = keywords.ModifyText(ctx, k, "stage", "FOCUS", "8")
		require.NoError(t, err)

		// Each numbers its own revisions, and one watcher sees both.
		events := make(chan keywords.Event[string], 100)
		watching, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			for ev, err := range keywords.WatchText(watching, k, "stage", "*") {
				if err == nil && (ev.Keyword == "FOCUS" || ev.Keyword == "SPEED") {
					events <- ev
				}
			}
		})
		defer wg.Wait()
		defer cancel()
		await := func(kind keywords.EventKind, name, text string) {
			t.Helper()
			for {
				select {
				case ev := <-events:
					if ev.Kind == kind && ev.Keyword == name && ev.Value.V == text {
						return
					}
					require.NotEqual(t, keywords.EventStale, ev.Kind, "%v", ev)
				case <-ctx.Done():
					t.Fatal("never told: ", kind, name, text)
				}
			}
		}
		await(keywords.EventInitial, "FOCUS", "8")
		_, err = keywords.Modify(ctx, k, Focus, 9)
		require.NoError(t, err)
		await(keywords.EventChange, "FOCUS", "9")
		_, err = keywords.Modify(ctx, k, Speed, 9)
		require.NoError(t, err)
		await(keywords.EventChange, "SPEED", "9")

		// The end of one is not the end of the other.
		aux.stop()
		require.NoError(t, <-aux.ended)
		await(keywords.EventStale, "FOCUS", "9")
		_, err = keywords.Modify(ctx, k, Focus, 10)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.Modify(ctx, k, Speed, 10)
		require.NoError(t, err)
		await(keywords.EventChange, "SPEED", "10")

		// A second of the same name waits, or is refused.
		refused := run(t, pool, keywords.DispatcherConfig{Refuse: true}, nil)
		require.ErrorIs(t, <-refused.ended, keywords.ErrServed)
		second := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil)
		select {
		case <-second.Ready():
			t.Fatal("two of them are ready")
		case <-time.After(1500 * time.Millisecond): // more than a lease
		}
		d.stop()
		require.NoError(t, <-d.ended)
		second.wait()
		_, err = keywords.Modify(ctx, k, Speed, 11)
		require.NoError(t, err)
		defs, err = k.Keywords(ctx, "stage")
		require.NoError(t, err)
		require.Len(t, defs, 5, "those of aux are still defined")
		v, err := keywords.Read(ctx, k, Focus)
		require.NoError(t, err)
		require.Equal(t, 9, v.V)
		require.Equal(t, keywords.QualityStale, v.Quality)
	})
}
