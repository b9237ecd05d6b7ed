package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// scheduleTopics have one publisher each.
var scheduleTopics = []pubsub.Topic[int]{
	pubsub.NewTopic[int]("plain"), pubsub.NewTopic[int]("kept").WithHistory(pubsub.History{}),
	pubsub.NewTopic[int]("short").WithHistory(pubsub.History{Size: 5}),
}

// settled is within what time after the last fault subscriptions are as before.
const settled = 15 * time.Second

// schedule is publications, subscriptions and faults at random, and what came of them.
type schedule struct {
	t        *testing.T
	network  *storagetest.Network
	messages history.Messages
	reading  sync.WaitGroup
	calm     atomic.Bool // all has recovered
}

// client returns a client by a link of its own.
func (s *schedule) client() (*pubsub.Client, *storagetest.Link) {
	link := s.network.Link()
	cfg := link.Config()
	cfg.Logger = slog.New(slog.DiscardHandler) // faults are told by the thousand
	return client(s.t, storagetest.Open(s.t, cfg), pubsub.Config{}), link
}

// publish publishes n messages.
func (s *schedule) publish(c *pubsub.Client, topic pubsub.Topic[int], r *rand.Rand, n int) {
	for range n {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		number, end := s.messages.Publish(topic.String())
		_, err := pubsub.Publish(ctx, c, topic, number)
		cancel()
		switch {
		case err == nil:
			end(history.Answered)
		case errors.Is(err, storage.ErrIndeterminate), errors.Is(err, context.DeadlineExceeded):
			end(history.Unknown)
		default:
			end(history.NotRun)
		}
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
	}
}

// subscribe reads a topic until end is called, which returns once all is read.
func (s *schedule) subscribe(c *pubsub.Client, topic pubsub.Topic[int]) (end func()) {
	sub, err := pubsub.Subscribe(s.t.Context(), c, topic)
	require.NoError(s.t, err)
	seen := s.messages.Subscribe(topic.String())
	s.reading.Go(func() {
		for m := range sub.C() {
			if m.Err != nil {
				if s.calm.Load() {
					s.t.Errorf("%v: a gap long after the faults: %v", topic, m.Err)
				}
				seen.Gap()
			} else {
				seen.Receive(m.Value)
			}
		}
	})
	return func() {
		require.NoError(s.t, sub.Close())
		seen.End()
	}
}

// TestMessagesSchedules publishes while connections and Redis fail in every way. Each
// subscription receives the messages in order and none twice, and what it misses is
// covered by gaps that it is told of; after the faults it misses nothing.
func TestMessagesSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Long: 200}, func(t *testing.T, seed uint64) {
		s := &schedule{t: t, network: storagetest.NewNetwork(t)}
		random := rand.New(rand.NewPCG(seed, 0))
		var befell []string
		defer func() {
			if t.Failed() {
				t.Log("after ", befell)
			}
		}()
		publisher, _ := s.client()
		var links []*storagetest.Link
		var ends []func()
		for range 2 {
			c, link := s.client()
			links = append(links, link)
			for _, topic := range scheduleTopics {
				ends = append(ends, s.subscribe(c, topic))
			}
		}
		publish := func(round uint64, n int) *sync.WaitGroup {
			var publishing sync.WaitGroup
			for i, topic := range scheduleTopics {
				publishing.Go(func() { s.publish(publisher, topic, rand.New(rand.NewPCG(seed, 10*round+uint64(i)+1)), n) })
			}
			return &publishing
		}
		first := publish(0, 60)
		for range 1 + random.IntN(4) {
			time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
			i := random.IntN(len(storagetest.Faults) + 1)
			if i == len(storagetest.Faults) { // one subscriber is cut off
				befell = append(befell, "part")
				link := links[random.IntN(len(links))]
				link.Down()
				time.Sleep(time.Duration(random.IntN(10_000)) * time.Millisecond)
				link.Up()
				continue
			}
			befell = append(befell, string(storagetest.Faults[i]))
			s.network.Befall(storagetest.Faults[i], random, 5*time.Second)
		}
		time.Sleep(settled)
		first.Wait()
		publish(1, 3).Wait() // which may tell the last gap
		s.calm.Store(true)
		publish(2, 5).Wait()
		time.Sleep(time.Second)
		for _, end := range ends {
			end()
		}
		s.reading.Wait()
		require.NoError(t, s.messages.Check(), fmt.Sprint(befell))
	})
}
