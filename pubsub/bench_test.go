package pubsub_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Reading is 128 bytes as msgpack.
type Reading struct {
	ID   int64  `json:"id"`
	Data []byte `json:"data"`
}

func newReading(id int) Reading { return Reading{ID: int64(id), Data: make([]byte, 109)} }

// flow is a way to publish messages and to have them.
type flow struct {
	publish func(i int)
	got     atomic.Int64
}

// run publishes n messages by so many publishers, and returns the rate at which
// they were received.
func (f *flow) run(publishers, n int) float64 {
	f.got.Store(0)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	begin := time.Now()
	for range publishers {
		wg.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				f.publish(int(i))
			}
		})
	}
	wg.Wait()
	for f.got.Load() < int64(n) {
		time.Sleep(20 * time.Microsecond)
	}
	return float64(n) / time.Since(begin).Seconds()
}

// compare has flows take turns, and reports the rate of the first and, as the
// median of the turns, its ratio to each of the others.
func compare(b *testing.B, publishers int, flows []*flow, units ...string) {
	const turns = 7
	n := max(b.N/turns, publishers)
	rates := make([][]float64, len(flows))
	ratios := make([][]float64, len(flows))
	for turn := range turns + 1 {
		now := make([]float64, len(flows))
		for i, f := range flows {
			now[i] = f.run(publishers, n)
		}
		if turn == 0 {
			continue // to warm up
		}
		for i := range flows {
			rates[i] = append(rates[i], now[i])
			ratios[i] = append(ratios[i], now[0]/now[i])
		}
	}
	median := func(x []float64) float64 {
		slices.Sort(x)
		return x[len(x)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates[0]), "messages/s")
	for i, unit := range units {
		b.ReportMetric(median(ratios[i+1]), unit)
	}
}

// bare is go-redis by itself: AutoPipeline to publish, ReceiveMessage to receive.
func bare(b *testing.B, channel string, encode func(i int) []byte, decode func(string)) *flow {
	pool := storagetest.Open(b, benchServerOf(b))
	pipe, err := pool.Redis().(*redis.Client).AsyncAutoPipelineWithOptions(
		&redis.AutoPipelineOptions{MaxBatchSize: 1, MaxQueuedCommands: 1 << 16})
	require.NoError(b, err)
	f := &flow{publish: func(i int) {
		if err := pipe.Publish(context.Background(), channel, encode(i)).Err(); err != nil {
			panic(err)
		}
	}}
	sub := pool.Redis().Subscribe(context.Background(), channel)
	_, err = sub.Receive(context.Background())
	require.NoError(b, err)
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for {
			m, err := sub.ReceiveMessage(context.Background())
			if err != nil {
				return
			}
			decode(m.Payload)
			f.got.Add(1)
		}
	}()
	b.Cleanup(func() {
		_ = sub.Close()
		<-ended
	})
	return f
}

// server is that of the benchmark that runs: all who compete share one.
var server sync.Map

func benchServerOf(b *testing.B) storage.Config {
	name, _, _ := strings.Cut(b.Name(), "/")
	if cfg, ok := server.Load(name); ok {
		return cfg.(storage.Config)
	}
	panic("no server for " + name)
}

func shareServer(b *testing.B) storage.Config {
	cfg := storagetest.BenchServer(b)
	server.Store(b.Name(), cfg)
	return cfg
}

