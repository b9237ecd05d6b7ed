package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var (
	Target = keywords.Define("stage", "TARGET", keywords.Spec[float64]{Units: "mm", Min: new(0.0), Max: new(100.0), Initial: new(0.0)})
	At     = keywords.Define("stage", "AT", keywords.Spec[float64]{ReadOnly: true, Initial: new(0.0)})
	Stop   = keywords.Define("stage", "STOP", keywords.Spec[bool]{Initial: new(false)})
)

// slide is a stage that moves at 1 mm/s and takes a while to stop.
type slide struct {
	d       *keywords.Dispatcher
	brake   time.Duration
	running atomic.Int32

	mu    sync.Mutex
	at    float64
	moves []string // how each has ended
}

func (s *slide) where() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// ended returns how each move has ended.
func (s *slide) ended() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.moves)
}

func (s *slide) end(m *keywords.Moving[float64], how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moves = append(s.moves, fmt.Sprintf("%d %s at %v", m.ID, how, s.at))
}

// step moves one step towards the target and returns where the slide is then.
func (s *slide) step(target float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at += math.Copysign(1, target-s.at)
	return s.at
}

func (s *slide) move(ctx context.Context, m *keywords.Moving[float64]) error {
	if s.running.Add(1) > 1 {
		panic("two moves at once")
	}
	defer s.running.Add(-1)
	from := s.where()
	for at := from; at != m.Target; {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			time.Sleep(s.brake)
			s.end(m, "stopped")
			return context.Cause(ctx)
		}
		at = s.step(m.Target)
		_ = keywords.Set(ctx, s.d, At, at)
		_ = m.Progress((at-from)/(m.Target-from), fmt.Sprintf("at %v", at))
	}
	s.end(m, "arrived")
	return nil
}

// serve gives a dispatcher the slide's keywords; more changes the hooks of TARGET.
func (s *slide) serve(more func(*keywords.Hooks[float64])) func(*keywords.Dispatcher) {
	return func(d *keywords.Dispatcher) {
		s.d = d
		h := keywords.Hooks[float64]{Move: s.move}
		if more != nil {
			more(&h)
		}
		keywords.Serve(d, Target, h)
		keywords.Serve(d, At, keywords.Hooks[float64]{})
		keywords.Serve(d, Stop, keywords.Hooks[bool]{Write: func(ctx context.Context, on bool) error {
			return keywords.Abort(ctx, d, Target, "stopped")
		}})
		serveAll(d)
	}
}

// moveTo modifies TARGET in the background.
func moveTo(t *testing.T, k *keywords.Client, to float64, opts ...keywords.ModifyOptions) (outcome chan error) {
	outcome = make(chan error, 1)
	go func() {
		_, err := keywords.Modify(context.Background(), k, Target, to, opts...)
		outcome <- err
	}()
	return outcome
}

