package storage_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
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

// A /healthz that load balancers and orchestrators can ask.
func ExamplePool_Health() {
	cfg, stop := exampleRedis()
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	healthz := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := pool.Health(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	ask := func() int {
		answer := httptest.NewRecorder()
		healthz.ServeHTTP(answer, httptest.NewRequest("GET", "/healthz", nil))
		return answer.Code
	}
	fmt.Println(ask())
	stop() // Redis is down
	fmt.Println(ask())
	// Output:
	// 200
	// 503
}

func ExamplePool_Stats() {
	cfg, stop := exampleRedis()
	defer stop()
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	_ = pool.Ping(context.Background())
	stats := pool.Stats() // marshals to JSON with snake_case names
	fmt.Println(stats.Connections.Open, stats.Writes.Queued)
	// Output: 1 0
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
