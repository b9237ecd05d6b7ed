package pubsub_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestPublishReachesEverySubscription(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		ctx := t.Context()
		n, err := pubsub.Publish(ctx, c, Positions, Position{"x", 1})
		require.NoError(t, err)
		require.Zero(t, n, "no subscription is left")

		first, second := subscribe(t, c, Positions), subscribe(t, c, Positions)
		all := subscribe(t, c, pubsub.NewPattern[Position]("stage:*"))
		n, err = pubsub.Publish(ctx, c, Positions, Position{"x", 2.5})
		require.NoError(t, err)
		require.Equal(t, 2, n, "one channel and one pattern, whoever shares them here")
		want := pubsub.Message[Position]{Channel: "stage:positions", Value: Position{"x", 2.5}}
		require.Equal(t, want, said(t, first))
		require.Equal(t, want, said(t, second))
		require.Equal(t, want, said(t, all))

		f := pubsub.PublishAsync(ctx, c, Positions, Position{"y", 3})
		<-f.Done()
		n, err = f.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, "y", next(t, first).Value.Axis)

		require.NoError(t, first.Close())
		require.NoError(t, first.Close())
		require.Empty(t, ends(t, first))
		require.NoError(t, first.Err())
		publish(t, c, Positions, Position{"z", 4})
		require.Equal(t, "y", next(t, second).Value.Axis)
		require.Equal(t, "z", next(t, second).Value.Axis)

		stats := c.Stats()
		require.Equal(t, 1, stats.Connections)
		require.Equal(t, 2, stats.Channels)
		require.Equal(t, 2, stats.Subscriptions)
		require.EqualValues(t, 4, stats.Published)
		eventually(t, func() bool { return c.Stats().Received == 6 })
	})
}

func TestOrderOfOnePublisher(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		sub := subscribe(t, c, Numbers)
		const n = 10_000
		for i := range n {
			pubsub.PublishAsync(t.Context(), c, Numbers, i)
		}
		for i := range n {
			m := next(t, sub)
			require.NoError(t, m.Err)
			require.Equal(t, i, m.Value)
		}
	})
}

// The other side may be any program.
func TestWhatIsOnTheWireIsTheValueAlone(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := pool.Config()
		cfg.Prefix = "obs"
		prefixed := storagetest.Open(t, cfg)
		c := client(t, prefixed, pubsub.Config{})
		ctx := t.Context()
		for _, codec := range []struct {
			storage.Codec
			text string
		}{{storage.JSON, `{"axis":"x","at":1}`}, {storage.MsgPack, "\x82\xa4axis\xa1x\xa2at\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"}} {
			topic := Positions.WithCodec(codec.Codec)
			raw := pool.Redis().Subscribe(ctx, "obs:stage:positions")
			_, err := raw.Receive(ctx)
			require.NoError(t, err)
			publish(t, c, topic, Position{"x", 1})
			m, err := raw.ReceiveMessage(ctx)
			require.NoError(t, err)
			require.Equal(t, codec.text, m.Payload)
			require.NoError(t, raw.Close())

			sub := subscribe(t, c, topic)
			require.NoError(t, pool.Redis().Publish(ctx, "obs:stage:positions", codec.text).Err())
			got := next(t, sub)
			require.Equal(t, "stage:positions", got.Channel)
			require.Equal(t, Position{"x", 1}, got.Value)
		}
		text := subscribe(t, c, pubsub.NewPattern[string]("t?xt").WithCodec(storage.Text))
		require.NoError(t, pool.Redis().Publish(ctx, "obs:text", "hällo").Err())
		require.Equal(t, pubsub.Message[string]{Channel: "text", Value: "hällo"}, said(t, text))
	})
}

func TestRawTopicsAreMadeAtRunTime(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, pubsub.Config{})
	_, err := pubsub.ParseTopic[[]byte]("a b")
	require.ErrorContains(t, err, `pubsub: topic: name "a b": ' ' is not allowed`)
	topic, err := pubsub.ParseTopic[[]byte]("any")
	require.NoError(t, err)
	topic = topic.WithCodec(storage.Raw)
	sub := subscribe(t, c, topic)
	publish(t, c, topic, []byte{0, 1, 255})
	require.Equal(t, []byte{0, 1, 255}, next(t, sub).Value)

	_, err = pubsub.ParsePattern[[]byte]("a b*")
	require.ErrorContains(t, err, `pubsub: pattern: name "a b": ' ' is not allowed`)
	pattern, err := pubsub.ParsePattern[[]byte]("an[x-z]")
	require.NoError(t, err)
	require.Equal(t, pubsub.NewPattern[[]byte]("an[x-z]"), pattern)
}

