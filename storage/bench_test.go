package storage_test

import (
	"context"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// rivals has two ways to do a thing take turns, and reports the rate of the
// first and, as the median of the turns, its ratio to that of the second.
func rivals(b *testing.B, callers int, unit string, ours, theirs func(i int)) {
	const turns = 7
	n := max(b.N/turns, callers)
	run := func(do func(int)) float64 {
		var left atomic.Int64
		left.Store(int64(n))
		var wg sync.WaitGroup
		begin := time.Now()
		for i := range callers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					do(i)
				}
			})
		}
		wg.Wait()
		return float64(n) / time.Since(begin).Seconds()
	}
	var rates, ratios []float64
	for turn := range turns + 1 {
		our, their := run(ours), run(theirs)
		if turn > 0 { // the first is to warm up
			rates, ratios = append(rates, our), append(ratios, our/their)
		}
	}
	slices.Sort(rates)
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rates[turns/2], "ops/s")
	b.ReportMetric(ratios[turns/2], unit)
}

// BenchmarkWriter pushes 128 bytes to one list and waits for the answer, beside
// go-redis's AsyncAutoPipeline at its best setting for that.
func BenchmarkWriter(b *testing.B) {
	pool := storagetest.Open(b, storagetest.BenchServer(b))
	ctx, elem := b.Context(), make([]byte, 128)
	peer, err := storagetest.Open(b, storagetest.BenchServer(b)).Redis().AsyncAutoPipelineWithOptions(
		&redis.AutoPipelineOptions{MaxBatchSize: 1, MaxQueuedCommands: 1 << 16})
	require.NoError(b, err)
	for _, callers := range []int{1, 8, 64, 256} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			list := "bench:writer:" + strconv.Itoa(os.Getpid())
			defer pool.Redis().Del(context.Background(), list)
			ends := make([]chan error, callers)
			for i := range ends {
				ends[i] = make(chan error, 1)
			}
			rivals(b, callers, "x-autopipeline", func(i int) {
				redisio.Of(pool).Writer().Push(ctx, list, elem, func(_ int64, err error) { ends[i] <- err })
				if err := <-ends[i]; err != nil {
					panic(err)
				}
			}, func(int) {
				if err := peer.RPush(ctx, list, elem).Err(); err != nil {
					panic(err)
				}
			})
		})
	}
}

// BenchmarkInbox sends 128 bytes to a reader and waits until it has them, by a
// stream (Append, ReadAppended) beside a list (Push, BLMPOP).
func BenchmarkInbox(b *testing.B) {
	pool := storagetest.Open(b, storagetest.BenchServer(b))
	ctx, cancel := context.WithCancel(context.Background())
	stream, list := "bench:stream:"+strconv.Itoa(os.Getpid()), "bench:list:"+strconv.Itoa(os.Getpid())
	require.NoError(b, pool.Redis().XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{redisio.StreamField, ""}}).Err())
	var readers sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		readers.Wait()
		_ = pool.Redis().Del(context.Background(), stream, list).Err()
	})

	const most = 256
	var viaStream, viaList [most]chan struct{}
	for i := range most {
		viaStream[i], viaList[i] = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	hand := func(to *[most]chan struct{}, elems []string) {
		for _, e := range elems {
			if len(e) == 128 {
				to[binary.LittleEndian.Uint64([]byte(e))] <- struct{}{}
			}
		}
	}
	readers.Go(func() {
		_ = redisio.Of(pool).Blocking(ctx, func(ctx context.Context, c redis.UniversalClient) error {
			for last, n := "0", 0; ; {
				elems, next, err := redisio.ReadAppended(ctx, c, stream, last, 128)
				if err != nil {
					return err
				}
				hand(&viaStream, elems)
				if n, last = n+len(elems), next; n > 1000 {
					n = 0
					redisio.Of(pool).Writer().Do(ctx, func(int64, error) {}, "xtrim", stream, "minid", last)
				}
			}
		})
	})
	readers.Go(func() {
		_ = redisio.Of(pool).Blocking(ctx, func(ctx context.Context, c redis.UniversalClient) error {
			for {
				_, elems, err := c.BLMPop(ctx, redisio.BlockTime, "left", 128, list).Result()
				if err != nil {
					return err
				}
				hand(&viaList, elems)
			}
		})
	})
	elem := func(i int) []byte { return binary.LittleEndian.AppendUint64(make([]byte, 0, 128), uint64(i))[:128] }
	nop := func(int64, error) {}
	for _, callers := range []int{1, 8, 64, most} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			rivals(b, callers, "x-list", func(i int) {
				redisio.Of(pool).Writer().Append(ctx, stream, elem(i), nop)
				<-viaStream[i]
			}, func(i int) {
				redisio.Of(pool).Writer().Push(ctx, list, elem(i), nop)
				<-viaList[i]
			})
		})
	}
}

// BenchmarkSet adds a member of 16 bytes to a set, beside a bare SADD of ready
// bytes on a client with the same options.
func BenchmarkSet(b *testing.B) {
	pool := storagetest.Open(b, storagetest.BenchServer(b))
	peer := storagetest.Open(b, storagetest.BenchServer(b)).Redis()
	ctx, member := b.Context(), []byte("0123456789abcdef")
	name := "bench:set:" + strconv.Itoa(os.Getpid())
	defer pool.Redis().Del(context.Background(), name)
	plain, err := storage.NewSet[string](pool, name)
	require.NoError(b, err)
	expiring, err := storage.NewSet[string](pool, name, storage.ObjectOptions{TTL: time.Hour})
	require.NoError(b, err)
	bare := func(int) {
		if err := peer.SAdd(ctx, name, member).Err(); err != nil {
			panic(err)
		}
	}
	for _, callers := range []int{1, 8, 64} {
		for ttl, set := range map[string]*storage.Set[string]{"none": plain, "1h": expiring} {
			b.Run("ttl="+ttl+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				rivals(b, callers, "x-sadd", func(int) {
					if _, err := set.Add(ctx, "0123456789abcdef"); err != nil {
						panic(err)
					}
				}, bare)
			})
		}
	}
}

// BenchmarkCache gets a value of 128 bytes that is there, beside a bare GET.
func BenchmarkCache(b *testing.B) {
	pool := storagetest.Open(b, storagetest.BenchServer(b))
	peer := storagetest.Open(b, storagetest.BenchServer(b)).Redis()
	ctx, name := b.Context(), "bench:cache:"+strconv.Itoa(os.Getpid())
	value := make([]byte, 128)
	for _, local := range []int{0, 100} {
		c, err := storage.NewCache[[]byte](pool, name, storage.CacheOptions{MaxLocal: local, TTL: time.Hour})
		require.NoError(b, err)
		require.NoError(b, c.Put(ctx, "k", value))
		for _, callers := range []int{1, 64} {
			b.Run("local="+strconv.Itoa(local)+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				rivals(b, callers, "x-get", func(int) {
					if _, err := c.Get(ctx, "k", neverLoad); err != nil {
						panic(err)
					}
				}, func(int) {
					if err := peer.Get(ctx, name+":{k}").Err(); err != nil {
						panic(err)
					}
				})
			})
		}
		_, err = c.Delete(ctx, "k")
		require.NoError(b, err)
	}
}

func neverLoad(context.Context) ([]byte, error) { panic("loaded, though it was there") }
