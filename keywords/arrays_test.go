package keywords_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestArraysOfFloat32AndBool(t *testing.T) {
	gains := keywords.Define("stage", "GAINS", keywords.Spec[[]float32]{
		Min: new([]float32{0}), Max: new([]float32{1}), Elements: []string{"x", "y"}, DeadBand: 0.25, Initial: new([]float32{0.1, 0}),
	})
	lamps := keywords.Define("stage", "LAMPS", keywords.Spec[[]bool]{Enumerators: []string{"dark", "lit"}, MaxLen: 3})
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		var hook []float32
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, gains, keywords.Hooks[[]float32]{Check: func(_ context.Context, v []float32) error { hook = v; return nil }})
			keywords.Serve(d, lamps, keywords.Hooks[[]bool]{})
		}).wait()
		next := watched(t, keywords.Watch(ctx, k, gains))
		require.Equal(t, []float32{0.1, 0}, next(keywords.EventInitial).Value.V)
		_, err := keywords.Modify(ctx, k, gains, []float32{0.3, 1})
		require.NoError(t, err)
		require.Equal(t, []float32{0.3, 1}, next(keywords.EventChange).Value.V)
		require.Equal(t, []float32{0.3, 1}, hook)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, gains, []float32{0.4, 0.9}), "inside the dead band")
		v, err := keywords.Read(ctx, k, gains)
		require.NoError(t, err)
		require.Equal(t, []float32{0.3, 1}, v.V)
		_, err = keywords.Modify(ctx, k, gains, []float32{0.3, 1.5})
		require.ErrorIs(t, err, keywords.CodeRange)
		_, err = keywords.Modify(ctx, k, gains, []float32{0.3})
		require.ErrorIs(t, err, keywords.CodeRange)

		doubles, err := keywords.Bind[[]float64](keywords.Definition{Service: "stage", Name: "GAINS", Kind: keywords.KindDoubleArray})
		require.NoError(t, err)
		_, err = keywords.Read(ctx, k, doubles)
		require.ErrorIs(t, err, keywords.CodeKind)

		_, err = keywords.ModifyText(ctx, k, "stage", "LAMPS", "[lit, dark, 1]")
		require.NoError(t, err)
		on, err := keywords.Read(ctx, k, lamps)
		require.NoError(t, err)
		require.Equal(t, []bool{true, false, true}, on.V)
		text, err := keywords.ReadText(ctx, k, "stage", "LAMPS")
		require.NoError(t, err)
		require.Equal(t, "true false true", text.V)
		require.Equal(t, "lit dark lit", lamps.Definition().Display(on.V))
		require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.LAMPS[1] == dark and $stage.LAMPS[2] and $stage.GAINS[1] == 1"))
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, keywords.WaitForExpr(soon, k, "$stage.LAMPS[0] == dark"), context.DeadlineExceeded)
	})
}
