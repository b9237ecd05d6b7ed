package keywords_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestWatchTextWatchesSeveralKeywords(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		ctx, cancel := context.WithCancel(soon(t))
		defer cancel()
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Count, 1))
		var seen []string
		for ev, err := range keywords.WatchText(ctx, k, "stage", "SPEED,C*,N*,SPEED") {
			if len(seen) == 4 {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			require.NoError(t, err)
			require.Equal(t, "stage", ev.Service)
			seen = append(seen, ev.Kind.String()+" "+ev.Keyword+" "+ev.Value.V)
			switch len(seen) {
			case 2: // MODE is not watched
				_, err = keywords.ModifyMany(ctx, k, ModeOf.To(Slew), Note.To("so"), Speed.To(3))
				require.NoError(t, err)
			case 4:
				cancel()
			}
		}
		require.Equal(t, []string{"initial SPEED 1", "initial COUNT 1", "change NOTE so", "change SPEED 3"}, seen)

		for _, err := range keywords.WatchText(soon(t), k, "stage", "SPEED,COLOR") {
			require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
		}
		for _, err := range keywords.WatchText(soon(t), k, "dome", "AZ,EL") {
			require.ErrorIs(t, err, keywords.CodeUnknownService)
		}
		for pattern, want := range map[string]string{
			"": `keywords: WatchText: pattern "": empty name`, "SPEED,": `keywords: WatchText: pattern "SPEED,": empty name`,
			"SPEED,[": `keywords: WatchText: pattern "SPEED,[": syntax error in pattern`,
		} {
			for _, err := range keywords.WatchText(soon(t), k, "stage", pattern) {
				require.EqualError(t, err, want)
			}
		}
	})
}
