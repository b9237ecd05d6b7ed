package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// Methods are package variables, which callers and workers share.
type Point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

var (
	Norm   = bus.NewMethod[Point, int]("norm")
	Greet  = bus.NewMethod[string, string]("greet")
	Record = bus.NewMethod[Point, struct{}]("record")
)

func Example() {
	pool := examplePool() // storage.Open(storage.Config{URL: "redis://localhost:6379/0"})
	defer pool.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// The worker, usually in another process.
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "geometry"})
	if err != nil {
		log.Fatal(err)
	}
	bus.Handle(w, Norm, func(_ context.Context, p Point) (int, error) {
		return p.X*p.X + p.Y*p.Y, nil
	})
	stopped := make(chan error)
	go func() { stopped <- w.Run(ctx) }()
	<-w.Ready()

	// The caller.
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	n, err := bus.Call(ctx, c, bus.Group("geometry"), Norm, Point{3, 4})
	fmt.Println(n, err)

	cancel()
	fmt.Println(<-stopped)
	// Output:
	// 25 <nil>
	// <nil>
}

func ExampleCall_noWorkers() {
	pool := examplePool()
	defer pool.Close()
	c, _ := bus.NewClient(pool, bus.ClientConfig{Site: "dev"})

	_, err := bus.Call(context.Background(), c, bus.Group("geometry"), Norm, Point{3, 4})
	fmt.Println(errors.Is(err, bus.ErrNoWorkers))
	fmt.Println(err)
	// Output:
	// true
	// bus: call norm at group geometry: no workers
}

// Shy is a code of this service.
const Shy bus.Code = "shy"

func ExampleCode() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) {
			if name == "" {
				return "", bus.Errorf(Shy, "no name to greet")
			}
			return "hello " + name, nil
		})
	})
	defer stopExample()

	_, err := bus.Call(context.Background(), c, bus.Group("example"), Greet, "")
	var remote *bus.Error
	fmt.Println(errors.Is(err, Shy), errors.As(err, &remote), remote.Text)

	_, err = bus.Call(context.Background(), c, bus.Group("example"), Norm, Point{})
	fmt.Println(errors.Is(err, bus.CodeUnknownMethod))
	// Output:
	// true true no name to greet
	// true
}

func ExampleSend() {
	recorded := make(chan Point)
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Record, func(_ context.Context, p Point) (struct{}, error) {
			recorded <- p
			return struct{}{}, nil
		})
	})
	defer stopExample()

	err := bus.Send(context.Background(), c, bus.Group("example"), Record, Point{3, 4})
	fmt.Println(<-recorded, err)
	// Output: {3 4} <nil>
}

// JSON as it comes from a shell or a browser reaches the handler's struct, and
// the result comes back as JSON.
func ExampleCallRaw() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Norm, func(_ context.Context, p Point) (int, error) { return p.X*p.X + p.Y*p.Y, nil })
	})
	defer stopExample()

	result, err := bus.CallRaw(context.Background(), c, bus.Group("example"), "norm",
		bus.Body{Codec: storage.JSON, Data: []byte(`{"x":3,"y":4}`)})
	fmt.Println(result.Codec, string(result.Data), err)
	// Output: json 25 <nil>
}

// A worker that passes everything on knows no types.
func ExampleHandleAny() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.HandleAny(w, func(_ context.Context, method string, args bus.Body) (bus.Body, error) {
			return bus.Body{Codec: storage.Text, Data: fmt.Appendf(nil, "%s as %s", method, args.Codec)}, nil
		})
	})
	defer stopExample()

	text, err := bus.Call(context.Background(), c, bus.Group("example"), bus.NewMethod[Point, string]("anything"), Point{})
	fmt.Println(text, err)
	// Output: anything as msgpack <nil>
}

// A handler with a limit of its own does not take all slots of the worker.
func ExampleHandle_maxInFlight() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(ctx context.Context, name string) (string, error) {
			at, _ := ctx.Deadline() // of the caller
			return fmt.Sprint("hello ", name, ", in time: ", time.Until(at) > 0), nil
		}, bus.HandleOptions{MaxInFlight: 8})
	})
	defer stopExample()

	text, err := bus.Call(context.Background(), c, bus.Group("example"), Greet, "you")
	fmt.Println(text, err)
	// Output: hello you, in time: true <nil>
}

func ExampleHeaderFrom() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(ctx context.Context, name string) (string, error) {
			return name + " " + bus.HeaderFrom(ctx)["traceparent"], nil
		})
	})
	defer stopExample()

	text, err := bus.Call(context.Background(), c, bus.Group("example"), Greet, "trace",
		bus.CallOptions{Header: bus.Header{"traceparent": "00-4bf9-00f0-01"}})
	fmt.Println(text, err)
	// Output: trace 00-4bf9-00f0-01 <nil>
}

// Each worker can be called by its id.
func ExampleClient_Workers() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()

	ctx := context.Background()
	workers, err := c.Workers(ctx, "example")
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range workers {
		text, err := bus.Call(ctx, c, bus.Direct(w.ID), Greet, w.Type)
		fmt.Println(text, err)
	}
	// Output: hello example <nil>
}

// What waits says whether a group needs more workers.
func ExampleClient_Queued() {
	c := exampleWorker(func(*bus.Worker) {})
	defer stopExample()

	fmt.Println(c.Queued(context.Background(), bus.Group("example")))
	// Output: 0 <nil>
}

func ExampleMethod_WithCodec() {
	fmt.Println(Norm.Name(), Norm.WithCodec(storage.JSON).Name())
	// Output: norm norm
}

// A call that may wait for a worker to be started, while others fail at once.
func ExampleCallOptions() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()

	patient := bus.CallOptions{Retry: &bus.Retry{Attempts: 10, MaxPause: time.Second}}
	fmt.Println(bus.Call(context.Background(), c, bus.Group("example"), Greet, "you", patient))
	// Output: hello you <nil>
}

func ExampleClient_Stats() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()

	_, _ = bus.Call(context.Background(), c, bus.Group("example"), Greet, "you")
	_, _ = bus.Call(context.Background(), c, bus.Group("absent"), Greet, "you")
	stats := c.Stats()
	fmt.Println(stats.Calls, "sent,", stats.Refused, "refused,", stats.Pending, "pending")
	// Output: 1 sent, 1 refused, 0 pending
}

// A worker stops by a call only if its configuration allows that.
func ExampleStop() {
	c := exampleWorker(func(*bus.Worker) {})
	defer stopExample()

	for _, err := range bus.Gather(context.Background(), c, bus.Broadcast("example"), bus.Stop, struct{}{}) {
		fmt.Println(errors.Is(err, bus.CodeNotAllowed))
	}
	// Output: true
}

// After 5 calls in a row without an answer, further calls to that address are
// refused for a second.
func ExampleBreaker() {
	pool := examplePool()
	defer stopExample()
	c, err := bus.NewClient(pool, bus.ClientConfig{Breaker: bus.Breaker{Failures: 5, Cooldown: time.Second}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = bus.Call(context.Background(), c, bus.Group("absent"), bus.Ping, struct{}{})
	fmt.Println(err)
	// Output: bus: call bus.ping at group absent: no workers
}
