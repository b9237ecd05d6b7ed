package pubsub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var Kept = Numbers.WithHistory(pubsub.History{Size: 100})

// values returns the next n values, none of which may be a gap.
func values(t testing.TB, sub *pubsub.Subscription[int], n int) (got []int) {
	t.Helper()
	for range n {
		m := next(t, sub)
		require.NoError(t, m.Err)
		got = append(got, m.Value)
	}
	return got
}

func count(from, to int) (all []int) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func TestHistoryIsReplayedAndGoneOnWith(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		empty := subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})
		require.True(t, empty.Recovered())
		publish(t, c, Kept, count(0, 50)...)
		require.Equal(t, count(0, 50), values(t, empty, 50))

		all := subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})
		require.True(t, all.Recovered())
		var offsets []pubsub.Offset
		for i := range 50 {
			m := next(t, all)
			require.Equal(t, i, m.Value)
			require.Equal(t, "numbers", m.Channel)
			offsets = append(offsets, m.Offset)
		}
		publish(t, c, Kept, 50)
		live := next(t, all)
		require.Equal(t, 50, live.Value)
		offsets = append(offsets, live.Offset)

		for _, at := range []int{0, 30, 50} {
			sub := subscribe(t, c, Kept, pubsub.SubscribeOptions{After: offsets[at]})
			require.True(t, sub.Recovered())
			require.Equal(t, count(at+1, 51), values(t, sub, 50-at))
			require.NoError(t, sub.Close())
		}
		fresh := subscribe(t, c, Kept)
		require.True(t, fresh.Recovered())
		publish(t, c, Kept, count(51, 200)...)
		require.Equal(t, count(51, 200), values(t, fresh, 149))

		// Trimmed: 0 to 99 are gone.
		late := subscribe(t, c, Kept, pubsub.SubscribeOptions{After: offsets[50]})
		require.False(t, late.Recovered())
		gap := next(t, late)
		require.ErrorIs(t, gap.Err, pubsub.ErrGap)
		require.ErrorContains(t, gap.Err, "the history does not reach back so far")
		publish(t, c, Kept, 200)
		require.Equal(t, 200, next(t, late).Value, "and nothing in part")
		kept := subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})
		require.True(t, kept.Recovered())
		require.Equal(t, count(101, 201), values(t, kept, 100))

		// The history is lost, as by FLUSHDB.
		last := next(t, subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})).Offset
		require.NoError(t, pool.Redis().FlushDB(t.Context()).Err())
		gone := subscribe(t, c, Kept, pubsub.SubscribeOptions{After: last})
		require.False(t, gone.Recovered())
		require.ErrorIs(t, next(t, gone).Err, pubsub.ErrGap)
		publish(t, c, Kept, 7)
		require.Equal(t, 7, next(t, gone).Value)
		m := next(t, kept)
		require.ErrorIs(t, m.Err, pubsub.ErrGap, "who was there is told as well")
		require.ErrorContains(t, m.Err, "the history was lost")
		require.Equal(t, 7, next(t, kept).Value)
		again := subscribe(t, c, Kept, pubsub.SubscribeOptions{After: last})
		require.False(t, again.Recovered(), "of another epoch")
	})
}

func TestHistoryFillsGaps(t *testing.T) {
	t.Parallel()
	quiet := pubsub.SubscribeOptions{MaxMessages: 1 << 20, MaxBytes: 1 << 30}
	var topics []pubsub.Topic[int]
	for _, topic := range soakTopics {
		topics = append(topics, topic.WithHistory(pubsub.History{Size: 100_000}))
	}
	t.Run("embedded", func(t *testing.T) {
		pool := storagetest.New(t)
		p := startProxy(t, pool)
		subscriber := client(t, storagetest.Open(t, p.config()), pubsub.Config{})
		_, missed := soak(t, client(t, pool, pubsub.Config{}), subscriber, func() { p.cut() }, topics, quiet)
		require.Zero(t, missed)
		require.Positive(t, subscriber.Stats().Recovered)
	})
	t.Run("redis", func(t *testing.T) {
		pool := storagetest.Open(t, storagetest.Start(t).Config())
		subscriber := client(t, storagetest.Open(t, pool.Config()), pubsub.Config{})
		gaps, missed := soak(t, client(t, pool, pubsub.Config{}), subscriber, func() { cut(t, pool) }, topics, quiet)
		require.Zero(t, missed)
		require.Zero(t, gaps)
		require.Positive(t, subscriber.Stats().Recovered)
	})
}

