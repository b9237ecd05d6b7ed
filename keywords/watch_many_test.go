package keywords_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestWatchMany(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		ctx, cancel := context.WithCancel(soon(t))
		defer cancel()
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Count, 1))
		names := []string{"SPEED", "COUNT", "NOTE", "SPEED"}
		var seen []string
		for ev, err := range keywords.WatchMany(ctx, k, "stage", names) {
			if len(seen) == 4 {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			require.NoError(t, err)
			require.Equal(t, "stage", ev.Service)
			seen = append(seen, ev.Kind.String()+" "+ev.Keyword+" "+ev.Value.V)
			switch len(seen) {
			case 2: // of MODE nobody wants to know
				_, err = keywords.ModifyMany(ctx, k, ModeOf.To(Slew), Note.To("so"), Speed.To(3))
				require.NoError(t, err)
			case 4:
				cancel()
			}
		}
		require.Equal(t, []string{"initial SPEED 1", "initial COUNT 1", "change NOTE so", "change SPEED 3"}, seen)

		for _, bad := range []string{"COLOR", "*", "SPEE?", ""} {
			for _, err := range keywords.WatchMany(soon(t), k, "stage", []string{"SPEED", bad}) {
				require.ErrorIs(t, err, keywords.CodeUnknownKeyword, bad)
			}
		}
		for _, err := range keywords.WatchMany(soon(t), k, "dome", []string{"AZ"}) {
			require.ErrorIs(t, err, keywords.CodeUnknownService)
		}
		for _, err := range keywords.WatchMany(soon(t), k, "stage", nil) {
			require.EqualError(t, err, "keywords: WatchMany of nothing")
		}
	})
}
