package pubsub_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestRecallIsAllOrNothing(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		ctx := t.Context()
		_, none, err := pubsub.Recall(ctx, c, Kept, "")
		require.NoError(t, err)
		require.NotEmpty(t, none, "a place there is before the first message, too")

		_, _, err = pubsub.Recall(ctx, c, Kept, none)
		require.ErrorIs(t, err, pubsub.ErrGap, "but there may have been a history in between")
		publish(t, c, Kept, 0)
		_, first, err := pubsub.Recall(ctx, c, Kept, none)
		require.ErrorIs(t, err, pubsub.ErrGap)
		publish(t, c, Kept, count(1, 51)...)
		missed, head, err := pubsub.Recall(ctx, c, Kept, first)
		require.NoError(t, err)
		require.Len(t, missed, 50)
		for i, m := range missed {
			require.NoError(t, m.Err)
			require.Equal(t, i+1, m.Value)
			require.Zero(t, m.Seq)
		}
		require.Equal(t, missed[49].Offset, head)
		parsed, err := pubsub.ParseOffset(string(head))
		require.NoError(t, err)
		require.Equal(t, head, parsed)
		_, err = pubsub.ParseOffset("1-2")
		require.Error(t, err)
		require.True(t, missed[3].Offset.Before(missed[4].Offset))
		require.True(t, missed[9].Offset.Before(missed[10].Offset), "as numbers")
		require.False(t, missed[4].Offset.Before(missed[4].Offset))
		require.False(t, none.Before(head), "there was no history yet")

		nothing, same, err := pubsub.Recall(ctx, c, Kept, head)
		require.NoError(t, err)
		require.Empty(t, nothing)
		require.Equal(t, head, same)

		few := pubsub.SubscribeOptions{MaxMessages: 49}
		missed, newest, err := pubsub.Recall(ctx, c, Kept, first, few)
		require.ErrorIs(t, err, pubsub.ErrGap)
		require.Empty(t, missed)
		require.Equal(t, head, newest)

		publish(t, c, Kept, count(51, 160)...)
		_, newest, err = pubsub.Recall(ctx, c, Kept, head)
		var gap *pubsub.GapError
		require.True(t, errors.As(err, &gap), "trimmed: %v", err)
		require.True(t, head.Before(newest))

		_, _, err = pubsub.Recall(ctx, c, Kept, "nonsense")
		require.ErrorContains(t, err, `"nonsense" is not an offset`)
		_, _, err = pubsub.Recall(ctx, c, Numbers, "")
		require.ErrorContains(t, err, "no history")
	})
}

// Messages of different channels, in queues of their own, can be put in order.
func TestSeqIsTheOrderOfAllChannels(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		one := subscribe(t, c, Numbers)
		two := subscribe(t, c, pubsub.NewTopic[int]("others"))
		last := int64(0)
		for i := range 100 {
			from := one
			if i%3 == 0 {
				publish(t, c, pubsub.NewTopic[int]("others"), i)
				from = two
			} else {
				publish(t, c, Numbers, i)
			}
			m := next(t, from)
			require.Equal(t, i, m.Value)
			require.Greater(t, m.Seq, last)
			last = m.Seq
		}
	})
}
