package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// witness compares what a subscription received with what was published: 0, 1, 2 and
// so on, none twice, and none missing without a reported gap.
type witness struct {
	sub    *pubsub.Subscription[int]
	last   int
	gap    bool
	got    int
	gaps   int // reported
	missed int
	wrong  []string // twice, or out of order
	silent []int    // missing without a reported gap
}

// watch ends with the negative number of all that were published.
func (w *witness) watch() {
	w.last = -1
	for m := range w.sub.C() {
		if m.Err != nil {
			w.gap = true
			w.gaps++
			continue
		}
		v := m.Value
		if v < 0 {
			v = -v
		}
		if v <= w.last {
			w.wrong = append(w.wrong, fmt.Sprintf("%d after %d", v, w.last))
		}
		for missing := w.last + 1; missing < v && !w.gap; missing++ {
			w.silent = append(w.silent, missing)
		}
		w.missed += v - w.last - 1
		if m.Value < 0 {
			return
		}
		w.last, w.gap = v, false
		w.got++
	}
}

// soakTime returns how long a soak lasts: all of long in the long run, a fifth of it in
// the short run.
func soakTime(long time.Duration) time.Duration {
	if os.Getenv("HELIOGRAPH_TESTS") == "long" {
		return long
	}
	return long / 5
}

// soak publishes on several channels while cut is called about every 50 ms, and returns
// the number of reported gaps and of missed messages.
func soak(t *testing.T, publisher, subscriber *pubsub.Client, cut func(), topics []pubsub.Topic[int], opts pubsub.SubscribeOptions) (gaps, missed int) {
	t.Helper()
	var watching sync.WaitGroup
	var all []*witness
	for _, topic := range topics {
		for range 3 {
			w := &witness{sub: subscribe(t, subscriber, topic, opts)}
			all = append(all, w)
			watching.Go(func() { w.watch() })
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), soakTime(5*time.Second))
	defer cancel()
	var publishing sync.WaitGroup
	counts := make([]int, len(topics))
	unsure := make([][]int, len(topics)) // whether they were published
	for i, topic := range topics {
		publishing.Go(func() {
			for ; ctx.Err() == nil; counts[i]++ {
				_, err := pubsub.Publish(t.Context(), publisher, topic, counts[i])
				if errors.Is(err, storage.ErrIndeterminate) {
					unsure[i] = append(unsure[i], counts[i])
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(25*time.Millisecond + rand.N(50*time.Millisecond)):
			cut()
		}
	}
	publishing.Wait()
	// The last must arrive, on a connection that is not cut.
	for i, topic := range topics {
		eventually(t, func() bool {
			n, err := pubsub.Publish(t.Context(), publisher, topic, counts[i])
			counts[i]++
			return err == nil && n > 0
		})
		publish(t, publisher, topic, -counts[i])
	}
	watching.Wait()
	published := 0
	for i, w := range all {
		n := counts[i/3]
		published += n
		require.Empty(t, w.wrong)
		require.Subset(t, unsure[i/3], w.silent)
		require.Equal(t, n, w.got+w.missed)
		gaps += w.gaps
		missed += w.missed
	}
	t.Logf("%d messages to %d subscriptions, %d missed, %d gaps told, %d connections",
		published, len(all), missed, gaps, subscriber.Stats().Connects)
	return gaps, missed
}

var soakTopics = []pubsub.Topic[int]{
	pubsub.NewTopic[int]("soak:a"), pubsub.NewTopic[int]("soak:b").WithCodec(storage.JSON), pubsub.NewTopic[int]("soak:c"),
}

func TestEveryGapIsSignalled(t *testing.T) {
	t.Parallel()
	quiet := pubsub.SubscribeOptions{MaxMessages: 1 << 20, MaxBytes: 1 << 30}
	t.Run("embedded", func(t *testing.T) {
		pool := storagetest.New(t)
		p := startProxy(t, pool)
		subscriber := client(t, storagetest.Open(t, p.config()), pubsub.Config{})
		gaps, missed := soak(t, client(t, pool, pubsub.Config{}), subscriber, func() { p.cut() }, soakTopics, quiet)
		require.Positive(t, missed)
		require.Positive(t, gaps)
	})
	t.Run("redis", func(t *testing.T) {
		pool := storagetest.Open(t, storagetest.Start(t).Config())
		subscriber := client(t, storagetest.Open(t, pool.Config()), pubsub.Config{})
		gaps, missed := soak(t, client(t, pool, pubsub.Config{}), subscriber, func() { cut(t, pool) }, soakTopics, quiet)
		require.Positive(t, missed)
		require.Positive(t, gaps)
	})
	t.Run("redis, publishers cut as well", func(t *testing.T) {
		pool := storagetest.Open(t, storagetest.Start(t).Config())
		killer := storagetest.Open(t, pool.Config()).Redis()
		subscriber := client(t, storagetest.Open(t, pool.Config()), pubsub.Config{})
		soak(t, client(t, pool, pubsub.Config{}), subscriber, func() {
			require.NoError(t, killer.ClientKillByFilter(t.Context(), "skipme", "yes").Err())
		}, soakTopics, quiet)
	})
}

func TestAGapIsToldOnceAndInOrder(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	var events []string
	var mu sync.Mutex
	c := client(t, pool, pubsub.Config{OnEvent: func(e pubsub.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e.Kind.String())
	}})
	one, two := subscribe(t, c, Numbers), subscribe(t, c, Numbers)
	pattern := subscribe(t, c, pubsub.NewPattern[int]("num*"))
	publish(t, c, Numbers, 1)
	require.Equal(t, 1, cut(t, pool))
	eventually(t, func() bool { return c.Stats().Resubscribed == 2 })
	late := subscribe(t, c, Numbers)
	publish(t, c, Numbers, 2)
	for _, sub := range []*pubsub.Subscription[int]{one, two, pattern} {
		require.Equal(t, 1, next(t, sub).Value)
		gap := next(t, sub)
		require.ErrorIs(t, gap.Err, pubsub.ErrGap)
		var e *pubsub.GapError
		require.ErrorAs(t, gap.Err, &e)
		require.Zero(t, e.Dropped)
		require.ErrorContains(t, e, "pubsub: messages may be missing: EOF")
		require.Equal(t, 2, next(t, sub).Value)
	}
	require.Equal(t, 2, next(t, late).Value, "a later subscription has missed nothing")
	require.EqualValues(t, 3, c.Stats().Gaps)
	mu.Lock()
	require.Equal(t, []string{"connected", "disconnected", "reconnecting", "connected"}, events)
	mu.Unlock()

	// Redis goes, and comes back empty.
	srv.Kill()
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(strings.Join(events, ","), "reconnect failed") > 1
	})
	srv.Restart()
	require.ErrorIs(t, next(t, late).Err, pubsub.ErrGap, "reported when Redis is back, although nothing is published")
}