// lasting returns a client whose calls end with their contexts only.
func lasting(t *testing.T, pool *storage.Pool) *keywords.Client {
	k, err := keywords.NewClient(pool, keywords.ClientConfig{Timeout: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

func moveOf(t *testing.T, k *keywords.Client) keywords.Move {
	t.Helper()
	v, err := keywords.ReadMove(t.Context(), k, Target)
	require.NoError(t, err)
	return v.V
}

func targetOf(t *testing.T, k *keywords.Client) float64 {
	t.Helper()
	v, err := keywords.Read(t.Context(), k, Target)
	require.NoError(t, err)
	return v.V
}

func TestOtherKeywordsAreModifiedWhileOneMoves(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k, s := t.Context(), lasting(t, pool), &slide{}
		d := run(t, pool, keywords.DispatcherConfig{}, s.serve(nil)).wait()
		require.Equal(t, keywords.Move{}, moveOf(t, k))

		begun := time.Now()
		var rev keywords.Revision
		moved := make(chan error, 1)
		go func() {
			var err error
			rev, err = keywords.Modify(ctx, k, Target, 60)
			moved <- err
		}()
		time.Sleep(30*time.Second + 500*time.Millisecond)
		asked := time.Now()
		_, err := keywords.Modify(ctx, k, Speed, 5)
		require.NoError(t, err)
		require.Less(t, time.Since(asked), time.Second)
		require.Equal(t, keywords.Move{ID: 1, State: keywords.MoveRunning, Target: "60", Progress: 0.5, Text: "at 30"}, moveOf(t, k))
		require.Equal(t, 0.0, targetOf(t, k), "the target is committed on arrival")
		require.Equal(t, 1, d.Stats().Moves)
		next := watched(t, keywords.WatchMove(ctx, k, Target))
		require.Equal(t, keywords.MoveRunning, next(keywords.EventInitial).Value.V.State, "a watcher that joins sees it")
		require.Equal(t, "at 31", next(keywords.EventChange).Value.V.Text)

		require.NoError(t, <-moved)
		require.InDelta(t, 60, time.Since(begun).Seconds(), 2)
		v, err := keywords.Read(ctx, k, Target)
		require.NoError(t, err)
		require.Equal(t, 60.0, v.V)
		require.Equal(t, rev, v.Rev)
		require.NotEmpty(t, v.Source)
		require.Equal(t, keywords.Move{ID: 1, State: keywords.MoveDone, Target: "60", Progress: 1, Text: "at 60"}, moveOf(t, k))
		require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.TARGET_MOVE[1] == done and $stage.TARGET == 60"))
		require.Zero(t, d.Stats().Moves)
	})
}

func TestAModifyOfAnotherKeywordAbortsAMove(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k, s := t.Context(), client(t, pool), &slide{brake: 3 * time.Second}
		run(t, pool, keywords.DispatcherConfig{}, s.serve(nil)).wait()
		_, err := keywords.Modify(ctx, k, Stop, true)
		require.NoError(t, err, "nothing moves")
		moved := moveTo(t, k, 60)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		_, err = keywords.Modify(ctx, k, Stop, true)
		require.NoError(t, err)
		require.Equal(t, []string{"1 stopped at 10"}, s.ended(), "it returns once the stage rests")
		err = <-moved
		require.EqualError(t, err, "keywords: stage.TARGET: aborted: stopped")
		require.ErrorIs(t, err, keywords.CodeAborted)
		require.Equal(t, 0.0, targetOf(t, k))
		require.Equal(t, keywords.Move{ID: 1, State: keywords.MoveAborted, Target: "60", Progress: 1.0 / 6, Text: "stopped"}, moveOf(t, k))

		require.NoError(t, <-moveTo(t, k, 12))
		require.Equal(t, int64(2), moveOf(t, k).ID)
	})
}

func TestAKeywordThatMovesIsBusyOrSuperseded(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		k, s := client(t, pool), &slide{brake: 3 * time.Second}
		d := run(t, pool, keywords.DispatcherConfig{}, s.serve(nil)).wait()
		moved := moveTo(t, k, 20)
		time.Sleep(5*time.Second + 500*time.Millisecond)
		err := <-moveTo(t, k, 3)
		require.EqualError(t, err, "keywords: stage.TARGET: busy: it moves to 20")
		require.ErrorIs(t, err, keywords.CodeBusy)
		require.NoError(t, <-moved)
		d.stop()
		require.NoError(t, <-d.ended)

		run(t, pool, keywords.DispatcherConfig{}, s.serve(func(h *keywords.Hooks[float64]) { h.Supersede = true })).wait()
		first := moveTo(t, k, 40)
		time.Sleep(5*time.Second + 500*time.Millisecond)
		second := moveTo(t, k, 50)
		time.Sleep(time.Second)
		third := moveTo(t, k, 10)
		require.EqualError(t, <-second, "keywords: stage.TARGET: aborted: superseded by a modify to 10", "it was not begun, and is answered at once")
		require.Equal(t, keywords.MoveRunning, moveOf(t, k).State)
		require.EqualError(t, <-first, "keywords: stage.TARGET: aborted: superseded by a modify to 50")
		require.NoError(t, <-third)
		require.Equal(t, []string{"1 arrived at 20", "2 stopped at 25", "3 arrived at 10"}, s.ended())

		refused := moveTo(t, k, 30)
		time.Sleep(time.Second)
		require.ErrorIs(t, <-moveTo(t, k, 200), keywords.CodeRange)
		require.NoError(t, <-refused, "a value that is refused supersedes no move")
	})
}