func TestWhatCantBeDecodedIsTold(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{})
		one, two := subscribe(t, c, Positions.WithCodec(storage.JSON)), subscribe(t, c, Positions.WithCodec(storage.JSON))
		for _, text := range []string{`{"axis":1}`, `{"axis":"x"}`} {
			require.NoError(t, pool.Redis().Publish(t.Context(), "stage:positions", text).Err())
		}
		for _, sub := range []*pubsub.Subscription[Position]{one, two} {
			m := next(t, sub)
			require.ErrorContains(t, m.Err, "decode json into *pubsub_test.Position")
			require.NotErrorIs(t, m.Err, pubsub.ErrGap)
			require.Zero(t, m.Value)
			require.Equal(t, "x", next(t, sub).Value.Axis)
		}
		require.EqualValues(t, 2, c.Stats().Undecodable)
	})
}

func TestTheLastToLeaveUnsubscribes(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{Linger: -1})
		ctx := t.Context()
		subscribers := func() int64 { return pool.Redis().PubSubNumSub(ctx, "numbers").Val()["numbers"] }
		keep := subscribe(t, c, Positions)
		one, two := subscribe(t, c, Numbers), subscribe(t, c, Numbers)
		require.EqualValues(t, 1, subscribers())
		require.NoError(t, one.Close())
		require.EqualValues(t, 1, subscribers())
		publish(t, c, Numbers, 1)
		require.Equal(t, 1, next(t, two).Value)
		require.NoError(t, two.Close())
		eventually(t, func() bool { return subscribers() == 0 })

		// Back and forth, faster than Redis answers.
		for i := range 200 {
			sub, err := pubsub.Subscribe(ctx, c, Numbers)
			require.NoError(t, err)
			publish(t, c, Numbers, i)
			require.Equal(t, i, next(t, sub).Value)
			require.NoError(t, sub.Close())
		}
		publish(t, c, Positions, Position{"x", 1})
		require.Equal(t, "x", next(t, keep).Value.Axis)
		require.NoError(t, keep.Close())
		eventually(t, func() bool { return c.Stats().Connections == 0 }, "the connection goes with the last channel")
		again := subscribe(t, c, Numbers)
		publish(t, c, Numbers, 7)
		require.Equal(t, 7, next(t, again).Value)
	})
}

func TestAChannelLingers(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, pubsub.Config{Linger: time.Hour})
	sub := subscribe(t, c, Numbers)
	require.NoError(t, sub.Close())
	require.Equal(t, 1, c.Stats().Channels)
	before := c.Stats().Received
	publish(t, c, Numbers, 1)
	eventually(t, func() bool { return c.Stats().Received > before })
	again := subscribe(t, c, Numbers)
	publish(t, c, Numbers, 2)
	require.Equal(t, 2, next(t, again).Value)
}

func TestManySubscribeAtOnce(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		const n = 2000
		c := client(t, pool, pubsub.Config{})
		subs := make([]*pubsub.Subscription[int], n)
		errs := make(chan error, n)
		topic := func(i int) pubsub.Topic[int] { return pubsub.NewTopic[int](fmt.Sprint("many:", i)) }
		for i := range n {
			go func() {
				var err error
				subs[i], err = pubsub.Subscribe(t.Context(), c, topic(i))
				errs <- err
			}()
		}
		for range n {
			require.NoError(t, <-errs)
		}
		for i := range n {
			pubsub.PublishAsync(t.Context(), c, topic(i), i)
		}
		for i := range n {
			require.Equal(t, i, next(t, subs[i]).Value)
		}
		require.Equal(t, 1, c.Stats().Connections)
		require.Equal(t, n, c.Stats().Channels)
	})
}

func TestSubscribeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	c := client(t, pool, pubsub.Config{MaxSubscriptions: 1})
	ctx := t.Context()
	for _, bad := range []struct {
		opts pubsub.SubscribeOptions
		want string
	}{
		{pubsub.SubscribeOptions{MaxMessages: -1}, "SubscribeOptions.MaxMessages: -1 is negative"},
		{pubsub.SubscribeOptions{MaxBytes: -1}, "MaxBytes"},
		{pubsub.SubscribeOptions{Overflow: 9}, "SubscribeOptions.Overflow: there is no 9"},
		{pubsub.SubscribeOptions{Concurrency: 2}, "SubscribeOptions.Concurrency is for Listen"},
		{pubsub.SubscribeOptions{Replay: true}, "topic numbers has no history"},
	} {
		_, err := pubsub.Subscribe(ctx, c, Numbers, bad.opts)
		require.ErrorContains(t, err, "pubsub: subscribe to numbers: ")
		require.ErrorContains(t, err, bad.want)
	}
	_, err := pubsub.Subscribe(ctx, c, pubsub.Topic[int]{})
	require.ErrorContains(t, err, "a zero topic")
	_, err = pubsub.Subscribe(ctx, c, Numbers, pubsub.SubscribeOptions{}, pubsub.SubscribeOptions{})
	require.ErrorContains(t, err, "more than one SubscribeOptions")
	subscribe(t, c, Numbers)
	_, err = pubsub.Subscribe(ctx, c, Numbers)
	require.ErrorIs(t, err, pubsub.ErrTooMany)

	for _, name := range []string{"", "a b", "a*", "a{b}", "\x00"} {
		require.Panics(t, func() { pubsub.NewTopic[int](name) }, name)
	}
	for _, glob := range []string{"", "a b", "{a}*"} {
		require.Panics(t, func() { pubsub.NewPattern[int](glob) }, glob)
		require.Panics(t, func() { pubsub.NewTopic[int]("x").WithCodec(9) })
	}
	for _, cfg := range []pubsub.Config{{MaxMessage: -1}, {MaxSubscriptions: -1}, {MaxOverflow: -1}, {Publishing: []pubsub.Middleware{nil}}} {
		_, err := pubsub.NewClient(pool, cfg)
		require.ErrorContains(t, err, "pubsub: Config.")
	}
}

