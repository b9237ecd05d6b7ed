package bus_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMalformedFramesInEveryList(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		inbox := keysLike(t, pool, "inbox")
		require.Len(t, inbox, 1)
		name := strings.TrimSuffix(strings.TrimPrefix(inbox[0], "bus:{local:inbox:"), "}")
		ctx := t.Context()
		queues := []string{"bus:{local:calc}:queue", "bus:{local:calc}:queue:" + w.ID(), "bus:{local:calc}:control:" + w.ID()}
		n := int64(0)
		for _, queue := range queues {
			for _, garbage := range [][]byte{
				[]byte("hello"), {0x9e}, {0x9e, 1}, {0x96, 1, 1}, {0x96, 1, 9, 7}, bytes.Repeat([]byte{0x91}, 1<<20),
				{0xdd, 0x7f, 0xff, 0xff, 0xff}, {0xdf, 0x0f, 0xff, 0xff, 0xff}, later(t, name, 1<<40),
			} {
				n++
				require.NoError(t, pool.Redis().RPush(ctx, queue, garbage).Err())
			}
			_, err := bus.Call(ctx, c, bus.Direct(w.ID()), Add, AddArgs{})
			require.NoError(t, err)
			_, err = bus.Call(ctx, c, bus.Direct(w.ID()), bus.Ping, struct{}{})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return w.Stats().Malformed == n }, patience, time.Millisecond)
		// What a later version asks is answered, if only with no.
		got, err := pool.Redis().XRange(ctx, inbox[0], "-", "+").Result()
		require.NoError(t, err)
		text, err := json.Marshal(got)
		require.NoError(t, err)
		require.Contains(t, string(text), "version 2 is not 1")
	})
}

func later(t *testing.T, client string, id uint64) []byte {
	frame, err := msgpack.Marshal([]any{2, 0, id, client, "and", "other", "things"})
	require.NoError(t, err)
	return frame
}
