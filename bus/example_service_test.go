package bus_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// Every worker of a type is asked, and the loop ends when all have answered.
func ExampleGather() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()

	ctx := context.Background()
	for r, err := range bus.Gather(ctx, c, bus.Broadcast("example"), Greet, "all") {
		if err != nil {
			log.Print(r.From.ID, ": ", err) // and the others go on
			continue
		}
		fmt.Println(r.From.Type, "says", r.Value)
	}
	// Output: example says hello all
}

// An audience names some of the live workers.
func ExampleAudience() {
	fmt.Println(bus.Broadcast("calc"))
	fmt.Println(bus.Broadcast(""))
	fmt.Println(bus.Multicast("calc:10.130.*"))
	fmt.Println(bus.Local("calc"))
	fmt.Println(bus.Broadcast("calc").WithLabels(map[string]string{"zone": "eu"}))
	// Output:
	// all calc
	// all
	// all calc:10.130.*
	// all calc here
	// all calc zone=eu
}

type TailArgs struct {
	Lines int `json:"lines"`
}

var Tail = bus.NewStream[TailArgs, string]("tail")

func ExampleStream() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.HandleStream(w, Tail, func(ctx context.Context, a TailArgs, send func(string) error) error {
			for i := range a.Lines {
				if err := send(fmt.Sprint("line ", i)); err != nil {
					return err // the caller has given up
				}
			}
			return nil
		})
	})
	defer stopExample()

	for line, err := range bus.Stream(context.Background(), c, bus.Group("example"), Tail, TailArgs{1_000_000}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line)
		if line == "line 2" {
			break // cancels the handler
		}
	}
	// Output:
	// line 0
	// line 1
	// line 2
}

// Counter has state and no locks.
type Counter struct{ n int }

// Add is served as method Add, since it takes a context and an argument and
// returns a result and an error.
func (c *Counter) Add(_ context.Context, n int) (int, error) {
	c.n += n
	return c.n, nil
}

func ExampleRegister() {
	pool := examplePool()
	defer pool.Close()
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "counter", Serial: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(bus.Register(w, &Counter{}))
	go func() { _ = w.Run(context.Background()) }()
	<-w.Ready()

	c, _ := bus.NewClient(pool, bus.ClientConfig{})
	add := bus.NewMethod[int, int]("Add")
	for range 2 {
		fmt.Println(bus.Call(context.Background(), c, bus.Group("counter"), add, 20))
	}
	// Output:
	// [Add]
	// 20 <nil>
	// 40 <nil>
}

// Every worker answers the built-in methods, also one whose slots are all taken.
func ExampleInfo() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Norm, func(_ context.Context, p Point) (int, error) { return p.X*p.X + p.Y*p.Y, nil })
	})
	defer stopExample()

	ctx := context.Background()
	for r, err := range bus.Gather(ctx, c, bus.Broadcast(""), bus.Info, struct{}{}) {
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range r.Value.Methods {
			fmt.Println(r.From.Type, m.Name, string(m.Result))
		}
		_, err = bus.Call(ctx, c, bus.Direct(r.From.ID), bus.Ping, struct{}{})
		fmt.Println("ping:", err)
		_, err = bus.Call(ctx, c, bus.Direct(r.From.ID), bus.UpdateSpawner, "init")
		fmt.Println("spawner:", err)
		_, err = bus.Call(ctx, c, bus.Direct(r.From.ID), bus.Stop, struct{}{})
		fmt.Println("stop:", errors.Is(err, bus.CodeNotAllowed)) // see WorkerConfig.AllowStop
	}
	// Output:
	// example norm {"type":"integer"}
	// ping: <nil>
	// spawner: <nil>
	// stop: true
}

func ExampleStats() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "", errors.New("shy") })
	})
	defer stopExample()

	ctx := context.Background()
	_, _ = bus.Call(ctx, c, bus.Group("example"), Greet, "you")
	for r, err := range bus.Gather(ctx, c, bus.Broadcast("example"), bus.Stats, struct{}{}) {
		if err != nil {
			log.Fatal(err)
		}
		m := r.Value.Methods[0]
		fmt.Println(m.Name, m.Calls, m.Errors, m.Time.Count, m.Time.Quantile(0.5) <= m.Time.Quantile(0.99))
	}
	// Output: greet 1 map[failed:1] 1 true
}

