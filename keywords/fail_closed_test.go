package keywords_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestConstructorsRefuseANilPool(t *testing.T) {
	_, err := keywords.NewDispatcher(nil, keywords.DispatcherConfig{Service: "stage"})
	require.EqualError(t, err, "keywords: NewDispatcher: nil pool")
	_, err = keywords.NewClient(nil, keywords.ClientConfig{})
	require.EqualError(t, err, "keywords: NewClient: nil pool")
}

func TestConstructorsRefuseAClosedPool(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	require.NoError(t, pool.Close())
	require.EqualError(t, d.Run(t.Context()), "keywords: dispatcher main of stage: storage: pool is closed")
	_, err = keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.EqualError(t, err, "keywords: NewDispatcher: storage: pool is closed")
	require.ErrorIs(t, err, storage.ErrClosed)
	_, err = keywords.NewClient(pool, keywords.ClientConfig{})
	require.EqualError(t, err, "keywords: NewClient: storage: pool is closed")
	require.ErrorIs(t, err, storage.ErrClosed)
}

func TestClosingThePoolClosesTheClient(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	for _, err := range keywords.Watch(soon(t), k, Speed) {
		if err != nil {
			require.ErrorIs(t, err, keywords.ErrClosed)
			break
		}
		go pool.Close()
	}
	require.NoError(t, k.Close())
}

func TestAZeroKeywordIsRefused(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	k, ctx := client(t, pool), t.Context()
	var zero keywords.Keyword[float64]
	errs := map[string]error{}
	_, errs["Read"] = keywords.Read(ctx, k, zero)
	_, errs["Modify"] = keywords.Modify(ctx, k, zero, 1)
	_, errs["Listen"] = keywords.Listen(ctx, k, zero, func(keywords.Event[float64]) {})
	for _, err := range keywords.Watch(ctx, k, zero) {
		errs["Watch"] = err
	}
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	errs["Set"] = keywords.Set(ctx, d, zero, 1)
	errs["Schedule"] = keywords.Schedule(d, zero, time.Now())
	for name, err := range errs {
		require.EqualError(t, err, "keywords: "+name+": zero Keyword, make it with Define or Bind")
	}
	require.PanicsWithError(t, "keywords: Serve: zero Keyword, make it with Define or Bind", func() { keywords.Serve(d, zero, keywords.Hooks[float64]{}) })

	_, err = keywords.ModifyMany(ctx, k, Speed.To(1), zero.To(1))
	require.EqualError(t, err, "keywords: ModifyMany: setting 1: zero Setting, make it with Keyword.To or Definition.To")
	require.Empty(t, zero.Name())
}

func TestNilFunctionsAreRefused(t *testing.T) {
	t.Parallel()
	k := client(t, storagetest.New(t))
	_, err := keywords.WaitFor(t.Context(), k, Speed, nil)
	require.EqualError(t, err, "keywords: WaitFor: nil until")
	_, err = keywords.Listen(t.Context(), k, Speed, nil)
	require.EqualError(t, err, "keywords: Listen: nil listener")
}

func TestServingTwicePanics(t *testing.T) {
	t.Parallel()
	d, err := keywords.NewDispatcher(storagetest.New(t), keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	keywords.Serve(d, Speed, keywords.Hooks[float64]{})
	require.PanicsWithValue(t, "keywords: Serve: stage.SPEED is served already", func() { keywords.Serve(d, Speed, keywords.Hooks[float64]{}) })
}

func TestNamesThatCanNotBeAreRefusedByName(t *testing.T) {
	t.Parallel()
	k := client(t, storagetest.New(t))
	_, err := keywords.ReadText(t.Context(), k, "my stage", "SPEED")
	require.ErrorContains(t, err, `keywords: service: name "my stage"`)
	_, err = keywords.NewDispatcher(storagetest.New(t), keywords.DispatcherConfig{Service: "Stage"})
	require.ErrorContains(t, err, `keywords: DispatcherConfig.Service: name "Stage"`)
}

func TestWaitsSayWhyTheyWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		network.Down()
		pool := storagetest.Open(t, network.Config())
		k := client(t, pool)
		d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
		require.NoError(t, err)
		keywords.Serve(d, Speed, keywords.Hooks[float64]{})
		for name, wait := range map[string]func(ctx context.Context) error{
			"Modify": func(ctx context.Context) error { _, err := keywords.Modify(ctx, k, Speed, 1); return err },
			"Watch": func(ctx context.Context) (err error) {
				for _, err = range keywords.Watch(ctx, k, Speed) {
				}
				return err
			},
			"WaitFor": func(ctx context.Context) error {
				_, err := keywords.WaitFor(ctx, k, Speed, func(float64) bool { return true })
				return err
			},
			"WaitForExpr": func(ctx context.Context) error { return keywords.WaitForExpr(ctx, k, "$stage.SPEED > 3") },
			"Listen": func(ctx context.Context) error {
				_, err := keywords.Listen(ctx, k, Speed, func(keywords.Event[float64]) {})
				return err
			},
			"Start": func(ctx context.Context) error { _, err := keywords.Start(ctx, d); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			err := wait(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.ErrorContains(t, err, "connection refused", name)
		}
	})
}
