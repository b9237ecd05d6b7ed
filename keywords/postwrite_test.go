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

// A Postwrite may set other keywords, though its writer has been answered.
func TestPostwriteOutlivesTheAnswer(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		answered := make(chan struct{})
		ended := make(chan error, 1)
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Count, keywords.Hooks[int]{})
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Postwrite: func(ctx context.Context, _ float64) error {
				select {
				case <-answered:
				case <-time.After(patience):
				}
				for range 100 { // the end of a call is told to its handler later
					if err := keywords.Set(ctx, d, Count, 1); err != nil {
						ended <- err
						return err
					}
				}
				ended <- nil
				return nil
			}})
		}).wait()
		_, err := keywords.Modify(t.Context(), client(t, pool), Speed, 3)
		require.NoError(t, err)
		close(answered)
		require.NoError(t, <-ended)
	})
}
