package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// patience bounds what must happen soon.
const patience = 20 * time.Second

type Mode int32

const (
	Idle Mode = iota
	Track
	Slew
)

var (
	Speed  = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "mm/s", Min: new(0.0), Max: new(20.0), Initial: new(1.0)})
	ModeOf = keywords.Define("stage", "MODE", keywords.Spec[Mode]{Enumerators: []string{Idle: "idle", Track: "track", Slew: "slew"}})
	Count  = keywords.Define("stage", "COUNT", keywords.Spec[int]{ReadOnly: true})
	Note   = keywords.Define("stage", "NOTE", keywords.Spec[string]{Persist: true})
)

// running is a dispatcher that runs.
type running struct {
	*keywords.Dispatcher
	t     testing.TB
	stop  context.CancelFunc
	ended chan error
}

// run runs a dispatcher of service stage until the test ends. Serve gives it its
// keywords; nil: all four, as orphans.
func run(t testing.TB, pool *storage.Pool, cfg keywords.DispatcherConfig, serve func(*keywords.Dispatcher)) *running {
	t.Helper()
	cfg.Service = "stage"
	d, err := keywords.NewDispatcher(pool, cfg)
	require.NoError(t, err)
	if serve == nil {
		serve = serveAll
	}
	serve(d)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Dispatcher: d, t: t, stop: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- d.Run(ctx)
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

func serveAll(d *keywords.Dispatcher) {
	keywords.Serve(d, Speed, keywords.Hooks[float64]{})
	keywords.Serve(d, ModeOf, keywords.Hooks[Mode]{})
	keywords.Serve(d, Count, keywords.Hooks[int]{})
	keywords.Serve(d, Note, keywords.Hooks[string]{})
}

func (r *running) wait() *running {
	r.t.Helper()
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.t.Fatal("the dispatcher ended: ", err)
	case <-time.After(patience):
		r.t.Fatal("the dispatcher is not ready")
	}
	return r
}

func client(t testing.TB, pool *storage.Pool) *keywords.Client {
	t.Helper()
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

func TestModifyAndRead(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		ctx := t.Context()
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 1.0, v.V, "the initial value")
		rev, err := keywords.Modify(ctx, k, Speed, 3.5)
		require.NoError(t, err)
		v, err = keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 3.5, v.V)
		require.Equal(t, rev, v.Rev)
		require.NotEmpty(t, v.Source)
		require.Equal(t, keywords.QualityGood, v.Quality)
		require.WithinDuration(t, time.Now(), v.Time, time.Minute)

		_, err = keywords.Modify(ctx, k, ModeOf, Slew)
		require.NoError(t, err)
		m, err := keywords.Read(ctx, k, ModeOf)
		require.NoError(t, err)
		require.Equal(t, Slew, m.V)
		text, err := keywords.ReadText(ctx, k, "stage", "MODE")
		require.NoError(t, err)
		require.Equal(t, "slew", text.V)
		_, err = keywords.ModifyText(ctx, k, "stage", "MODE", "TRACK")
		require.NoError(t, err)

		_, err = keywords.Read(ctx, k, Note)
		require.ErrorIs(t, err, keywords.ErrNoValue)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Count, 7))
		n, err := keywords.Read(ctx, k, Count)
		require.NoError(t, err)
		require.Equal(t, 7, n.V)

		for want, f := range map[error]func() (keywords.Revision, error){
			keywords.CodeRange:          func() (keywords.Revision, error) { return keywords.Modify(ctx, k, Speed, 20.5) },
			keywords.CodeReadOnly:       func() (keywords.Revision, error) { return keywords.Modify(ctx, k, Count, 3) },
			keywords.CodeMalformed:      func() (keywords.Revision, error) { return keywords.ModifyText(ctx, k, "stage", "SPEED", "fast") },
			keywords.CodeEnumerator:     func() (keywords.Revision, error) { return keywords.ModifyText(ctx, k, "stage", "MODE", "fast") },
			keywords.CodeUnknownKeyword: func() (keywords.Revision, error) { return keywords.ModifyText(ctx, k, "stage", "COLOR", "red") },
			keywords.CodeUnknownService: func() (keywords.Revision, error) { return keywords.ModifyText(ctx, k, "dome", "AZ", "1") },
			keywords.CodeRevision: func() (keywords.Revision, error) {
				return keywords.Modify(ctx, k, Speed, 4, keywords.ModifyOptions{IfRevision: keywords.Revision{Epoch: rev.Epoch, N: 1}})
			},
		} {
			_, err := f()
			require.ErrorIs(t, err, want)
			var e *keywords.Error
			require.ErrorAs(t, err, &e)
		}
		v, err = keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 3.5, v.V)
		rev2, err := keywords.Modify(ctx, k, Speed, 4, keywords.ModifyOptions{IfRevision: v.Rev})
		require.NoError(t, err)
		require.Greater(t, rev2.N, rev.N)

		_, err = keywords.ModifyMany(ctx, k, Speed.To(5), ModeOf.To(Idle))
		require.NoError(t, err)
		_, err = keywords.ModifyMany(ctx, k, Speed.To(6), ModeOf.To(99))
		require.ErrorIs(t, err, keywords.CodeEnumerator)
		all, err := keywords.ReadMany(ctx, k, "stage", "SPEED", "MODE")
		require.NoError(t, err)
		require.Equal(t, "5", all["SPEED"].V)
		require.Equal(t, "idle", all["MODE"].V)

		services, err := k.Services(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"stage"}, services)
		require.ErrorIs(t, k.Clear(ctx, "stage"), keywords.ErrServed)
		d.stop()
		require.NoError(t, <-d.ended)
		_, err = keywords.Modify(ctx, k, Speed, 1)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		v, err = keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, keywords.QualityStale, v.Quality)
		require.NoError(t, k.Clear(ctx, "stage"))
		_, err = keywords.Read(ctx, k, Speed)
		require.ErrorIs(t, err, keywords.CodeUnknownService)
	})
}

func TestManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		running := 0
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(context.Context, float64) error {
				running++
				defer func() { running-- }()
				if running != 1 {
					return errors.New("two at a time")
				}
				return nil
			}})
		}).wait()
		k := client(t, pool)
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[uint64]bool{}
		for i := range 16 {
			wg.Go(func() {
				for j := range 50 {
					rev, err := keywords.Modify(t.Context(), k, Speed, float64((i+j)%20))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if seen[rev.N] {
						t.Error("twice", rev)
					}
					seen[rev.N] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, seen, 800)
	})
}

func TestWatchSeesEveryKindOfEvent(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		step := 0
		for ev, err := range keywords.Watch(ctx, k, Speed) {
			step++
			switch step {
			case 1:
				require.NoError(t, err)
				require.Equal(t, keywords.EventInitial, ev.Kind)
				require.Equal(t, 1.0, ev.Value.V)
				require.Nil(t, ev.Prev)
				_, err = keywords.Modify(ctx, k, Speed, 2)
				require.NoError(t, err)
			case 2:
				require.NoError(t, err)
				require.Equal(t, keywords.EventChange, ev.Kind)
				require.Equal(t, 2.0, ev.Value.V)
				require.Equal(t, 1.0, ev.Prev.V)
				d.stop()
			case 3:
				require.NoError(t, err)
				require.Equal(t, keywords.EventStale, ev.Kind)
				require.Equal(t, keywords.QualityStale, ev.Value.Quality)
				cancel()
			case 4:
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		require.Equal(t, 4, step)
		for _, err := range keywords.WatchText(t.Context(), k, "nothing", "*") {
			require.ErrorIs(t, err, keywords.CodeUnknownService)
		}
	})
}

func TestWaitFor(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		done := make(chan float64, 1)
		go func() {
			v, err := keywords.WaitFor(t.Context(), k, Speed, func(v float64) bool { return v > 3 })
			if err != nil {
				t.Error(err)
			}
			done <- v.V
		}()
		for i := range 10 {
			_, err := keywords.Modify(t.Context(), k, Speed, float64(i))
			require.NoError(t, err)
		}
		select {
		case v := <-done:
			require.Greater(t, v, 3.0)
		case <-time.After(patience):
			t.Fatal("not seen")
		}
	})
}

