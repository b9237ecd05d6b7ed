package peers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// board is a store of values that can be put and watched, with one key for each writer.
type board struct {
	put  func(writer int, v int64)
	last []atomic.Int64 // the last value that the watcher has seen of each writer

	mu   sync.Mutex
	took []time.Duration // times from the start of a put to its event
}

// sinceStart returns a value that contains the time when it was put.
func sinceStart() int64 { return int64(time.Since(start)) }

var start = time.Now()

// see records a value that the watcher received.
func (p *board) see(writer int, v int64) {
	took := time.Duration(sinceStart() - v)
	p.mu.Lock()
	p.took = append(p.took, took)
	p.mu.Unlock()
	p.last[writer].Store(v)
}

// storm puts n values by several writers, each of which puts the next value when the
// previous one is complete. If the board is watched, it waits until the last values
// were seen.
func (p *board) storm(writers, n int, watched bool) (put weather, seen time.Duration) {
	p.mu.Lock()
	p.took = nil
	p.mu.Unlock()
	took := make([][]time.Duration, writers)
	last := make([]int64, writers)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				at := sinceStart()
				p.put(i, at)
				took[i] = append(took[i], time.Duration(sinceStart()-at))
				last[i] = at
			}
		})
	}
	wg.Wait()
	rate := float64(n) / time.Since(begin).Seconds()
	all := slices.Concat(took...)
	slices.Sort(all)
	put = weather{rate, all[len(all)/2], all[len(all)*99/100]}
	if !watched {
		return put, 0
	}
	for i := range last {
		for p.last[i].Load() < last[i] {
			time.Sleep(100 * time.Microsecond)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.took)
	return put, p.took[len(p.took)/2]
}

// axis is the keyword of a writer.
func axis(service string, writer int) keywords.Keyword[int64] {
	return keywords.Define(service, "AXIS"+strconv.Itoa(writer), keywords.Spec[int64]{Min: new(int64(0)), Max: new(int64(1) << 50)})
}

const maxWriters = 64

// kwBoard is a service with a keyword for each writer, and a dispatcher of it.
func kwBoard(b *testing.B, watched bool) *board {
	cfg, service := storagetest.BenchServer(b), newSite()
	d, err := keywords.NewDispatcher(storagetest.Open(b, cfg), keywords.DispatcherConfig{Service: service, Lease: time.Minute})
	require.NoError(b, err)
	var all []keywords.Keyword[int64]
	for i := range maxWriters {
		all = append(all, axis(service, i))
		keywords.Serve(d, all[i], keywords.Hooks[int64]{})
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(wg.Wait)
	b.Cleanup(stop)
	wg.Go(func() { _ = d.Run(ctx) })
	<-d.Ready()
	k, err := keywords.NewClient(storagetest.Open(b, cfg), keywords.ClientConfig{})
	require.NoError(b, err)
	b.Cleanup(func() { _ = k.Close() })
	p := &board{last: make([]atomic.Int64, maxWriters), put: func(writer int, v int64) {
		if _, err := keywords.Modify(ctx, k, all[writer], v); err != nil {
			panic(err)
		}
	}}
	if !watched {
		return p
	}
	watcher, err := keywords.NewClient(storagetest.Open(b, cfg), keywords.ClientConfig{})
	require.NoError(b, err)
	b.Cleanup(func() { _ = watcher.Close() })
	p.put(0, 0)
	begun := make(chan bool)
	wg.Go(func() {
		first := true
		for ev, err := range keywords.WatchText(ctx, watcher, service, "*") {
			if err != nil {
				return
			}
			if first {
				first = false
				close(begun)
			}
			writer, _ := strconv.Atoi(ev.Keyword[len("AXIS"):])
			v, _ := strconv.ParseInt(ev.Value.V, 10, 64)
			p.see(writer, v)
		}
	})
	<-begun
	return p
}

// kvBoard is a bucket of NATS KV in memory.
func kvBoard(b *testing.B, watched bool) *board {
	url, ctx := startNATS(b), context.Background()
	bucket := func() jetstream.KeyValue {
		nc, err := nats.Connect(url)
		require.NoError(b, err)
		b.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(b, err)
		kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench", Storage: jetstream.MemoryStorage})
		require.NoError(b, err)
		return kv
	}
	kv := bucket()
	names := make([]string, maxWriters)
	for i := range names {
		names[i] = fmt.Sprint("AXIS", i)
	}
	p := &board{last: make([]atomic.Int64, maxWriters), put: func(writer int, v int64) {
		if _, err := kv.Put(ctx, names[writer], strconv.AppendInt(nil, v, 10)); err != nil {
			panic(err)
		}
	}}
	if !watched {
		return p
	}
	w, err := bucket().WatchAll(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { _ = w.Stop() })
	require.Nil(b, <-w.Updates()) // the bucket is empty
	go func() {
		for entry := range w.Updates() {
			writer, _ := strconv.Atoi(entry.Key()[len("AXIS"):])
			v, _ := strconv.ParseInt(string(entry.Value()), 10, 64)
			p.see(writer, v)
		}
	}()
	return p
}

// BenchmarkModify compares a Modify, which a dispatcher validates, with the Put of NATS
// KV, which consults no dispatcher:
//
//	modifies/s  of keywords
//	x-nats      that divided by the rate of Put, median of the turns
//	p50-x       the median duration of a Modify divided by that of a Put
//	p99-x       the same for the 99th percentile
func BenchmarkModify(b *testing.B) {
	ours, theirs := kwBoard(b, false), kvBoard(b, false)
	for _, writers := range []int{1, 8, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) { boards(b, writers, false, ours, theirs) })
	}
}

// BenchmarkWatch compares the time from the start of a Modify until a watcher of all
// keywords has the value with that of a Put, as watch-p50-x.
func BenchmarkWatch(b *testing.B) {
	ours, theirs := kwBoard(b, true), kvBoard(b, true)
	for _, writers := range []int{1, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) { boards(b, writers, true, ours, theirs) })
	}
}

// boards runs two boards in turn.
func boards(b *testing.B, writers int, watched bool, ours, theirs *board) {
	const turns = 9
	n := max(b.N/turns, writers)
	var rate, ratio, p50, p99, seen, watch []float64
	for turn := range turns + 1 {
		our, ourSeen := ours.storm(writers, n, watched)
		their, theirSeen := theirs.storm(writers, n, watched)
		if turn == 0 {
			continue // to warm up
		}
		rate = append(rate, our.rate)
		ratio = append(ratio, our.rate/their.rate)
		p50 = append(p50, float64(our.p50)/float64(their.p50))
		p99 = append(p99, float64(our.p99)/float64(their.p99))
		seen = append(seen, float64(ourSeen)/1e3)
		watch = append(watch, float64(ourSeen)/float64(theirSeen))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "modifies/s")
	b.ReportMetric(median(ratio), "x-nats")
	if watched {
		b.ReportMetric(median(seen), "watch-p50-µs")
		b.ReportMetric(median(watch), "watch-p50-x")
		return
	}
	b.ReportMetric(median(p50), "p50-x")
	b.ReportMetric(median(p99), "p99-x")
}
