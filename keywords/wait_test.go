package keywords_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Of two keywords that are set together one is always 1 and the other 0.
func TestWaitForExprTakesValuesOfOneMoment(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		a := keywords.Define("stage", "A", keywords.Spec[int]{Initial: new(1)})
		b := keywords.Define("stage", "B", keywords.Spec[int]{Initial: new(0)})
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, a, keywords.Hooks[int]{})
			keywords.Serve(d, b, keywords.Hooks[int]{})
		}).wait()
		k := client(t, pool)
		ended := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() { ended <- keywords.WaitForExpr(ctx, k, "$stage.A == 1 and $stage.B == 1") }()
		for i := range 1000 {
			_, err := keywords.ModifyMany(ctx, k, b.To((i+1)%2), a.To(i%2))
			require.NoError(t, err)
		}
		require.Empty(t, ended, "it was never true")
		_, err := keywords.ModifyMany(ctx, k, a.To(1), b.To(1))
		require.NoError(t, err)
		require.NoError(t, <-ended)
	})
}

func TestExpressionsKnowTheNamesOfEnumerators(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		names := []string{"red", "green", "blue", "i", "z", "y"}
		shutter := keywords.Define("stage", "SHUTTER", keywords.Spec[bool]{Enumerators: []string{"closed", "open"}, Initial: new(true)})
		one := keywords.Define("stage", "ONE", keywords.Spec[Mode]{Enumerators: names, Initial: new(Mode(2))})
		other := keywords.Define("stage", "OTHER", keywords.Spec[Mode]{Enumerators: names, Initial: new(Mode(2))})
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, shutter, keywords.Hooks[bool]{})
			keywords.Serve(d, one, keywords.Hooks[Mode]{})
			keywords.Serve(d, other, keywords.Hooks[Mode]{})
		}).wait()
		k := client(t, pool)
		for _, text := range []string{
			"$stage.SHUTTER == 'open'", "$stage.SHUTTER == OPEN", "$stage.SHUTTER != closed", "$stage.SHUTTER == yes", "$stage.SHUTTER",
			"$stage.ONE == $stage.OTHER", "$stage.ONE == Blue",
		} {
			require.NoError(t, keywords.WaitForExpr(t.Context(), k, text), text)
		}
		require.ErrorContains(t, keywords.WaitForExpr(t.Context(), k, "$stage.SHUTTER == ajar"), "not a word for true or false")
	})
}

func TestWaitForTakesWhatADispatcherHasLeft(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		d.stop()
		require.NoError(t, <-d.ended)
		k := client(t, pool)
		v, err := keywords.WaitFor(soon(t), k, Speed, func(v float64) bool { return v == 1 })
		require.NoError(t, err)
		require.Equal(t, keywords.QualityStale, v.Quality)
		require.NoError(t, keywords.WaitForExpr(soon(t), k, "$stage.SPEED == 1"))
	})
}

// passing makes Redis refuse some requests that a client makes to read keywords, for a
// reason that passes.
type passing struct {
	reply error
	left  atomic.Int32
}

func (p *passing) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p *passing) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *passing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		reads := slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Name() == "hexists" })
		if !reads || p.left.Add(-1) < 0 {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(p.reply)
		}
		return p.reply
	}
}

func TestWaitForExprWaitsOutWhatPasses(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"LOADING loading", "CLUSTERDOWN down", "MASTERDOWN down", "TRYAGAIN again", "READONLY replica"} {
		storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
			run(t, pool, keywords.DispatcherConfig{}, nil).wait()
			p := &passing{reply: pool.Redis().Eval(t.Context(), "return redis.error_reply(ARGV[1])", nil, reply).Err()}
			pool.Redis().AddHook(p)
			k := client(t, pool)
			ended := make(chan error, 1)
			ctx := soon(t)
			go func() { ended <- keywords.WaitForExpr(ctx, k, "$stage.SPEED == 1 and $stage.NOTE == here") }()
			time.Sleep(time.Second) // the service is read
			p.left.Store(5)
			_, err := keywords.Modify(ctx, k, Note, "here")
			require.NoError(t, err)
			require.NoError(t, <-ended)
			require.Negative(t, p.left.Load(), "it was refused")
		})
	}
}