// What was missed is trimmed before it can be read: the gap is told.
func TestAHistoryThatIsTooShortIsToldAsAGap(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := startProxy(t, pool)
		subscriber := client(t, storagetest.Open(t, p.config()), pubsub.Config{})
		publisher := client(t, pool, pubsub.Config{})
		short := Numbers.WithHistory(pubsub.History{Size: 10})
		sub := subscribe(t, subscriber, short)
		publish(t, publisher, short, 0)
		require.Equal(t, 0, next(t, sub).Value)
		p.refuse(true)
		p.cut()
		publish(t, publisher, short, count(1, 30)...)
		p.refuse(false)
		gap := next(t, sub)
		require.ErrorIs(t, gap.Err, pubsub.ErrGap)
		publish(t, publisher, short, 30)
		require.Equal(t, 30, next(t, sub).Value)

		p.refuse(true)
		p.cut()
		publish(t, publisher, short, count(31, 40)...)
		p.refuse(false)
		require.Equal(t, count(31, 40), values(t, sub, 9), "of these none was missed")
	})
}

func TestHistoryOnTheWire(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := pool.Config()
		cfg.Prefix = "obs"
		c := client(t, storagetest.Open(t, cfg), pubsub.Config{})
		ctx := t.Context()
		topic := pubsub.NewTopic[string]("log").WithCodec(storage.Text).WithHistory(pubsub.History{Size: 5, TTL: time.Minute})
		raw := pool.Redis().Subscribe(ctx, "obs:log")
		defer raw.Close()
		_, err := raw.Receive(ctx)
		require.NoError(t, err)
		publish(t, c, topic, "a word", "")
		for n, want := range []string{"a word", ""} {
			m, err := raw.ReceiveMessage(ctx)
			require.NoError(t, err)
			offset, body, ok := strings.Cut(m.Payload, " ")
			require.True(t, ok)
			require.Regexp(t, fmt.Sprintf(`^\w+:\d{13}-%d$`, n+1), offset)
			require.Equal(t, want, body)
			entries, err := pool.Redis().XRange(ctx, "obs:pubsub:{log}:log", "-", "+").Result()
			require.NoError(t, err)
			require.Equal(t, offset[strings.Index(offset, ":")+1:], entries[n].ID)
			require.Equal(t, map[string]any{"p": want}, entries[n].Values)
		}
		for _, key := range keysOf(t, pool) {
			require.Positive(t, pool.Redis().PTTL(ctx, key).Val(), key)
		}
		sub := subscribe(t, c, topic)
		require.NoError(t, pool.Redis().Publish(ctx, "obs:log", "stray").Err())
		require.ErrorContains(t, next(t, sub).Err, `pubsub: history mismatch: the topic is subscribed to with a history, and this message was published without: "stray"`)
		require.Len(t, keysOf(t, pool), 2)

		_, err = pubsub.Subscribe(ctx, c, topic, pubsub.SubscribeOptions{After: "nonsense"})
		require.ErrorContains(t, err, `SubscribeOptions.After: "nonsense" is not an offset`)
		_, err = pubsub.Subscribe(ctx, c, topic, pubsub.SubscribeOptions{Replay: true, Overflow: pubsub.OverflowDropOldest})
		require.ErrorContains(t, err, "SubscribeOptions.Overflow")
		require.Panics(t, func() { topic.WithHistory(pubsub.History{Size: -1}) })
	})
}

// Who begins before the first message is told of a gap: there may have been a
// history that is gone.
func TestAHistoryThatHasNotBegun(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := startProxy(t, pool)
		subscriber, publisher := client(t, storagetest.Open(t, p.config()), pubsub.Config{}), client(t, pool, pubsub.Config{})
		_, none, err := pubsub.Recall(t.Context(), subscriber, Kept, "")
		require.NoError(t, err)
		there := subscribe(t, subscriber, Kept)
		p.refuse(true)
		p.cut()
		publish(t, publisher, Kept, 0, 1, 2)
		require.NoError(t, pool.Redis().FlushDB(t.Context()).Err())
		publish(t, publisher, Kept, 100, 101)
		p.refuse(false)
		require.ErrorIs(t, next(t, there).Err, pubsub.ErrGap)
		late := subscribe(t, subscriber, Kept, pubsub.SubscribeOptions{After: none})
		require.False(t, late.Recovered())
		require.ErrorIs(t, next(t, late).Err, pubsub.ErrGap)
		publish(t, publisher, Kept, 102)
		require.Equal(t, 102, next(t, there).Value)
		require.Equal(t, 102, next(t, late).Value)
	})
}

