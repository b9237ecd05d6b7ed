package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestWatchTellsWhoJoinsAndLeaves(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		first := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var second *running
		step := 0
		for ev, err := range c.Watch(ctx, "calc") {
			step++
			switch step {
			case 1:
				require.True(t, ev.Joined)
				require.Equal(t, first.ID(), ev.Worker.ID)
				second = start(t, pool, bus.WorkerConfig{Version: "2"})
			case 2:
				require.True(t, ev.Joined)
				require.Equal(t, second.ID(), ev.Worker.ID)
				require.Equal(t, "2", ev.Worker.Version)
				require.NoError(t, first.end())
			case 3:
				require.False(t, ev.Joined)
				require.Equal(t, first.ID(), ev.Worker.ID)
				cancel()
			default:
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		require.Equal(t, 4, step)
		for _, err := range c.Watch(t.Context(), "a b") {
			require.ErrorContains(t, err, `name "a b"`)
		}
	})
}
