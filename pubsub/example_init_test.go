package pubsub_test

import (
	"log"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// examplePool is a pool on a Redis of its own. Stop ends both, and what was built
// on the pool.
func examplePool() (pool *storage.Pool, stop func()) {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() { _ = pool.Close() }
}

// exampleClient is a client on such a pool.
func exampleClient(cfg pubsub.Config) (ps *pubsub.Client, stop func()) {
	pool, stop := examplePool()
	ps, err := pubsub.NewClient(pool, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return ps, stop
}
