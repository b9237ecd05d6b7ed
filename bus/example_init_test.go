package bus_test

import (
	"context"
	"log"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// stopExample ends what exampleWorker and examplePool have started.
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

// exampleWorker runs a worker of type example and returns a client.
func exampleWorker(register func(*bus.Worker)) *bus.Client {
	pool := examplePool()
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "example"})
	if err != nil {
		log.Fatal(err)
	}
	register(w)
	go func() { _ = w.Run(context.Background()) }()
	<-w.Ready()
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return c
}