func TestRedisMayComeLater(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	srv.Kill()
	c := client(t, storagetest.Open(t, srv.Config()), pubsub.Config{})
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := pubsub.Subscribe(short, c, Numbers)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused", "and why")
	_, err = pubsub.Publish(short, c, Numbers, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	subscribed := make(chan *pubsub.Subscription[int], 1)
	go func() {
		sub, err := pubsub.Subscribe(context.Background(), c, Numbers)
		if err != nil {
			t.Error(err)
		}
		subscribed <- sub
	}()
	history := pubsub.NewTopic[int]("kept").WithHistory(pubsub.History{})
	kept := make(chan *pubsub.Subscription[int], 1)
	go func() {
		sub, err := pubsub.Subscribe(context.Background(), c, history)
		if err != nil {
			t.Error(err)
		}
		kept <- sub
	}()
	eventually(t, func() bool { return c.Stats().Subscriptions > 0 })
	srv.Restart()
	sub := <-subscribed
	publish(t, c, Numbers, 3)
	require.Equal(t, 3, next(t, sub).Value, "without a gap: there was nothing before")
	require.NoError(t, sub.Close())
	sub = <-kept
	publish(t, c, history, 4)
	require.Equal(t, 4, next(t, sub).Value)
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		own := storagetest.Open(t, pool.Config())
		c := client(t, own, pubsub.Config{})
		sub := subscribe(t, c, Numbers)
		entered, left := make(chan bool), make(chan bool, 1)
		l, err := pubsub.Listen(t.Context(), c, Numbers, func(ctx context.Context, _ pubsub.Message[int]) error {
			close(entered)
			<-ctx.Done()
			left <- true
			return nil
		})
		require.NoError(t, err)
		publish(t, c, Numbers, 1)
		<-entered
		require.NoError(t, own.Close())
		require.True(t, <-left, "close has waited for the handler")
		ends(t, sub)
		require.ErrorIs(t, sub.Err(), pubsub.ErrClosed)
		<-l.Done()
		require.ErrorIs(t, l.Err(), pubsub.ErrClosed)
		_, err = pubsub.Subscribe(t.Context(), c, Numbers)
		require.ErrorIs(t, err, pubsub.ErrClosed)
		_, err = pubsub.Publish(t.Context(), c, Numbers, 1)
		require.ErrorIs(t, err, pubsub.ErrClosed)
		_, err = pubsub.NewClient(own, pubsub.Config{})
		require.ErrorIs(t, err, storage.ErrClosed)
		require.NoError(t, c.Close())
	})
}

// A channel that is taken up again on its way out is as good as a new one: a
// later gap is told.
func TestAGapAfterLingering(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := startProxy(t, pool)
		c := client(t, storagetest.Open(t, p.config()), pubsub.Config{Linger: -1})
		keep := subscribe(t, c, Positions)
		for range 50 {
			first := subscribe(t, c, Numbers)
			require.NoError(t, first.Close())
			second := subscribe(t, c, Numbers)
			p.cut()
			require.ErrorIs(t, next(t, second).Err, pubsub.ErrGap)
			require.ErrorIs(t, next(t, keep).Err, pubsub.ErrGap)
			require.NoError(t, second.Close())
		}
	})
}

func TestEveryKindOfPool(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	works := func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, pubsub.Config{Probe: 500 * time.Millisecond})
		sub, all := subscribe(t, c, Numbers), subscribe(t, c, pubsub.NewPattern[int]("n*"))
		eventually(t, func() bool { return c.Stats().Probes > 1 })
		publish(t, c, Numbers, 1)
		require.Equal(t, 1, next(t, sub).Value)
		require.Equal(t, "numbers", next(t, all).Channel)
		cut(t, pool)
		require.ErrorIs(t, next(t, sub).Err, pubsub.ErrGap)
		publish(t, c, Numbers, 2)
		require.Equal(t, 2, next(t, sub).Value)
	}
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			cfg := srv.Config()
			cfg.Redis.Protocol = protocol
			works(t, storagetest.Open(t, cfg))
		})
	}
	t.Run("the host's", func(t *testing.T) {
		host := redis.NewClient(&redis.Options{Addr: srv.Addr()})
		defer host.Close()
		pool, err := storage.New(host, storage.Config{})
		require.NoError(t, err)
		defer pool.Close()
		works(t, pool)
		require.NoError(t, pool.Close())
		require.NoError(t, host.Ping(t.Context()).Err())
	})
}
