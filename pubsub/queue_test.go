package pubsub_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// slow is a topic, a subscription to it that reads nothing, and one that keeps
// up, which tells when a message has been handed to both.
type slow struct {
	t     *testing.T
	c     *pubsub.Client
	topic pubsub.Topic[int]
	sub   *pubsub.Subscription[int]
	fast  *pubsub.Subscription[int]
}

func newSlow(t *testing.T, pool *storage.Pool, cfg pubsub.Config, topic pubsub.Topic[int], opts pubsub.SubscribeOptions) *slow {
	c := client(t, pool, cfg)
	return &slow{t, c, topic, subscribe(t, c, topic, opts), subscribe(t, c, topic)}
}

// publish publishes numbers, and waits until they are queued or refused.
func (s *slow) publish(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		pubsub.PublishAsync(s.t.Context(), s.c, s.topic, i)
	}
	for i := from; i < to; i++ {
		m := next(s.t, s.fast)
		require.NoError(s.t, m.Err)
		require.Equal(s.t, i, m.Value, "the others don't notice")
	}
}

// held is how many messages a consumer that reads nothing may hold beyond its
// queue: a handful, and its channel.
const held = 64 + 16

func TestSlowConsumersEnd(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		for queued, opts := range map[int]pubsub.SubscribeOptions{
			100:         {MaxMessages: 100},
			10_000 / 65: {MaxBytes: 10_000}, // a number takes a byte at least, and a message 64
		} {
			s := newSlow(t, pool, pubsub.Config{}, Numbers, opts)
			s.publish(0, 1000)
			got := ends(t, s.sub)
			require.ErrorIs(t, s.sub.Err(), pubsub.ErrSlow)
			require.LessOrEqual(t, len(got), queued+held)
			require.GreaterOrEqual(t, len(got), 100)
			for i, m := range got {
				require.NoError(t, m.Err)
				require.Equal(t, i, m.Value, "all up to the end")
			}
			require.EqualValues(t, 1, s.c.Stats().Slow)
			eventually(t, func() bool { return s.c.Stats().Subscriptions == 1 })
			require.NoError(t, s.fast.Close())
		}
	})
}

func TestSlowConsumersMayDropTheOldest(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSlow(t, pool, pubsub.Config{}, Numbers, pubsub.SubscribeOptions{Overflow: pubsub.OverflowDropOldest, MaxMessages: 100})
		s.publish(0, 1000)
		s.publish(1000, 1001) // and now all before are queued
		require.Positive(t, s.c.Stats().Dropped)
		require.LessOrEqual(t, s.c.Stats().Queued, 101)
		for want := 0; want <= 1000; {
			m := next(t, s.sub)
			var gap *pubsub.GapError
			if errors.As(m.Err, &gap) {
				require.Positive(t, gap.Dropped)
				require.NoError(t, gap.Cause)
				want += gap.Dropped
				continue
			}
			require.Equal(t, want, m.Value)
			want++
		}
		require.NoError(t, s.sub.Err())
		require.Greater(t, s.c.Stats().Dropped, int64(800))
	})
}

func TestSlowConsumersMayConflate(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		parity := Numbers.WithKey(func(n int) string { return strconv.Itoa(n % 3) })
		s := newSlow(t, pool, pubsub.Config{}, parity, pubsub.SubscribeOptions{Overflow: pubsub.OverflowConflate, MaxMessages: 4})
		s.publish(0, 999)
		require.LessOrEqual(t, s.c.Stats().Queued, 3)
		newest := map[int]int{}
		for last := -1; len(newest) < 3 || newest[0]+newest[1]+newest[2] != 996+997+998; {
			m := next(t, s.sub)
			require.NoError(t, m.Err)
			if old, ok := newest[m.Value%3]; ok {
				require.Greater(t, m.Value, old, "never back")
			}
			newest[m.Value%3] = m.Value
			require.NotEqual(t, last, m.Value)
			last = m.Value
		}
		require.Greater(t, s.c.Stats().Conflated, int64(900))

		// Without a key it goes by channel; with too many it ends.
		all := pubsub.NewPattern[int]("many:*")
		sub := subscribe(t, s.c, all, pubsub.SubscribeOptions{Overflow: pubsub.OverflowConflate, MaxMessages: 10})
		for range 20 {
			for i := range 8 {
				publish(t, s.c, pubsub.NewTopic[int]("many:"+strconv.Itoa(i)), i)
			}
		}
		require.NoError(t, sub.Err())
		for i := range 50 {
			publish(t, s.c, pubsub.NewTopic[int]("many:"+strconv.Itoa(i)), i)
		}
		eventually(t, func() bool { return errors.Is(sub.Err(), pubsub.ErrSlow) })
		require.NotEmpty(t, ends(t, sub))
	})
}

func TestAConflationKeyMayPanic(t *testing.T) {
	t.Parallel()
	c := client(t, storagetest.New(t), pubsub.Config{})
	topic := Numbers.WithKey(func(int) string { panic("no key") })
	sub := subscribe(t, c, topic, pubsub.SubscribeOptions{Overflow: pubsub.OverflowConflate})
	publish(t, c, Numbers, 1)
	require.Equal(t, 1, next(t, sub).Value)
	require.EqualValues(t, 1, c.Stats().Panics)
}

