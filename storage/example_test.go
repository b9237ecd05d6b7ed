package storage_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// exampleRedis starts a Redis for an example; the next line would be
//
//	cfg, err := storage.ParseURL(os.Getenv("REDIS_URL"))
func exampleRedis() (cfg storage.Config, stop func()) {
	cfg, stop, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	return cfg, stop
}

func ExampleOpen() {
	cfg, stop := exampleRedis()
	defer stop()

	cfg.Prefix = "obs"
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	ctx := context.Background()
	key, err := pool.Key("visits", "today")
	if err != nil {
		log.Fatal(err)
	}
	n, err := pool.Redis().Incr(ctx, key).Result()
	fmt.Println(key, n, err)
	// Output: obs:visits:today 1 <nil>
}

func ExampleNew() {
	cfg, stop := exampleRedis()
	defer stop()

	// The client that the program has already.
	client := redis.NewClient(&redis.Options{Addr: cfg.Redis.Addrs[0]})
	defer client.Close()

	pool, err := storage.New(client, storage.Config{Prefix: "obs"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pool.Ping(context.Background()))
	fmt.Println(pool.Close(), client.Ping(context.Background()).Err())
	// Output:
	// <nil>
	// <nil> <nil>
}

func ExampleParseURL() {
	cfg, err := storage.ParseURL("redis+sentinel://alice:s3cr3t@h1:26379,h2:26379/primary/2?pool_size=20")
	fmt.Println(cfg, cfg.Redis.PoolSize, err)

	_, err = storage.ParseURL("redis://alice:s3cr3t@h1:six/0")
	fmt.Println(err)
	// Output:
	// redis+sentinel://alice@h1:26379,h2:26379/primary/2 20 <nil>
	// storage: URL: bad port "six" in "h1:six"
}

// Commands of the Async face are sent together, and answered when their results
// are read.
func ExamplePool_Async() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, _ := storage.Open(cfg)
	defer pool.Close()

	ctx := context.Background()
	var visits []*redis.IntCmd
	for range 3 {
		visits = append(visits, pool.Async().Incr(ctx, "visits"))
	}
	for _, v := range visits {
		fmt.Println(v.Val())
	}
	// Output:
	// 1
	// 2
	// 3
}

// A read that blocks ends with its context.
func ExamplePool_Blocking() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, _ := storage.Open(cfg)
	defer pool.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := pool.Blocking(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		_, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{"news", "$"}, Block: storage.BlockTime}).Result()
		return err
	})
	fmt.Println(err)
	// Output: context deadline exceeded
}

// Elements that arrive together ride one command, and none is written twice.
func ExampleScript() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	// Counts down, and not below zero, however many do so.
	take := storage.NewScript(`
local left = tonumber(redis.call('GET', KEYS[1]) or '0')
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])`)

	ctx := context.Background()
	key, err := pool.Key("seats")
	if err != nil {
		log.Fatal(err)
	}
	pool.Redis().Set(ctx, key, 3, 0)
	for range 2 {
		fmt.Println(take.Run(ctx, pool.Redis(), []string{key}, 2).Int64())
	}
	// Output:
	// 1 <nil>
	// -1 <nil>
}

func ExampleWriter() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, _ := storage.Open(cfg)
	defer pool.Close()

	ctx := context.Background()
	written := make(chan int64)
	for _, line := range []string{"one", "two"} {
		pool.Writer().Push(ctx, "lines", []byte(line), func(length int64, err error) {
			if err != nil {
				log.Print(err)
			}
			written <- length
		})
	}
	<-written
	<-written
	fmt.Println(pool.Redis().LRange(ctx, "lines", 0, -1).Val())
	// Output: [one two]
}

func ExampleCodec() {
	type position struct {
		Lat  float64   `json:"lat"`
		Lon  float64   `json:"lon"`
		Seen time.Time `json:"seen"`
	}
	here := position{37.34, -121.64, time.Date(2026, 11, 20, 19, 39, 0, 0, time.UTC)}
	for _, codec := range []storage.Codec{storage.JSON, storage.MsgPack} {
		data, err := codec.Marshal(here)
		if err != nil {
			log.Fatal(err)
		}
		var there position
		err = codec.Unmarshal(data, &there)
		fmt.Println(codec, len(data), there.Lat, there.Seen.Equal(here.Seen), err)
	}
	// Output:
	// json 57 37.34 true <nil>
	// msgpack 38 37.34 true <nil>
}

func ExampleNewClock() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, _ := storage.Open(cfg)
	defer pool.Close()

	clock := storage.NewClock(nil)
	if err := clock.Sync(context.Background(), pool.Redis()); err != nil {
		log.Fatal(err)
	}
	truth := pool.Redis().Time(context.Background()).Val()
	fmt.Println(clock.Now().Sub(truth).Abs() < time.Second)
	// Output: true
}
