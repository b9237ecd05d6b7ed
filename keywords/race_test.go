package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// These are the races of Cauldron's Redis backend, by their numbers: R7 and R8
// are of keyspace notifications, and are tested with them.

// soon bounds a test of what must not hang.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// R1: writing the value that a keyword has hung for ever.
func TestRace01SameValueTwice(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		written := 0
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, ModeOf, keywords.Hooks[Mode]{})
			keywords.Serve(d, Speed, keywords.Hooks[float64]{
				Prewrite: func(_ context.Context, old keywords.Value[float64], v float64) error {
					if old.V == v {
						return fmt.Errorf("it is there: %w", keywords.ErrNoWriteNecessary)
					}
					return nil
				},
				Write: func(context.Context, float64) error { written++; return nil },
			})
		}).wait()
		k, ctx := client(t, pool), soon(t)
		var last keywords.Revision
		for i, v := range []float64{2, 3, 3, 3, 2} {
			rev, err := keywords.Modify(ctx, k, Speed, v)
			require.NoError(t, err)
			if i == 2 || i == 3 {
				require.Equal(t, last, rev, "no write was necessary")
			} else {
				require.Greater(t, rev.N, last.N)
			}
			last = rev
		}
		require.Equal(t, 3, written)
		// Without such a hook it is a write as any other.
		first, err := keywords.Modify(ctx, k, ModeOf, Track)
		require.NoError(t, err)
		second, err := keywords.Modify(ctx, k, ModeOf, Track)
		require.NoError(t, err)
		require.Equal(t, first.N+1, second.N)
		// All or nothing, of which nothing is necessary.
		rev, err := keywords.ModifyMany(ctx, k, Speed.To(2))
		require.NoError(t, err)
		require.Equal(t, last, rev)
	})
}

// R2: a writer was told of the end of another's write, and of its error.
func TestRace02CompletionOfAnother(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Note, keywords.Hooks[string]{Write: func(_ context.Context, v string) error {
				if strings.HasPrefix(v, "bad") {
					return errors.New("refused " + v)
				}
				return nil
			}})
		}).wait()
		ctx := soon(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		wrote := map[keywords.Revision]string{}
		for i := range 8 {
			k := client(t, pool)
			wg.Go(func() {
				for j := range 25 {
					good, bad := fmt.Sprintf("good %d %d", i, j), fmt.Sprintf("bad %d %d", i, j)
					if _, err := keywords.Modify(ctx, k, Note, bad); !errors.Is(err, keywords.ErrRejected) || !strings.HasSuffix(err.Error(), "refused "+bad) {
						t.Error(bad, err)
					}
					rev, err := keywords.Modify(ctx, k, Note, good)
					if err != nil {
						t.Error(good, err)
					}
					mu.Lock()
					wrote[rev] = good
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, wrote, 200, "each has a revision of its own")
		v, err := keywords.Read(ctx, client(t, pool), Note)
		require.NoError(t, err)
		require.Equal(t, wrote[v.Rev], v.V)
	})
}

// R3: a client that gave up, or got an error, set the dispatcher's status.
func TestRace03WriterThatGivesUp(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		entered, leave := make(chan struct{}), make(chan struct{})
		run(t, pool, keywords.DispatcherConfig{Status: "STATUS"}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{
				Check: func(_ context.Context, v float64) error {
					if v == 13 {
						return errors.New("not that one")
					}
					return nil
				},
				Write: func(context.Context, float64) error {
					entered <- struct{}{}
					<-leave
					return nil
				},
			})
		}).wait()
		k, ctx := client(t, pool), soon(t)
		before, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		same := func() {
			t.Helper()
			v, err := keywords.Read(ctx, k, Speed)
			require.NoError(t, err)
			require.Equal(t, before, v)
			status, err := keywords.ReadText(ctx, k, "stage", "STATUS")
			require.NoError(t, err)
			require.Equal(t, "ready", status.V)
		}
		for _, bad := range []float64{-1, 13, 21} {
			_, err = keywords.Modify(ctx, k, Speed, bad)
			require.Error(t, err)
			same()
		}
		impatient, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			_, err := keywords.Modify(impatient, k, Speed, 4)
			ended <- err
		}()
		<-entered
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		same()
		// What goes on goes on, and the next one is not taken for it.
		close(leave)
		go func() {
			_, err := keywords.Modify(ctx, k, Speed, 5)
			ended <- err
		}()
		<-entered
		require.NoError(t, <-ended)
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 5.0, v.V)
	})
}