// A move that was aborted while it waited leaves the keyword to the one before it, which
// still stops.
func TestAMoveWaitsForTheHookOfAnAbortedOne(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		k, s := client(t, pool), &slide{brake: 10 * time.Second}
		run(t, pool, keywords.DispatcherConfig{}, s.serve(func(h *keywords.Hooks[float64]) { h.Supersede = true })).wait()
		first := moveTo(t, k, 40)
		time.Sleep(3*time.Second + 500*time.Millisecond)
		second := moveTo(t, k, 50)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, keywords.Abort(ctx, s.d, Target, "stopped"), context.DeadlineExceeded)
		require.EqualError(t, <-second, "keywords: stage.TARGET: aborted: stopped")
		require.NoError(t, <-moveTo(t, k, 5))
		require.EqualError(t, <-first, "keywords: stage.TARGET: aborted: superseded by a modify to 50")
		require.Equal(t, []string{"1 stopped at 3", "2 arrived at 5"}, s.ended())
	})
}

func TestAWriterThatGivesUpDoesNotEndItsMove(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		k, s := client(t, pool), &slide{}
		run(t, pool, keywords.DispatcherConfig{}, s.serve(nil)).wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := keywords.Modify(ctx, k, Target, 20)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		_, err = keywords.Modify(ctx, k, Target, 30)
		require.ErrorIs(t, err, context.Canceled)
		time.Sleep(20 * time.Second)
		require.Equal(t, keywords.MoveDone, moveOf(t, k).State)
		require.Equal(t, 20.0, targetOf(t, k))
	})
}

// A dispatcher that can't reach Redis has ended its moves before another one may move
// the same hardware, and the other one shows that they have ended.
func TestAMoveEndsWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		k, s, successor := lasting(t, pool), &slide{}, &slide{}
		d := run(t, wire.pool(t), keywords.DispatcherConfig{}, s.serve(nil)).wait()
		moved := moveTo(t, k, 60)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		standby := run(t, pool, keywords.DispatcherConfig{}, successor.serve(nil))
		next := watched(t, keywords.WatchMove(t.Context(), k, Target))
		require.Equal(t, keywords.MoveRunning, next(keywords.EventInitial).Value.V.State)
		wire.pull()
		standby.wait()
		require.Len(t, s.ended(), 1)
		require.ErrorIs(t, <-moved, keywords.ErrIndeterminate)
		require.Equal(t, keywords.Move{ID: 1, State: keywords.MoveAborted, Target: "60", Progress: 1.0 / 6, Text: "the dispatcher died"}, moveOf(t, k))
		require.NoError(t, <-moveTo(t, k, 2))
		require.Equal(t, []string{"2 arrived at 2"}, successor.moves)
		wire.plug()
		require.ErrorIs(t, <-d.ended, keywords.CodeFenced)
	})
}

// The lease ends, and the same dispatcher renews it: the move has ended nevertheless.
func TestAnOutageEndsAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		k, s := lasting(t, storagetest.Open(t, network.Config())), &slide{}
		run(t, wire.pool(t), keywords.DispatcherConfig{}, s.serve(nil)).wait()
		moved := moveTo(t, k, 60)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		wire.pull()
		time.Sleep(20 * time.Second)
		require.Len(t, s.ended(), 1, "it has stopped")
		wire.plug()
		require.ErrorIs(t, <-moved, keywords.ErrIndeterminate)
		time.Sleep(10 * time.Second)
		m := moveOf(t, k)
		require.Equal(t, keywords.MoveAborted, m.State)
		require.Equal(t, "the lease of the dispatcher has ended", m.Text)
		require.NoError(t, <-moveTo(t, k, s.where()+1))
	})
}

