package bus_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

const (
	benchItem   = 32 << 10
	benchWindow = 64
)

// BenchmarkStream measures a stream of 32 KiB items with a window of 64, beside
// the same bytes through a bare go-redis list in turns: RPUSH in pipelines of
// half a window, BLMPOP of up to a window, credit within the process.
//
//	MB/s    of the stream
//	x-bare  MB/s of the stream by those of the list, median of the turns
func BenchmarkStream(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	flood := bus.NewStream[struct{}, []byte]("flood")
	w := start(b, storagetest.Open(b, cfg), bus.WorkerConfig{}, func(w *bus.Worker) {
		bus.HandleStream(w, flood, func(_ context.Context, _ struct{}, send func([]byte) error) error {
			item := make([]byte, benchItem)
			for {
				if err := send(item); err != nil {
					return err
				}
			}
		})
	})
	c := client(b, storagetest.Open(b, cfg), bus.ClientConfig{})
	opts := bus.StreamOptions{Window: benchWindow, WindowBytes: benchWindow * (benchItem + 16)}
	stream := func(n int) {
		for _, err := range bus.Stream(context.Background(), c, bus.Direct(w.ID()), flood, struct{}{}, opts) {
			if err != nil {
				b.Fatal(err)
			}
			n--
			if n == 0 {
				return
			}
		}
	}
	bare := bareTransfer(b, cfg)
	const turns = 7
	n := max(b.N/turns, 4*benchWindow)
	stream(n/4 + 1)
	bare(n/4 + 1)
	var rate, ratio []float64
	b.ResetTimer()
	for range turns {
		begun := time.Now()
		stream(n)
		ours := time.Since(begun)
		b.StopTimer()
		begun = time.Now()
		bare(n)
		theirs := time.Since(begun)
		b.StartTimer()
		rate = append(rate, float64(n)*benchItem/1e6/ours.Seconds())
		ratio = append(ratio, float64(theirs)/float64(ours))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "MB/s")
	b.ReportMetric(median(ratio), "x-bare")
}

func bareTransfer(b *testing.B, cfg storage.Config) func(n int) {
	in, out := storagetest.Open(b, cfg).Redis(), storagetest.Open(b, cfg).Redis()
	return func(n int) {
		ctx := context.Background()
		key := fmt.Sprint("bare:", rand.Uint64())
		defer in.Del(ctx, key)
		credit := make(chan struct{}, benchWindow)
		var wg sync.WaitGroup
		wg.Go(func() {
			item := make([]byte, benchItem)
			for left := n; left > 0; {
				_, err := in.Pipelined(ctx, func(p redis.Pipeliner) error {
					for range min(left, benchWindow/2) {
						credit <- struct{}{}
						p.RPush(ctx, key, item)
						left--
					}
					return nil
				})
				require.NoError(b, err)
			}
		})
		for left := n; left > 0; {
			_, items, err := out.BLMPop(ctx, time.Second, "left", benchWindow, key).Result()
			require.NoError(b, err)
			for range items {
				<-credit
			}
			left -= len(items)
		}
		wg.Wait()
	}
}

// BenchmarkGather measures a gather over 50 workers whose handlers take 1 to 20
// ms, beside the slowest of 50 calls to one worker each at the same time.
//
//	x-slowest  the gather's duration by that of the slowest call, median
func BenchmarkGather(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	pool := storagetest.Open(b, cfg)
	var ids []string
	for i := range 50 {
		ids = append(ids, start(b, pool, bus.WorkerConfig{Type: "crowd"}, func(w *bus.Worker) {
			bus.Handle(w, Echo, func(_ context.Context, p []byte) ([]byte, error) {
				time.Sleep(time.Duration(1+i%20) * time.Millisecond)
				return p, nil
			})
		}).ID())
	}
	c := client(b, storagetest.Open(b, cfg), bus.ClientConfig{})
	var ratio []float64
	args := make([]byte, 128)
	for b.Loop() {
		begun := time.Now()
		n, err := gatherAll(bus.Gather(b.Context(), c, bus.Broadcast("crowd"), Echo, args))
		gathered := time.Since(begun)
		require.NoError(b, err)
		require.Equal(b, 50, n)
		begun = time.Now()
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				if _, err := bus.Call(b.Context(), c, bus.Direct(id), Echo, args); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		ratio = append(ratio, float64(gathered)/float64(time.Since(begun)))
	}
	b.ReportMetric(median(ratio), "x-slowest")
}