// R4: a write to nobody never returned, nor did one after a connection was cut.
func TestRace04NobodyThere(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		k, ctx := client(t, pool), soon(t)
		_, err := keywords.Modify(ctx, k, Speed, 2)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.ModifyMany(ctx, k, Speed.To(2), ModeOf.To(Track))
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.Refresh(ctx, k, Speed)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)

		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		_, err = keywords.Modify(ctx, k, Speed, 2)
		require.NoError(t, err)
		d.stop()
		require.NoError(t, <-d.ended)
		_, err = keywords.Modify(ctx, k, Speed, 3)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 2.0, v.V, "what was not carried out is not carried out later")
	})
}

func TestRace04ConnectionsCut(t *testing.T) {
	srv := storagetest.Start(t)
	pool, admin := storagetest.Open(t, srv.Config()), storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k, ctx := client(t, pool), soon(t)
	n := newest(t, k)
	for i := range 10 {
		for _, kind := range []string{"pubsub", "normal"} {
			require.NoError(t, admin.Redis().Do(ctx, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes").Err())
		}
		v := float64(i + 1)
		require.Eventually(t, func() bool {
			_, err := keywords.Modify(ctx, k, Speed, v)
			return err == nil
		}, patience, time.Millisecond)
		n.await(v)
	}
}

// newest follows SPEED.
type newestSpeed struct {
	t    *testing.T
	seen chan float64
}

func newest(t *testing.T, k *keywords.Client) *newestSpeed {
	n := &newestSpeed{t, make(chan float64, 10_000)}
	ctx, cancel := context.WithCancel(context.Background())
	done, begun := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(done)
		var last keywords.Value[float64]
		for ev, err := range keywords.Watch(ctx, k, Speed) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			if ev.Kind == keywords.StaleEvent || ev.Kind == keywords.Gone {
				continue // of the value that was told before
			}
			if ev.Value.Rev.Epoch == last.Rev.Epoch && ev.Value.Rev.N <= last.Rev.N {
				t.Errorf("%v %v after %v", ev.Kind, ev.Value, last)
			}
			last = ev.Value
			first()
			n.seen <- ev.Value.V
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-begun:
	case <-done:
		t.FailNow()
	}
	return n
}

// await waits until the watcher has been told a value.
func (n *newestSpeed) await(want float64) {
	n.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case v := <-n.seen:
			if v == want {
				return
			}
		case <-timeout:
			n.t.Fatal("the watcher was never told ", want)
		}
	}
}

