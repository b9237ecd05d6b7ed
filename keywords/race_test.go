package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// These are the races of Cauldron's Redis backend, by their numbers.

// R1: writing the value that a keyword has hung for ever.
func TestRace01SameValueTwice(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
					if _, err := keywords.Modify(ctx, k, Note, bad); !errors.Is(err, keywords.CodeRejected) || !strings.HasSuffix(err.Error(), "refused "+bad) {
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
	t.Parallel()
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

// R4: a write without a dispatcher never returned, nor did one after a connection was cut.
func TestRace04NoDispatcher(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		k, ctx := client(t, pool), soon(t)
		_, err := keywords.Modify(ctx, k, Speed, 2)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.ModifyMany(ctx, k, Speed.To(2), ModeOf.To(Track))
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.Read(ctx, k, Speed, keywords.ReadOptions{Refresh: true})
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
	t.Parallel()
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

// R5: a watcher that read what it watched waited for itself, as did everything
// after it.
func TestRace05WatcherThatReadsAndWrites(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
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
				if _, err := keywords.Read(ctx, k, Speed, keywords.ReadOptions{Refresh: true}); err != nil {
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