// Middleware of one shape serves clients and workers. A Header is what an
// OpenTelemetry propagator writes into and reads from: with
//
//	p := otel.GetTextMapPropagator()
//
// the client's middleware does p.Inject(ctx, req.Header), and that of the worker
// ctx = p.Extract(ctx, req.Header), each with a span around next.
func ExampleMiddleware() {
	pool := examplePool()
	defer pool.Close()
	var p propagator = traceparent{} // in the place of p
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "traced", Middleware: []bus.Middleware{
		func(next bus.Next) bus.Next {
			return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
				ctx = p.Extract(ctx, req.Header)
				return next(ctx, req)
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	bus.Handle(w, Greet, func(ctx context.Context, name string) (string, error) {
		return fmt.Sprint(name, " in trace ", ctx.Value(traceKey{})), nil
	})
	go func() { _ = w.Run(context.Background()) }()
	<-w.Ready()

	c, err := bus.NewClient(pool, bus.ClientConfig{Middleware: []bus.Middleware{
		func(next bus.Next) bus.Next {
			return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
				p.Inject(ctx, req.Header)
				resp, err := next(ctx, req)
				fmt.Println(req.Method, "at", req.To, err)
				return resp, err
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.WithValue(context.Background(), traceKey{}, "4bf92f35")
	fmt.Println(bus.Call(ctx, c, bus.Group("traced"), Greet, "you"))
	// Output:
	// greet at group traced <nil>
	// you in trace 4bf92f35 <nil>
}

// carrier and propagator are OpenTelemetry's TextMapCarrier and
// TextMapPropagator.
type carrier interface {
	Get(key string) string
	Set(key, value string)
	Keys() []string
}

type propagator interface {
	Inject(ctx context.Context, c carrier)
	Extract(ctx context.Context, c carrier) context.Context
}

type (
	traceparent struct{}
	traceKey    struct{}
)

func (traceparent) Inject(ctx context.Context, c carrier) {
	c.Set("traceparent", fmt.Sprintf("00-%s-01", ctx.Value(traceKey{})))
}

func (traceparent) Extract(ctx context.Context, c carrier) context.Context {
	return context.WithValue(ctx, traceKey{}, strings.Split(c.Get("traceparent"), "-")[1])
}

func ExampleFiles() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	_ = os.WriteFile(filepath.Join(dir, "readme"), []byte("hello"), 0o644)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	c := exampleWorker(func(w *bus.Worker) { bus.Files(w, root) })
	defer stopExample()

	ctx := context.Background()
	for chunk, err := range bus.Stream(ctx, c, bus.Group("example"), bus.Download, "readme") {
		fmt.Println(string(chunk), err)
	}
	for _, err := range bus.Stream(ctx, c, bus.Group("example"), bus.Download, "../readme") {
		fmt.Println(errors.Is(err, bus.CodeNotAllowed))
	}
	var all bytes.Buffer
	for chunk, err := range bus.Stream(ctx, c, bus.Group("example"), bus.DownloadDir, ".") {
		if err != nil {
			log.Fatal(err)
		}
		all.Write(chunk)
	}
	archive, err := zip.NewReader(bytes.NewReader(all.Bytes()), int64(all.Len()))
	fmt.Println(archive.File[0].Name, err)
	// Output:
	// hello <nil>
	// true
	// readme <nil>
}

// The last records of each worker are kept in Redis, where they outlive it.
func ExampleWorker_LogHandler() {
	var logger *slog.Logger
	c := exampleWorker(func(w *bus.Worker) {
		logger = slog.New(w.LogHandler(slog.NewTextHandler(io.Discard, nil), slog.LevelInfo))
	})
	defer stopExample()

	ctx := context.Background()
	logger.Warn("dome is open", "wind", 17)
	workers, err := c.Workers(ctx, "example")
	if err != nil {
		log.Fatal(err)
	}
	for range 100 { // records are written a little later
		records, err := c.Log(ctx, workers[0].ID, 10)
		if err != nil {
			log.Fatal(err)
		}
		if len(records) > 0 {
			fmt.Println(records[0].Level, records[0].Message, records[0].Attrs)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	// Output: WARN dome is open map[wind:17]
}

func ExampleClient_Watch() {
	c := exampleWorker(func(*bus.Worker) {})
	defer stopExample()

	for ev, err := range c.Watch(context.Background(), "example") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Worker.Type, "joined:", ev.Joined)
		break
	}
	// Output: example joined: true
}

// What may be run twice is tried again when its worker dies, and whatever was
// surely not run if the client says so.
func ExampleMethod_Idempotent() {
	pool := examplePool()
	defer pool.Close()
	c, err := bus.NewClient(pool, bus.ClientConfig{
		Retry:   bus.Retry{Attempts: 3, MinPause: time.Millisecond},
		Breaker: bus.Breaker{Failures: 10},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = bus.Call(context.Background(), c, bus.Group("absent"), Norm.Idempotent(), Point{})
	fmt.Println(err)
	// Output: bus: call norm at group absent: no workers
}

func ExampleGatherRaw() {
	c := exampleWorker(func(*bus.Worker) {})
	defer stopExample()

	var types []string
	for r, err := range bus.GatherRaw(context.Background(), c, bus.Multicast("ex*"), "bus.ping", bus.Body{}) {
		if err != nil {
			log.Fatal(err)
		}
		types = append(types, r.From.Type)
	}
	sort.Strings(types)
	fmt.Println(types)
	// Output: [example]
}

func ExampleStreamRaw() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.HandleStream(w, Tail, func(_ context.Context, a TailArgs, send func(string) error) error {
			return send(fmt.Sprint(a.Lines))
		})
	})
	defer stopExample()

	args := bus.Body{Codec: storage.JSON, Data: []byte(`{"lines":7}`)}
	for item, err := range bus.StreamRaw(context.Background(), c, bus.Group("example"), "tail", args) {
		fmt.Println(item.Codec, string(item.Data), err)
	}
	// Output: json "7" <nil>
}

// A host's /healthz asks the worker whether callers know it. OnLease tells when Redis could
// not be reached for so long that they do not.
func ExampleWorker_Healthy() {
	pool := examplePool()
	defer stopExample()
	w, err := bus.NewWorker(pool, bus.WorkerConfig{
		Type:    "example",
		OnLease: func(err error) { fmt.Println("lease:", err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Healthy() == nil)
	stop, err := bus.Start(context.Background(), w)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Healthy() == nil)
	_ = stop()
	fmt.Println(w.Healthy() == nil)
	// Output:
	// false
	// true
	// false
}

// An operator looks into the queue of a type that is paused, and empties it.
func ExampleClient_Pause() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()

	ctx := context.Background()
	if err := c.Pause(ctx, "example", time.Hour); err != nil {
		log.Fatal(err)
	}
	for paused := false; !paused; { // it takes a moment
		for r := range bus.Gather(ctx, c, bus.Broadcast("example"), bus.Stats, struct{}{}) {
			paused = r.Value.Paused
		}
	}
	ended := make(chan error)
	go func() {
		_, err := bus.Call(ctx, c, bus.Group("example"), Greet, "you")
		ended <- err
	}()
	for waiting := 0; waiting == 0; {
		waiting, _ = c.Queued(ctx, bus.Group("example"))
	}
	calls, _ := c.Peek(ctx, bus.Group("example"), 10)
	fmt.Println(len(calls), calls[0].Method)
	n, err := c.Purge(ctx, bus.Group("example"))
	fmt.Println(n, err, errors.Is(<-ended, bus.CodePurged))

	if err := c.Resume(ctx, "example"); err != nil {
		log.Fatal(err)
	}
	s, err := bus.Call(ctx, c, bus.Group("example"), Greet, "you")
	fmt.Println(s, err)
	// Output:
	// 1 greet
	// 1 <nil> true
	// hello you <nil>
}

// A histogram has quantiles, and its buckets suit a metrics system.
func ExampleHistogram_Quantile() {
	c := exampleWorker(func(w *bus.Worker) {
		bus.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	})
	defer stopExample()
	for range 100 {
		_, _ = bus.Call(context.Background(), c, bus.Group("example"), Greet, "you")
	}
	s := c.Stats()
	fmt.Println(s.Time.Count, s.Time.Quantile(0.5) > 0, s.Time.Quantile(0.5) <= s.Time.Quantile(0.99))
	// Output: 100 true true
}