func TestWaitForExpr(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		ended := make(chan error, 1)
		go func() {
			ended <- keywords.WaitForExpr(t.Context(), k, "$stage.SPEED > 3 and $MODE == track", keywords.WaitOptions{Service: "stage"})
		}()
		for i := range 8 {
			_, err := keywords.Modify(t.Context(), k, Speed, float64(i))
			require.NoError(t, err)
		}
		select {
		case err := <-ended:
			t.Fatal("MODE has no value yet: ", err)
		default:
		}
		_, err := keywords.Modify(t.Context(), k, ModeOf, Track)
		require.NoError(t, err)
		require.NoError(t, <-ended)
		require.ErrorContains(t, keywords.WaitForExpr(t.Context(), k, "$stage.SPEED >"), "column")
		require.ErrorIs(t, keywords.WaitForExpr(t.Context(), k, "$stage.COLOR == red"), keywords.CodeUnknownKeyword)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, keywords.WaitForExpr(ctx, k, "$stage.SPEED > 10"), context.DeadlineExceeded)
	})
}

func TestDispatchersKeywordsOfItsOwn(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{Status: "STATUS", Heartbeat: "CLK"}, nil).wait()
		k := client(t, pool)
		require.NoError(t, keywords.WaitForExpr(t.Context(), k, "$stage.STATUS == ready and $stage.CLK > 0"))
		d.stop()
		require.NoError(t, <-d.ended)
		v, err := keywords.ReadText(t.Context(), k, "stage", "STATUS")
		require.NoError(t, err)
		require.Equal(t, "stopped", v.V)
	})
}

func TestAServiceMayHaveMoreKeywordsThanMayBeStaged(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const size = 5
		var all []keywords.Keyword[int]
		run(t, pool, keywords.DispatcherConfig{MaxStaged: 2}, func(d *keywords.Dispatcher) {
			for i := range size {
				all = append(all, keywords.Define("stage", fmt.Sprint("AXIS", i), keywords.Spec[int]{Initial: new(i)}))
				keywords.Serve(d, all[i], keywords.Hooks[int]{})
			}
		}).wait()
		k := client(t, pool)
		for i := range size {
			v, err := keywords.Read(t.Context(), k, all[i])
			require.NoError(t, err)
			require.Equal(t, i, v.V)
		}
	})
}

func TestTextFunctionsMatchTypedOnes(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		reads := 0
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{})
			keywords.Serve(d, ModeOf, keywords.Hooks[Mode]{})
			keywords.Serve(d, Count, keywords.Hooks[int]{Read: func(context.Context) (int, error) { reads++; return reads, nil }})
		}).wait()
		k, ctx := client(t, pool), t.Context()
		for _, want := range []string{"1", "2"} {
			v, err := keywords.ReadText(ctx, k, "stage", "COUNT", keywords.ReadOptions{Refresh: true})
			require.NoError(t, err)
			require.Equal(t, want, v.V)
		}
		_, err := keywords.ReadText(ctx, k, "stage", "NOTE", keywords.ReadOptions{Refresh: true})
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)

		byHand := keywords.Definition{Service: "stage", Name: "SPEED"} // as little as a setting needs
		mode, err := k.Describe(ctx, "stage", "MODE")
		require.NoError(t, err)
		rev, err := keywords.ModifyMany(ctx, k, byHand.To("5"), mode.To("TRACK"))
		require.NoError(t, err)
		_, err = keywords.ModifyMany(ctx, k, byHand.To("6"), mode.To("fast"))
		require.ErrorIs(t, err, keywords.CodeEnumerator)
		_, err = keywords.ModifyMany(ctx, k, byHand.To("6", keywords.ModifyOptions{IfRevision: keywords.Revision{Epoch: rev.Epoch, N: rev.N + 1}}), mode.To("slew"))
		require.ErrorIs(t, err, keywords.CodeRevision)
		all, err := keywords.ReadMany(ctx, k, "stage", "SPEED", "MODE")
		require.NoError(t, err)
		require.Equal(t, "5", all["SPEED"].V)
		require.Equal(t, "track", all["MODE"].V)

		d.stop()
		require.NoError(t, <-d.ended)
		_, err = keywords.ReadText(ctx, k, "stage", "COUNT", keywords.ReadOptions{Refresh: true})
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
	})
}