func TestAConnectionThatIsDeadIsNoticed(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := startProxy(t, pool)
		c := client(t, storagetest.Open(t, p.config()), pubsub.Config{Probe: 500 * time.Millisecond})
		sub := subscribe(t, c, Numbers)
		eventually(t, func() bool { return c.Stats().Probes > 2 })
		require.EqualValues(t, 1, c.Stats().Connects, "probes come through")
		p.swallow(true)
		eventually(t, func() bool { return c.Stats().Disconnects > 0 })
		p.swallow(false)
		p.cut() // a handshake may wait for what was swallowed
		gap := next(t, sub)
		require.ErrorIs(t, gap.Err, pubsub.ErrGap)
		require.ErrorContains(t, gap.Err, "silent")
		publish(t, client(t, pool, pubsub.Config{}), Numbers, 1)
		require.Equal(t, 1, next(t, sub).Value)
	})
}

func TestSubscriptionsSurviveAFailover(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	sentinel := storagetest.StartSentinel(t)
	c := client(t, storagetest.Open(t, sentinel.Config()), pubsub.Config{Probe: 200 * time.Millisecond})
	sub := subscribe(t, c, Numbers)
	publish(t, c, Numbers, 1)
	require.Equal(t, 1, next(t, sub).Value)
	old := sentinel.Primary()
	old.Kill()
	eventually(t, func() bool { return sentinel.Primary() != old })
	require.ErrorIs(t, next(t, sub).Err, pubsub.ErrGap)
	publisher := client(t, storagetest.Open(t, sentinel.Config()), pubsub.Config{})
	publish(t, publisher, Numbers, 2)
	for m := next(t, sub); m.Value != 2; m = next(t, sub) {
		require.ErrorIs(t, m.Err, pubsub.ErrGap)
	}
}

// Subscriptions come and go while connections are cut: each that is confirmed
// works, and in the end nothing is left.
func TestSubscriptionsComeAndGoUnderCuts(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := startProxy(t, pool)
		c := client(t, storagetest.Open(t, p.config()), pubsub.Config{Linger: time.Millisecond})
		publisher := client(t, pool, pubsub.Config{})
		topics := []pubsub.Source[int]{Numbers, pubsub.NewTopic[int]("a"), pubsub.NewTopic[int]("b"), pubsub.NewPattern[int]("[ab]")}
		ctx, cancel := context.WithTimeout(t.Context(), soakTime(3*time.Second))
		defer cancel()
		var wg sync.WaitGroup
		var rounds atomic.Int64
		for i := range 16 {
			wg.Go(func() {
				for j := 0; ctx.Err() == nil; j++ {
					from := topics[(i+j)%len(topics)]
					sub, err := pubsub.Subscribe(t.Context(), c, from)
					if err != nil {
						t.Error(err)
						return
					}
					to := pubsub.NewTopic[int](strings.Replace(from.String(), "[ab]", "a", 1))
					want := i*1_000_000 + j
					if _, err := pubsub.Publish(t.Context(), publisher, to, want); err != nil {
						t.Error(err)
					}
					for m := range sub.C() {
						if m.Value == want || m.Err != nil {
							break
						}
					}
					_ = sub.Close()
					rounds.Add(1)
				}
			})
		}
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(20 * time.Millisecond)):
				p.cut()
			}
		}
		wg.Wait()
		t.Logf("%d rounds, %d connections", rounds.Load(), c.Stats().Connects)
		eventually(t, func() bool { return c.Stats().Channels == 0 && c.Stats().Connections == 0 })
		require.Zero(t, c.Stats().Subscriptions)
		eventually(t, func() bool { return len(pool.Redis().PubSubChannels(t.Context(), "*").Val()) == 0 })
	})
}
