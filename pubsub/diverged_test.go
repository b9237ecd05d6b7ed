package pubsub_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A replica that has not received the last messages becomes the primary, and others get
// their numbers. The offset of a message that only the old primary had fits in between.
func TestAHistoryOfAnotherPrimaryIsToldAsAGap(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		publish(t, c, Kept, 1, 2, 3, 4)
		sub := subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})
		var last pubsub.Offset
		for range 4 {
			last = next(t, sub).Offset
		}
		require.NoError(t, sub.Close())
		epoch, id, _ := strings.Cut(string(last), ":")
		text, _, _ := strings.Cut(id, "-")
		ms, err := strconv.Atoi(text)
		require.NoError(t, err)

		// The replica has 1 and 2; 3 to 5 are new, and 5 came after the old 4.
		stream, head := "pubsub:{numbers}:log", "pubsub:{numbers}:head"
		require.NoError(t, pool.Redis().Del(t.Context(), stream).Err())
		for n, at := range []int{ms - 1, ms - 1, ms - 1, ms - 1, ms} {
			add := &redis.XAddArgs{Stream: stream, ID: fmt.Sprintf("%d-%d", at, n+1), Values: []any{"p", "\x07"}}
			require.NoError(t, pool.Redis().XAdd(t.Context(), add).Err())
		}
		require.NoError(t, pool.Redis().HSet(t.Context(), head, "epoch", epoch, "n", 5, "ms", ms).Err())

		late := subscribe(t, c, Kept, pubsub.SubscribeOptions{After: last})
		require.False(t, late.Recovered())
		gap := next(t, late)
		require.ErrorIs(t, gap.Err, pubsub.ErrGap)
		require.ErrorContains(t, gap.Err, "another primary")

		_, newest, err := pubsub.Recall(t.Context(), c, Kept, last)
		require.ErrorIs(t, err, pubsub.ErrGap)
		require.Equal(t, pubsub.Offset(fmt.Sprintf("%s:%d-5", epoch, ms)), newest)
	})
}
