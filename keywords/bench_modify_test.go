package keywords_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// hall is a service with numbered keywords, and a dispatcher of it.
type hall struct {
	cfg    storage.Config
	all    []keywords.Keyword[int64]
	client *keywords.Client
	end    func()
	over   sync.WaitGroup
}

var halls atomic.Int64

func newHall(b *testing.B, cfg storage.Config, size int) *hall {
	h := &hall{cfg: cfg}
	service := fmt.Sprintf("bench-%d-%d", os.Getpid(), halls.Add(1))
	d, err := keywords.NewDispatcher(storagetest.Open(b, cfg), keywords.DispatcherConfig{Service: service, Lease: time.Minute})
	require.NoError(b, err)
	for i := range size {
		k := keywords.Define(service, "AXIS"+strconv.Itoa(i), keywords.Spec[int64]{Min: new(int64(0)), Max: new(int64(1) << 60), Initial: new(int64(0))})
		keywords.Serve(d, k, keywords.Hooks[int64]{})
		h.all = append(h.all, k)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.end = cancel
	ended := make(chan error, 1)
	h.over.Go(func() { ended <- d.Run(ctx) })
	select {
	case <-d.Ready():
	case err := <-ended:
		b.Fatal(err)
	}
	h.client = client(b, storagetest.Open(b, cfg))
	b.Cleanup(func() {
		cancel()
		h.over.Wait()
		require.NoError(b, h.client.Clear(context.Background(), service))
	})
	return h
}

func (h *hall) modify(i int, v int64) {
	if _, err := keywords.Modify(context.Background(), h.client, h.all[i], v); err != nil {
		panic(err)
	}
}

// watch watches a keyword in a goroutine, and returns once that has the initial value.
func (h *hall) watch(b *testing.B, c *keywords.Client, i int, seen func(v int64)) {
	begun := make(chan bool, 1)
	ctx, cancel := context.WithCancel(context.Background())
	end := h.end
	h.end = func() { cancel(); end() }
	h.over.Go(func() {
		for ev, err := range keywords.Watch(ctx, c, h.all[i]) {
			if err != nil {
				return
			}
			if ev.Kind == keywords.EventInitial {
				begun <- true
			} else {
				seen(ev.Value.V)
			}
		}
	})
	b.Cleanup(func() { h.end() })
	<-begun
}

// storm has writers make n modifies in all, each one of a keyword of its own,
// and returns their rate and the median of their durations.
func (h *hall) storm(writers, n int) (rate float64, p50 time.Duration) {
	took := make([][]time.Duration, writers)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				at := time.Now()
				h.modify(i%len(h.all), int64(at.Sub(begun)))
				took[i] = append(took[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(begin).Seconds(), median(slices.Concat(took...))
}

// begun is when the values of benchmarks begin to count.
var begun = time.Now()

func median[T int | float64 | time.Duration](x []T) T {
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkModify is a Modify that its dispatcher has judged and committed. How
// it stands beside NATS KV is measured in examples/peers.
func BenchmarkModify(b *testing.B) {
	h := newHall(b, storagetest.BenchServer(b), 64)
	for _, writers := range []int{1, 8, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) {
			h.storm(writers, max(b.N/10, writers))
			b.ResetTimer()
			rate, p50 := h.storm(writers, max(b.N, writers))
			b.ReportMetric(rate, "modifies/s")
			b.ReportMetric(float64(p50)/1e3, "p50-µs")
		})
	}
}

// BenchmarkModifyAsync is one goroutine that has so many modifies under way at a time.
func BenchmarkModifyAsync(b *testing.B) {
	h := newHall(b, storagetest.BenchServer(b), 64)
	for _, window := range []int{1, 64} {
		b.Run("window="+strconv.Itoa(window), func(b *testing.B) {
			flow := func(n int) {
				futures := make([]*keywords.Future, window)
				for i := range n + window {
					if f := futures[i%window]; f != nil {
						if _, err := f.Wait(context.Background()); err != nil {
							b.Fatal(err)
						}
						futures[i%window] = nil
					}
					if i < n {
						futures[i%window] = keywords.ModifyAsync(context.Background(), h.client, h.all[i%len(h.all)], int64(i))
					}
				}
			}
			flow(max(b.N/10, window))
			b.ResetTimer()
			flow(b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "modifies/s")
		})
	}
}

// BenchmarkWatch is the time from the begin of a Modify until the watcher of that
// keyword has its event.
func BenchmarkWatch(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) {
			cfg := storagetest.BenchServer(b)
			h := newHall(b, cfg, writers)
			c := client(b, storagetest.Open(b, cfg))
			var mu sync.Mutex
			var took []time.Duration
			var last sync.WaitGroup
			last.Add(writers)
			const end = 1 << 60
			for i := range writers {
				h.watch(b, c, i, func(v int64) {
					if v == end {
						last.Done()
						return
					}
					d := time.Since(begun) - time.Duration(v)
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
				})
			}
			b.ResetTimer()
			rate, _ := h.storm(writers, max(b.N, writers))
			for i := range writers {
				h.modify(i, end)
			}
			last.Wait()
			if len(took) == 0 { // the one modify was overtaken
				return
			}
			b.ReportMetric(rate, "modifies/s")
			b.ReportMetric(float64(median(took))/1e3, "p50-µs")
		})
	}
}

// BenchmarkLargeService is a Modify in a service of 10,000 keywords with 1,000
// watchers of different ones in one process, beside one in a service of one
// keyword with one watcher, as the median of the ratios of their turns; above 1
// the large service is slower.
func BenchmarkLargeService(b *testing.B) {
	cfg := storagetest.BenchServer(b)
	large, small := newHall(b, cfg, 10_000), newHall(b, cfg, 1)
	watcher := client(b, storagetest.Open(b, cfg))
	for i := range 1000 {
		large.watch(b, watcher, i, func(int64) {})
	}
	small.watch(b, client(b, storagetest.Open(b, cfg)), 0, func(int64) {})
	for _, writers := range []int{1, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) {
			const turns = 9
			n := max(b.N/turns, writers)
			var cost, p50 []float64
			for turn := range turns + 1 {
				rate, took := large.storm(writers, n)
				smallRate, smallTook := small.storm(writers, n)
				if turn == 0 {
					continue // to warm up
				}
				cost = append(cost, smallRate/rate)
				p50 = append(p50, float64(took)/float64(smallTook))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(cost), "x-small")
			b.ReportMetric(median(p50), "p50-x")
		})
	}
}
