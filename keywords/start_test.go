package keywords_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestStartReturnsWhenTheDispatcherServes(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	speed := keywords.Define("stage", "SPEED", keywords.Spec[float64]{})
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	keywords.Serve(d, speed, keywords.Hooks[float64]{})
	stop, err := keywords.Start(t.Context(), d)
	require.NoError(t, err)
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	_, err = keywords.Modify(t.Context(), k, speed, 3)
	require.NoError(t, err)

	second, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Refuse: true})
	require.NoError(t, err)
	_, err = keywords.Start(t.Context(), second)
	require.ErrorIs(t, err, keywords.ErrServed)

	standby, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = keywords.Start(ctx, standby)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, stop())
	_, err = keywords.Start(t.Context(), d)
	require.ErrorContains(t, err, "was run before")
}
