package pubsub_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
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

// passing makes Redis refuse the first requests for the head of a history, for a reason that
// passes.
type passing struct {
	reply error
	left  atomic.Int32
}

func (p *passing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (p *passing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "hmget" || p.left.Add(-1) < 0 {
			return next(ctx, cmd)
		}
		cmd.SetErr(p.reply)
		return p.reply
	}
}
func (p *passing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestHistoriesWaitOutWhatPasses(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"LOADING loading", "CLUSTERDOWN down", "MASTERDOWN down", "TRYAGAIN again", "READONLY replica"} {
		storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
			p := &passing{reply: pool.Redis().Eval(t.Context(), "return redis.error_reply(ARGV[1])", nil, reply).Err()}
			p.left.Store(5)
			pool.Redis().AddHook(p)
			c := client(t, pool, pubsub.Config{})
			_, _, err := pubsub.Recall(t.Context(), c, Kept, "")
			require.NoError(t, err, reply)
			require.Negative(t, p.left.Load(), "it was refused")
		})
	}
}