// With a policy that leaves messages out, a history can't tell what is missing,
// and does not try.
func TestHistoryAndDropOldest(t *testing.T) {
	t.Parallel()
	s := newSlow(t, storagetest.New(t), pubsub.Config{}, Kept, pubsub.SubscribeOptions{Overflow: pubsub.OverflowDropOldest, MaxMessages: 10})
	s.publish(0, 100)
	seen, dropped := 0, 0
	for seen+dropped < 100 {
		m := next(t, s.sub)
		if m.Err == nil {
			seen++
			require.NotEmpty(t, m.Offset)
			continue
		}
		var gap *pubsub.GapError
		require.ErrorAs(t, m.Err, &gap)
		dropped += gap.Dropped
	}
	require.Positive(t, dropped)
}

func TestPublishingWithHistoryIsInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		sub := subscribe(t, c, Kept)
		for i := range 2000 {
			pubsub.PublishAsync(context.Background(), c, Kept, i)
		}
		require.Equal(t, count(0, 2000), values(t, sub, 2000))
	})
}

func keysOf(t testing.TB, pool *storage.Pool) []string {
	t.Helper()
	keys, err := pool.Redis().Keys(context.Background(), "*").Result()
	require.NoError(t, err)
	return keys
}

func TestPublisherAndSubscriberMustAgreeOnTheHistory(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		c, err := pubsub.NewClient(pool, pubsub.Config{})
		require.NoError(t, err)
		for _, codec := range []storage.Codec{storage.MsgPack, storage.JSON, storage.Text} {
			plain := pubsub.NewTopic[string]("mismatch").WithCodec(codec)
			kept := plain.WithHistory(pubsub.History{})

			without, err := pubsub.Subscribe(ctx, c, plain)
			require.NoError(t, err)
			_, err = pubsub.Publish(ctx, c, kept, "one")
			require.NoError(t, err)
			m := <-without.C()
			require.ErrorIs(t, m.Err, pubsub.ErrHistoryMismatch)
			require.ErrorContains(t, m.Err, "topic mismatch is subscribed to without a history")
			require.Empty(t, m.Value)
			require.NoError(t, without.Close())

			with, err := pubsub.Subscribe(ctx, c, kept)
			require.NoError(t, err)
			_, err = pubsub.Publish(ctx, c, plain, "two")
			require.NoError(t, err)
			require.ErrorIs(t, (<-with.C()).Err, pubsub.ErrHistoryMismatch)
			require.NoError(t, with.Close())

			pattern, err := pubsub.Subscribe(ctx, c, pubsub.NewPattern[string]("mism*").WithCodec(codec))
			require.NoError(t, err)
			_, err = pubsub.Publish(ctx, c, kept, "three")
			require.NoError(t, err)
			m = <-pattern.C()
			require.ErrorIs(t, m.Err, pubsub.ErrHistoryMismatch)
			require.ErrorContains(t, m.Err, "pattern mism* has no history")
			require.NoError(t, pattern.Close())
		}
	})
}

func TestNewClientNamesANilOrClosedPool(t *testing.T) {
	t.Parallel()
	_, err := pubsub.NewClient(nil, pubsub.Config{})
	require.EqualError(t, err, "pubsub: NewClient: pool is nil")
	pool := storagetest.New(t)
	require.NoError(t, pool.Close())
	_, err = pubsub.NewClient(pool, pubsub.Config{})
	require.ErrorIs(t, err, storage.ErrClosed)
	require.ErrorContains(t, err, "pubsub: NewClient: ")
}

func TestANilClientIsRefusedByName(t *testing.T) {
	t.Parallel()
	topic := pubsub.NewTopic[string]("x")
	_, err := pubsub.Publish(t.Context(), nil, topic, "v")
	require.EqualError(t, err, "pubsub: publish to x: client is nil")
	_, err = pubsub.PublishAsync(t.Context(), nil, topic, "v").Wait(t.Context())
	require.EqualError(t, err, "pubsub: publish to x: client is nil")
	_, err = pubsub.Subscribe(t.Context(), nil, topic)
	require.EqualError(t, err, "pubsub: subscribe to x: client is nil")
	_, err = pubsub.Listen(t.Context(), nil, topic, func(context.Context, pubsub.Message[string]) error { return nil })
	require.EqualError(t, err, "pubsub: listen to x: client is nil")
	_, _, err = pubsub.Recall(t.Context(), nil, topic, "")
	require.EqualError(t, err, "pubsub: recall x: client is nil")
}
