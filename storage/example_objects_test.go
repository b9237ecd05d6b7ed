package storage_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// examplePool returns a pool on a Redis of its own.
func examplePool() (pool *storage.Pool, stop func()) {
	cfg, stopRedis := exampleRedis()
	cfg.Prefix = "obs"
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() {
		_ = pool.Close()
		stopRedis()
	}
}

func ExampleLog() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	events, err := storage.NewLog(pool, "events:dome", storage.LogOptions{MaxLen: 3, TTL: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range []string{"wake", "open", "turn", "close"} {
		if err := events.Append(ctx, []byte(line)); err != nil {
			log.Fatal(err)
		}
	}
	lines, err := events.Last(ctx, 10)
	fmt.Printf("%s: %s %v\n", events.Key(), lines, err)
	// Output: obs:events:dome: [open turn close] <nil>
}