func TestADispatcherThatEndsWaitsForAMove(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		k, s := client(t, pool), &slide{}
		d := run(t, pool, keywords.DispatcherConfig{}, s.serve(nil)).wait()
		moved := moveTo(t, k, 8)
		time.Sleep(time.Second)
		d.stop()
		require.NoError(t, <-moved, "it arrives within Drain")
		require.NoError(t, <-d.ended)

		d = run(t, pool, keywords.DispatcherConfig{Drain: 4 * time.Second}, s.serve(nil)).wait()
		moved = moveTo(t, k, 60)
		time.Sleep(time.Second)
		d.stop()
		require.EqualError(t, <-moved, "keywords: stage.TARGET: aborted: the dispatcher ends")
		require.NoError(t, <-d.ended)
		require.Equal(t, keywords.MoveAborted, moveOf(t, k).State)
		require.Len(t, s.ended(), 2)
	})
}

// While it is not known where the hardware is, Prewrite can't say that it is there.
func TestNoWriteNecessaryTakesAMoveThatHasArrived(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k, s := t.Context(), client(t, pool), &slide{}
		run(t, pool, keywords.DispatcherConfig{}, s.serve(func(h *keywords.Hooks[float64]) {
			h.Supersede = true
			h.Prewrite = func(_ context.Context, old keywords.Value[float64], v float64) error {
				if old.V == v {
					return keywords.ErrNoWriteNecessary
				}
				return nil
			}
		})).wait()
		rev, err := keywords.Modify(ctx, k, Target, 5)
		require.NoError(t, err)
		again, err := keywords.Modify(ctx, k, Target, 5)
		require.NoError(t, err)
		require.Equal(t, rev, again)

		moved := moveTo(t, k, 20)
		time.Sleep(3 * time.Second)
		require.NoError(t, <-moveTo(t, k, 5), "it moves back")
		require.ErrorIs(t, <-moved, keywords.CodeAborted)
		require.Equal(t, 5.0, s.where())
		moved = moveTo(t, k, 20)
		time.Sleep(3 * time.Second)
		require.NoError(t, keywords.Abort(ctx, s.d, Target, "stopped"))
		require.ErrorIs(t, <-moved, keywords.CodeAborted)
		require.NoError(t, <-moveTo(t, k, 5))
		require.Equal(t, 5.0, s.where())
	})
}

func TestAMoveThatFails(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		var hook func(ctx context.Context, m *keywords.Moving[float64]) error
		var late *keywords.Moving[float64]
		var after []float64
		var d *keywords.Dispatcher
		run(t, pool, keywords.DispatcherConfig{}, func(disp *keywords.Dispatcher) {
			d = disp
			keywords.Serve(d, Target, keywords.Hooks[float64]{
				Move:      func(ctx context.Context, m *keywords.Moving[float64]) error { late = m; return hook(ctx, m) },
				Postwrite: func(_ context.Context, v float64) error { after = append(after, v); return nil },
			})
		}).wait()
		rev, err := keywords.Modify(ctx, k, Target, 1)
		require.ErrorContains(t, err, "rejected: a hook panicked")
		require.Equal(t, keywords.Revision{}, rev)
		for _, c := range []struct {
			hook func(context.Context, *keywords.Moving[float64]) error
			text string
		}{
			{func(context.Context, *keywords.Moving[float64]) error { return errors.New("no current") }, "rejected: no current"},
			{func(context.Context, *keywords.Moving[float64]) error { runtime.Goexit(); return nil }, "rejected: the Move hook has ended its goroutine"},
			{func(ctx context.Context, m *keywords.Moving[float64]) error { return m.Progress(math.NaN(), "") }, "rejected: keywords: Moving.Progress: fraction NaN: want 0 to 1"},
			{func(ctx context.Context, m *keywords.Moving[float64]) error { return m.Progress(1.1, "") }, "rejected: keywords: Moving.Progress: fraction 1.1: want 0 to 1"},
		} {
			hook = c.hook
			_, err := keywords.Modify(ctx, k, Target, 2)
			require.EqualError(t, err, "keywords: stage.TARGET: "+c.text)
			m := moveOf(t, k)
			require.Equal(t, keywords.MoveFailed, m.State)
			require.Equal(t, c.text, "rejected: "+m.Text)
		}
		require.EqualError(t, late.Progress(0.5, ""), "keywords: Moving.Progress: the move has ended")

		// The brake fails too.
		hook = func(ctx context.Context, _ *keywords.Moving[float64]) error {
			<-ctx.Done()
			return errors.New("the brake failed")
		}
		moved := moveTo(t, k, 3)
		time.Sleep(time.Second)
		require.NoError(t, keywords.Abort(ctx, d, Target, "stopped"))
		require.EqualError(t, <-moved, "keywords: stage.TARGET: aborted: stopped; the brake failed")

		// The value is set while it moves.
		v, err := keywords.Read(ctx, k, Target)
		require.NoError(t, err)
		hook = func(ctx context.Context, m *keywords.Moving[float64]) error {
			return errors.Join(m.Progress(0.5, strings.Repeat("é", 1000)), keywords.Set(ctx, d, Target, 9))
		}
		err = <-moveTo(t, k, 3, keywords.ModifyOptions{IfRevision: v.Rev})
		require.ErrorIs(t, err, keywords.CodeRevision)
		require.Equal(t, keywords.MoveFailed, moveOf(t, k).State)
		require.Empty(t, after)
		require.NoError(t, <-moveTo(t, k, 3))
		require.Equal(t, strings.Repeat("é", 512), moveOf(t, k).Text, "the text is cut")
		synctest.Wait()
		require.Equal(t, []float64{3}, after)
	})
}