func TestSlowConsumersMayBlockForAWhile(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		patient := pubsub.SubscribeOptions{Overflow: pubsub.OverflowBlock, MaxMessages: 100, Patience: time.Hour}
		s := newSlow(t, pool, pubsub.Config{}, Numbers, patient)
		s.publish(0, 1000)
		require.Positive(t, s.c.Stats().Overflow)
		for i := range 1000 {
			m := next(t, s.sub)
			require.NoError(t, m.Err)
			require.Equal(t, i, m.Value)
		}
		require.Zero(t, s.c.Stats().Overflow)

		patient.Patience = 10 * time.Millisecond
		s = newSlow(t, pool, pubsub.Config{}, Numbers, patient)
		s.publish(0, 1000)
		eventually(t, func() bool { return s.sub.Err() != nil })
		for i, m := range ends(t, s.sub) {
			require.Equal(t, i, m.Value)
		}
		require.ErrorIs(t, s.sub.Err(), pubsub.ErrSlow)
		require.Zero(t, s.c.Stats().Overflow)

		patient.Patience = time.Hour
		s = newSlow(t, pool, pubsub.Config{MaxOverflow: 10_000}, Numbers, patient)
		s.publish(0, 1000)
		ends(t, s.sub)
		require.ErrorIs(t, s.sub.Err(), pubsub.ErrSlow, "all have overflowed as far as they may")
	})
}

// counted counts how often it is decoded.
type counted struct{ N int }

var decodings atomic.Int64

func (c *counted) UnmarshalJSON(data []byte) error {
	decodings.Add(1)
	return json.Unmarshal(data, &c.N)
}

func TestAMessageIsDecodedOncePerType(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, pubsub.Config{})
	topic := pubsub.NewTopic[counted]("counted").WithCodec(storage.JSON)
	const n = 1000
	subs := make([]*pubsub.Subscription[counted], n)
	for i := range subs {
		subs[i] = subscribe(t, c, topic)
	}
	other := subscribe(t, c, pubsub.NewTopic[json.Number]("counted").WithCodec(storage.JSON))
	got := make(chan int, n)
	listen(t, c, topic, func(_ context.Context, m pubsub.Message[counted]) error {
		got <- m.Value.N
		return m.Err
	})
	decodings.Store(0)
	for i := range 10 {
		require.NoError(t, pool.Redis().Publish(t.Context(), "counted", i).Err())
	}
	for i := range 10 {
		for _, sub := range subs {
			m := next(t, sub)
			require.NoError(t, m.Err)
			require.Equal(t, i, m.Value.N)
		}
		require.Equal(t, json.Number(strconv.Itoa(i)), next(t, other).Value)
		require.Equal(t, i, <-got)
	}
	require.EqualValues(t, 10, decodings.Load())
	require.EqualValues(t, 10, c.Stats().Received)
	require.EqualValues(t, 10*(n+2), c.Stats().Delivered)
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		shout := pubsub.NewTopic[string]("shout").WithCodec(storage.Text)
		var trace []string
		c := client(t, pool, pubsub.Config{
			Publishing: []pubsub.Middleware{
				func(next pubsub.Handler) pubsub.Handler {
					return func(ctx context.Context, p *pubsub.Packet) error {
						if string(p.Payload) == "veto" {
							return errors.New("not today")
						}
						if string(p.Payload) == "silence" {
							return nil
						}
						p.Payload = append([]byte("<"), append(p.Payload, '>')...)
						return next(ctx, p)
					}
				},
			},
			Receiving: []pubsub.Middleware{
				func(next pubsub.Handler) pubsub.Handler {
					return func(ctx context.Context, p *pubsub.Packet) error {
						trace = append(trace, p.Channel+" "+string(p.Payload))
						err := next(ctx, p)
						trace = append(trace, "done")
						return err
					}
				},
				func(next pubsub.Handler) pubsub.Handler {
					return func(ctx context.Context, p *pubsub.Packet) error {
						if strings.Contains(string(p.Payload), "secret") {
							return nil
						}
						p.Payload = []byte(strings.ToUpper(string(p.Payload)))
						return next(ctx, p)
					}
				},
			},
		})
		sub := subscribe(t, c, shout)
		n, err := pubsub.Publish(t.Context(), c, shout, "veto")
		require.ErrorContains(t, err, "pubsub: publish to shout: not today")
		require.Zero(t, n)
		n, err = pubsub.Publish(t.Context(), c, shout, "silence")
		require.NoError(t, err)
		require.Zero(t, n)
		publish(t, c, shout, "secret", "hello")
		require.Equal(t, "<HELLO>", next(t, sub).Value)
		require.NoError(t, sub.Close())
		ends(t, sub)
		require.Equal(t, []string{"shout <secret>", "done", "shout <hello>", "done"}, trace)

		got := make(chan string, 1)
		l, err := pubsub.Listen(t.Context(), c, shout, func(_ context.Context, m pubsub.Message[string]) error {
			got <- m.Value
			return nil
		})
		require.NoError(t, err)
		defer l.Close()
		publish(t, c, shout, "again")
		require.Equal(t, "<AGAIN>", <-got)
	})
}

// What ended as too slow may never be read: it holds up nothing.
func TestCloseDoesNotWaitForSlowConsumers(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := newSlow(t, pool, pubsub.Config{}, Numbers, pubsub.SubscribeOptions{MaxMessages: 10})
	s.publish(0, 1000)
	eventually(t, func() bool { return errors.Is(s.sub.Err(), pubsub.ErrSlow) })
	require.NoError(t, s.c.Close())
	ends(t, s.sub)
	require.ErrorIs(t, s.sub.Err(), pubsub.ErrSlow)
}
