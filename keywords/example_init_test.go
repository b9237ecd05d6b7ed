package keywords_test

import (
	"context"
	"log"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// stopExample ends what exampleStage and examplePool have started.
var stopExample = func() {}

// examplePool returns a pool on a Redis of its own.
func examplePool() *storage.Pool {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	stopExample = func() { _ = pool.Close() }
	return pool
}

// exampleStage runs a dispatcher of service stage, with SPEED, MODE, COUNT and
// NOTE unless serve is given, and returns it and a client.
func exampleStage(serve func(*keywords.Dispatcher)) (*keywords.Dispatcher, *keywords.Client) {
	pool := examplePool()
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	if err != nil {
		log.Fatal(err)
	}
	if serve == nil {
		serve = serveAll
	}
	serve(d)
	go func() { _ = d.Run(context.Background()) }()
	<-d.Ready()
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return d, k
}
