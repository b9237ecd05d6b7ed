package bus_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestWorkersKeepTheirLog(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var out bytes.Buffer
		var log *slog.Logger
		w := start(t, pool, bus.WorkerConfig{KeepLog: 10}, func(w *bus.Worker) {
			log = slog.New(w.LogHandler(slog.NewTextHandler(&out, nil), slog.LevelInfo))
			log.Info("before it runs")
		})
		c := client(t, pool, bus.ClientConfig{})
		for i := range 20 {
			log.With("dome", "north").WithGroup("weather").Warn("wind", "speed", i)
			log.Debug("not this")
		}
		var kept []bus.LogRecord
		require.Eventually(t, func() bool {
			var err error
			kept, err = c.Log(t.Context(), w.ID(), 100)
			require.NoError(t, err)
			return len(kept) == 10 && kept[9].Attrs["weather"].(map[string]any)["speed"] == int64(19)
		}, patience, time.Millisecond)
		require.Equal(t, "wind", kept[0].Message)
		require.Equal(t, slog.LevelWarn, kept[0].Level)
		require.Equal(t, "north", kept[0].Attrs["dome"])
		require.WithinDuration(t, time.Now(), kept[0].Time, time.Minute)
		require.Equal(t, 21, strings.Count(out.String(), "\n"))
		log.Error("the last words")
		require.NoError(t, w.end())
		kept, err := c.Log(t.Context(), w.ID(), 1)
		require.NoError(t, err)
		require.Equal(t, "the last words", kept[0].Message)
		_, err = c.Log(t.Context(), "nonsense", 1)
		require.ErrorContains(t, err, "want type:host:pid:uid")
		ttl, err := pool.Redis().PTTL(t.Context(), "bus:local:log:"+w.ID()).Result()
		require.NoError(t, err)
		require.Positive(t, ttl)
	})
}

// A record that is too large to be kept displaces no other.
func TestALogRecordThatIsTooLargeIsNotKept(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var out bytes.Buffer
		var log *slog.Logger
		w := start(t, pool, bus.WorkerConfig{MaxMessage: 200}, func(w *bus.Worker) {
			log = slog.New(w.LogHandler(slog.NewTextHandler(&out, nil), slog.LevelInfo))
		})
		log.Info("small")
		log.Info(strings.Repeat("x", 200))
		log.Info("small too")
		require.NoError(t, w.end())
		require.Equal(t, 3, strings.Count(out.String(), "\n"))
		kept, err := client(t, pool, bus.ClientConfig{}).Log(t.Context(), w.ID(), 10)
		require.NoError(t, err)
		require.Len(t, kept, 2)
		require.Equal(t, "small too", kept[1].Message)
	})
}
