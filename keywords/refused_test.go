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

// A hook returns the error of another service's keyword, or an error without one.
func TestErrorsNameTheKeywordThatRefused(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		k := client(t, pool)
		az := keywords.Define("dome", "AZ", keywords.Spec[float64]{Max: new(1.0)})
		dome, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "dome"})
		require.NoError(t, err)
		keywords.Serve(dome, az, keywords.Hooks[float64]{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- dome.Run(ctx) }()
		<-dome.Ready()
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(ctx context.Context, v float64) error {
				if v == 0 {
					return &keywords.Error{Code: keywords.CodeRange, Text: "it stands"}
				}
				_, err := keywords.Modify(ctx, k, az, v)
				return err
			}})
		}).wait()
		_, err = keywords.Modify(t.Context(), k, Speed, 5)
		require.EqualError(t, err, "keywords: dome.AZ: range: 5 is above 1")
		_, err = keywords.Modify(t.Context(), k, Speed, 0)
		require.EqualError(t, err, "keywords: stage.SPEED: range: it stands")
		cancel()
		require.NoError(t, <-ended)
	})
}

// Typed functions and text functions report unknown services and keywords alike, with
// and without a live dispatcher.
func TestUnknownServicesAndKeywords(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		k, ctx := client(t, pool), t.Context()
		color := keywords.Define("stage", "COLOR", keywords.Spec[int]{})
		want := func(want keywords.Code) {
			t.Helper()
			_, modify := keywords.Modify(ctx, k, color, 1)
			_, many := keywords.ModifyMany(ctx, k, color.To(1))
			_, refresh := keywords.Read(ctx, k, color, keywords.ReadOptions{Refresh: true})
			_, read := keywords.Read(ctx, k, color)
			_, text := keywords.ModifyText(ctx, k, "stage", "COLOR", "1")
			for _, err := range []error{modify, many, refresh, read, text} {
				require.ErrorIs(t, err, want)
			}
		}
		want(keywords.CodeUnknownService)
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		want(keywords.CodeUnknownKeyword)
		d.stop()
		require.NoError(t, <-d.ended)
		want(keywords.CodeUnknownKeyword)
		_, err := keywords.Modify(ctx, k, color, 1)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		_, err = keywords.Modify(ctx, k, Speed, 1)
		require.EqualError(t, err, "keywords: stage.SPEED: no dispatcher")
	})
}

func TestNewDispatcherRefuses(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for want, cfg := range map[string]keywords.DispatcherConfig{
		`Service: empty name`:                           {},
		`Name: name "Main"`:                             {Service: "stage", Name: "Main"},
		`Lease: 1ms is less than 300ms`:                 {Service: "stage", Lease: time.Millisecond},
		`ExternalWrites: 3 is not one of the constants`: {Service: "stage", ExternalWrites: 3},
		`MaxStaged: -1 is negative`:                     {Service: "stage", MaxStaged: -1},
		`Drain: -1ns is negative`:                       {Service: "stage", Drain: -1},
		`Heartbeat: CLK is the name of Status too`:      {Service: "stage", Status: "CLK", Heartbeat: "CLK"},
		`Status: name "bad name": ' ' is not allowed`:   {Service: "stage", Status: "bad name"},
		`Heartbeat: name "clk"`:                         {Service: "stage", Heartbeat: "clk"},
	} {
		_, err := keywords.NewDispatcher(pool, cfg)
		require.ErrorContains(t, err, "keywords: DispatcherConfig."+want)
	}
}