// R5: a watcher that read what it watched waited for itself, as did everything
// after it.
func TestRace05WatcherThatReadsAndWrites(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var d *running
		d = run(t, pool, keywords.DispatcherConfig{}, func(disp *keywords.Dispatcher) {
			keywords.Serve(disp, Count, keywords.Hooks[int]{})
			keywords.Serve(disp, Note, keywords.Hooks[string]{})
			keywords.Serve(disp, Speed, keywords.Hooks[float64]{Postwrite: func(ctx context.Context, v float64) error {
				if v == 2 {
					time.Sleep(300 * time.Millisecond)
				}
				// A hook sets another keyword, and waits until that is committed.
				return keywords.Set(ctx, d.Dispatcher, Count, int(v))
			}})
		})
		d.wait()
		k, ctx := client(t, pool), soon(t)
		told, written := make(chan float64), make(chan error, 1)
		go func() {
			for ev, err := range keywords.Watch(ctx, k, Speed) {
				if err != nil {
					return
				}
				v, err := keywords.Read(ctx, k, Speed)
				if err != nil || v.Rev.N < ev.Value.Rev.N {
					t.Error("read", v, ev.Value, err)
				}
				if _, err := keywords.Refresh(ctx, k, Speed); err != nil {
					t.Error("refresh", err)
				}
				if _, err := keywords.Modify(ctx, k, Note, ev.Value.Rev.String()); err != nil {
					t.Error("modify", err)
				}
				select {
				case told <- ev.Value.V:
				case <-ctx.Done():
					return
				}
			}
		}()
		require.Equal(t, 1.0, <-told)
		go func() {
			for i := range 19 { // back to back, the first with a slow hook
				if _, err := keywords.Modify(ctx, k, Speed, float64(i+2)); err != nil {
					written <- err
					return
				}
			}
			written <- nil
		}()
		for v := range until(ctx, told) {
			if v == 20 {
				break
			}
		}
		require.NoError(t, ctx.Err())
		require.NoError(t, <-written)
		require.Eventually(t, func() bool {
			n, err := keywords.Read(ctx, k, Count)
			return err == nil && n.V == 20
		}, patience, time.Millisecond)
	})
}

// until yields what a channel brings until ctx ends.
func until[T any](ctx context.Context, ch <-chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for {
			select {
			case v := <-ch:
				if !yield(v) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// R6: two dispatchers could both pass the check that there is none, one that
// crashed was never forgotten, and one that ended unregistered its successor.
func TestRace06TwoDispatchersAtOnce(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
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
		// It was taken over: what it says when it ends is not about its successor.
		d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
		owner, err := pool.Key("kw", storage.HashTag("stage"), "own", "main")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().Set(ctx, owner, "99:another", 0).Err())
		require.ErrorIs(t, <-d.ended, keywords.ErrFenced)
		require.Equal(t, "99:another", pool.Redis().Get(ctx, owner).Val())
		require.NoError(t, pool.Redis().Del(ctx, owner).Err())
		run(t, pool, keywords.DispatcherConfig{Refuse: true}, nil).wait()
	})
}

// R9: the flags of the server's notifications were overwritten.
func TestRace09FlagsOfTheServer(t *testing.T) {
	srv := storagetest.Start(t, "--notify-keyspace-events", "Elz")
	pool := storagetest.Open(t, srv.Config())
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
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
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
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

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// R11: each keyword and each wait cost the server a pattern, and with it every
// command of everybody.
func TestRace11NoPatterns(t *testing.T) {
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
	}, patience, time.Millisecond, "and none for nobody")
}

// R12: each service asked Redis a thousand times a second whether there was news.
func TestRace12NoPolling(t *testing.T) {
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
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k, ctx := client(t, pool), soon(t)
		for _, bad := range []string{"*", "SP*", "S?EED", "SPEE[D]", `SP\EED`, "SPEED*", "{SPEED}"} {
			require.Panics(t, func() { keywords.Define("stage", bad, keywords.Spec[int]{}) }, bad)
			require.Panics(t, func() { keywords.Define(strings.ToLower(bad), "SPEED", keywords.Spec[int]{}) }, bad)
			_, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: strings.ToLower(bad)})
			require.ErrorContains(t, err, "Service")
			_, err = keywords.ModifyText(ctx, k, "stage", bad, "3")
			require.ErrorIs(t, err, keywords.ErrUnknownKeyword, bad)
			_, err = keywords.ReadText(ctx, k, "stage", bad)
			require.ErrorIs(t, err, keywords.ErrUnknownKeyword, bad)
			_, err = keywords.ReadMany(ctx, k, "stage", "SPEED", bad)
			require.ErrorIs(t, err, keywords.ErrUnknownKeyword, bad)
			_, err = k.Keywords(ctx, strings.ToLower(bad))
			require.Error(t, err, bad)
		}
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 1.0, v.V)
	})
}