func TestMovesAreLimited(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k, s := t.Context(), client(t, pool), &slide{}
		other := keywords.Define("stage", "OTHER", keywords.Spec[string]{WriteOnly: true})
		run(t, pool, keywords.DispatcherConfig{MaxMoves: 1}, func(d *keywords.Dispatcher) {
			s.serve(nil)(d)
			keywords.Serve(d, other, keywords.Hooks[string]{Move: func(context.Context, *keywords.Moving[string]) error { return nil }})
		}).wait()
		moved := moveTo(t, k, 10)
		time.Sleep(time.Second)
		_, err := keywords.Modify(ctx, k, other, "secret")
		require.EqualError(t, err, "keywords: stage.OTHER: busy: DispatcherConfig.MaxMoves allows 1 at a time")
		require.NoError(t, <-moved)
		_, err = keywords.Modify(ctx, k, other, "secret") // at once
		require.NoError(t, err)
		v, err := keywords.ReadMove(ctx, k, other)
		require.NoError(t, err)
		require.Equal(t, keywords.Move{ID: 1, State: keywords.MoveDone, Progress: 1}, v.V, "a write-only target is not shown")
		_, err = keywords.ModifyMany(ctx, k, Speed.To(2), Target.To(2))
		require.EqualError(t, err, "keywords: stage.TARGET: rejected: a keyword with a Move hook is modified alone")
		_, err = keywords.ReadMove(ctx, k, Speed)
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
		require.EqualError(t, keywords.Abort(ctx, s.d, Speed, ""), "keywords: Abort: stage.SPEED has no Move hook")
	})
}

func TestMisusesOfMovesAreRefused(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", MaxMoves: 129})
	require.EqualError(t, err, "keywords: DispatcherConfig.MaxMoves: 129 is not 1 to 128")
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	move := func(context.Context, *keywords.Moving[float64]) error { return nil }
	require.PanicsWithValue(t, "keywords: Serve: stage.TARGET: Hooks.Move takes the place of Write, and both are set", func() {
		keywords.Serve(d, Target, keywords.Hooks[float64]{Move: move, Write: func(context.Context, float64) error { return nil }})
	})
	require.PanicsWithValue(t, "keywords: Serve: stage.TARGET: Hooks.Supersede is set, and there is no Move hook", func() {
		keywords.Serve(d, Target, keywords.Hooks[float64]{Supersede: true})
	})
	require.Panics(t, func() {
		long := keywords.Define("stage", strings.Repeat("X", 96), keywords.Spec[float64]{})
		keywords.Serve(d, long, keywords.Hooks[float64]{Move: move})
	}, "the name of the keyword that shows the moves is too long")
}
