package bus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// benchServer is the Redis of REDIS_URL, or one of the test's own.
var Echo = bus.NewMethod[[]byte, []byte]("echo")

// BenchmarkCall measures a typed call to a group of two workers, 128 bytes there
// and back, beside the same echo on bare go-redis: lists, its pipeliner at its
// best setting, without codec, deadlines and registry. The two
// take turns, so that both meet the same machine:
//
//	calls/s    of the bus
//	x-bare     calls/s of the bus by those of bare go-redis, median of the turns
//	p50-x      the median duration of a call by that of bare go-redis
//	p99-x      the same for the 99th percentile
func BenchmarkCall(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	call := busEcho(b, cfg)
	bare := bareEcho(b, cfg)
	for _, callers := range []int{1, 8, 32, 64, 256} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			const turns = 7
			n := max(b.N/turns, callers)
			var rate, ratio, p50, p99 []float64
			storm(callers, n/4+1, call)
			storm(callers, n/4+1, bare)
			b.ResetTimer()
			for range turns {
				b.StartTimer()
				ours := storm(callers, n, call)
				b.StopTimer()
				theirs := storm(callers, n, bare)
				rate = append(rate, ours.rate)
				ratio = append(ratio, ours.rate/theirs.rate)
				p50 = append(p50, float64(ours.p50)/float64(theirs.p50))
				p99 = append(p99, float64(ours.p99)/float64(theirs.p99))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rate), "calls/s")
			b.ReportMetric(median(ratio), "x-bare")
			b.ReportMetric(median(p50), "p50-x")
			b.ReportMetric(median(p99), "p99-x")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

type weather struct {
	rate     float64 // calls a second
	p50, p99 time.Duration
}

// storm has callers make n calls in all.
func storm(callers, n int, call func([]byte)) weather {
	body := make([]byte, 128)
	took := make([][]time.Duration, callers)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				begin := time.Now()
				call(body)
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return weather{float64(n) / time.Since(start).Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

// busEcho returns a call to two workers.
func busEcho(b *testing.B, cfg storage.Config) func([]byte) {
	ctx := b.Context()
	site := "bench" + strconv.Itoa(os.Getpid())
	for range 2 {
		pool := storagetest.Open(b, cfg)
		w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: site, Type: "echo"})
		require.NoError(b, err)
		bus.Handle(w, Echo, func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
		go func() { _ = w.Run(context.Background()) }()
		<-w.Ready()
	}
	c, err := bus.NewClient(storagetest.Open(b, cfg), bus.ClientConfig{Site: site})
	require.NoError(b, err)
	return func(body []byte) {
		if _, err := bus.Call(ctx, c, bus.Group("echo"), Echo, body); err != nil {
			panic(err)
		}
	}
}

// bareEcho returns the same on go-redis alone.
func bareEcho(b *testing.B, cfg storage.Config) func([]byte) {
	ctx, cancel := context.WithCancel(context.Background())
	tag := "bare" + strconv.Itoa(os.Getpid())
	queue, inbox, stop := tag+":queue", tag+":inbox", tag+":stop"
	cfg.Redis.MaxRetries = -1
	pool := storagetest.Open(b, cfg)
	pipeliner := func() *redis.AutoPipeliner {
		ap, err := storagetest.Open(b, cfg).Redis().AsyncAutoPipelineWithOptions(
			&redis.AutoPipelineOptions{MaxBatchSize: 1, MaxQueuedCommands: 1 << 16})
		require.NoError(b, err)
		return ap
	}
	var readers sync.WaitGroup
	// follow hands the elements of a list to each, as many at a time as there are.
	follow := func(list string, each func(string)) {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, elems, _ := pool.Redis().BLMPop(ctx, 5*time.Second, "left", 64, list, stop).Result()
				for _, e := range elems {
					if len(e) >= 8 {
						each(e)
					}
				}
			}
		})
	}
	for range 2 {
		ap := pipeliner()
		follow(queue, func(e string) {
			go func() { _ = ap.RPush(ctx, inbox, e).Err() }()
		})
	}
	var mu sync.Mutex
	var last uint64
	waiting := map[uint64]chan string{}
	follow(inbox, func(e string) {
		id := binary.LittleEndian.Uint64([]byte(e[:8]))
		mu.Lock()
		ch := waiting[id]
		delete(waiting, id)
		mu.Unlock()
		ch <- e[8:]
	})
	b.Cleanup(func() {
		cancel()
		_ = pool.Redis().RPush(context.Background(), stop, "", "", "").Err()
		readers.Wait()
		_ = pool.Redis().Del(context.Background(), queue, inbox, stop).Err()
	})
	ap := pipeliner()
	return func(body []byte) {
		ch := make(chan string, 1)
		mu.Lock()
		last++
		id := last
		waiting[id] = ch
		mu.Unlock()
		frame := append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(body)), id), body...)
		if err := ap.RPush(ctx, queue, frame).Err(); err != nil {
			panic(fmt.Sprint("bare: ", err))
		}
		<-ch
	}
}