func ours(b *testing.B, c *pubsub.Client, topic pubsub.Topic[Reading]) *flow {
	f := &flow{publish: func(i int) {
		if _, err := pubsub.Publish(context.Background(), c, topic, newReading(i)); err != nil {
			panic(err)
		}
	}}
	l, err := pubsub.Listen(context.Background(), c, topic, func(_ context.Context, m pubsub.Message[Reading]) error {
		if m.Err != nil {
			panic(m.Err)
		}
		f.got.Add(1)
		return nil
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	return f
}

// BenchmarkPublishListen publishes 128 bytes from many goroutines to a typed
// listener, beside go-redis with ready bytes and with msgpack at both ends.
func BenchmarkPublishListen(b *testing.B) {
	cfg := shareServer(b)
	c := client(b, storagetest.Open(b, cfg), pubsub.Config{})
	uid := strconv.Itoa(os.Getpid())
	payload := make([]byte, 128)
	flows := []*flow{
		ours(b, c, pubsub.NewTopic[Reading]("bench:ours:"+uid)),
		bare(b, "bench:bytes:"+uid, func(int) []byte { return payload }, func(string) {}),
		bare(b, "bench:msgpack:"+uid, func(i int) []byte {
			data, err := msgpack.Marshal(newReading(i))
			if err != nil {
				panic(err)
			}
			return data
		}, func(data string) {
			var r Reading
			if err := msgpack.Unmarshal([]byte(data), &r); err != nil {
				panic(err)
			}
		}),
	}
	for _, publishers := range []int{1, 8, 64, 256} {
		b.Run("publishers="+strconv.Itoa(publishers), func(b *testing.B) {
			compare(b, publishers, flows, "x-bytes", "x-msgpack")
		})
	}
}

// BenchmarkChannels publishes on one channel while the process is subscribed to
// one, and on 10,000 in turn, to all of which it is subscribed.
func BenchmarkChannels(b *testing.B) {
	cfg := shareServer(b)
	one := client(b, storagetest.Open(b, cfg), pubsub.Config{})
	many := client(b, storagetest.Open(b, cfg), pubsub.Config{})
	uid := strconv.Itoa(os.Getpid())
	single := ours(b, one, pubsub.NewTopic[Reading]("bench:one:"+uid))
	const n = 10_000
	topics := make([]pubsub.Topic[Reading], n)
	spread := &flow{publish: func(i int) {
		if _, err := pubsub.Publish(context.Background(), many, topics[i%n], newReading(i)); err != nil {
			panic(err)
		}
	}}
	var wg sync.WaitGroup
	for i := range topics {
		topics[i] = pubsub.NewTopic[Reading](fmt.Sprint("bench:many:", uid, ":", i))
		wg.Go(func() {
			_, err := pubsub.Listen(context.Background(), many, topics[i], func(context.Context, pubsub.Message[Reading]) error {
				spread.got.Add(1)
				return nil
			})
			if err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	compare(b, 64, []*flow{spread, single}, "x-one-channel")
}

// BenchmarkFanOut publishes to 1,000 listeners of one process. The unit is a
// delivery.
func BenchmarkFanOut(b *testing.B) {
	c := client(b, storagetest.Open(b, shareServer(b)), pubsub.Config{})
	topic := pubsub.NewTopic[Reading]("bench:fan:" + strconv.Itoa(os.Getpid()))
	const n = 1000
	var got atomic.Int64
	for range n {
		_, err := pubsub.Listen(context.Background(), c, topic, func(context.Context, pubsub.Message[Reading]) error {
			got.Add(1)
			return nil
		}, pubsub.SubscribeOptions{MaxMessages: 1 << 20, MaxBytes: 1 << 30})
		require.NoError(b, err)
	}
	var want int64
	b.ResetTimer()
	for i := 0; i < b.N; i += n {
		_, err := pubsub.Publish(context.Background(), c, topic, newReading(i))
		require.NoError(b, err)
		want += n
	}
	for got.Load() < want {
		time.Sleep(20 * time.Microsecond)
	}
}

// BenchmarkHistory publishes on a topic that keeps its last thousand messages,
// beside one that keeps none.
func BenchmarkHistory(b *testing.B) {
	c := client(b, storagetest.Open(b, shareServer(b)), pubsub.Config{})
	uid := strconv.Itoa(os.Getpid())
	kept := ours(b, c, pubsub.NewTopic[Reading]("bench:kept:"+uid).WithHistory(pubsub.History{}))
	plain := ours(b, c, pubsub.NewTopic[Reading]("bench:plain:"+uid))
	compare(b, 64, []*flow{kept, plain}, "x-plain")
}
