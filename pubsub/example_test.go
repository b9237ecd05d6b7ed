package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Topics are package variables, which both sides share.
type Sample struct {
	Sensor string  `json:"sensor"`
	Kelvin float64 `json:"kelvin"`
}

var (
	Samples = pubsub.NewTopic[Sample]("samples")
	Chat    = pubsub.NewTopic[string]("chat").WithCodec(storage.Text)
)

func Example() {
	pool, stop := examplePool() // storage.Open(storage.Config{URL: "redis://localhost:6379/0"})
	defer stop()
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	sub, err := pubsub.Subscribe(ctx, ps, Samples)
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
	n, err := pubsub.Publish(ctx, ps, Samples, Sample{"mirror", 281.5})
	fmt.Println("subscribers:", n, err)

	for m := range sub.C() {
		if m.Err != nil {
			fmt.Println("something is missing:", m.Err)
			continue
		}
		fmt.Println(m.Channel, m.Value.Sensor, m.Value.Kelvin)
		break
	}
	// Output:
	// subscribers: 1 <nil>
	// samples mirror 281.5
}

func ExampleListen() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	heard := make(chan bool)
	l, err := pubsub.Listen(ctx, ps, Chat, func(_ context.Context, m pubsub.Message[string]) error {
		if m.Err != nil {
			return m.Err // is logged and counted
		}
		fmt.Println("heard:", m.Value)
		heard <- true
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	_, _ = pubsub.Publish(ctx, ps, Chat, "hello")
	<-heard
	// Output: heard: hello
}

// Eight calls of the handler may run at a time.
func ExampleListen_concurrent() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	all := make(chan string, 8)
	_, err := pubsub.Listen(ctx, ps, Chat, func(_ context.Context, m pubsub.Message[string]) error {
		all <- m.Value
		return m.Err
	}, pubsub.SubscribeOptions{Concurrency: 8})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		_, _ = pubsub.Publish(ctx, ps, Chat, "hello")
	}
	fmt.Println(<-all, <-all, <-all)
	// Output: hello hello hello
}

func ExamplePublishAsync() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	var pending []*pubsub.Future
	for i := range 3 { // in this order, without waiting for each
		pending = append(pending, pubsub.PublishAsync(ctx, ps, Chat, fmt.Sprint("line ", i)))
	}
	for _, f := range pending {
		n, err := f.Wait(ctx)
		fmt.Println(n, err)
	}
	// Output:
	// 0 <nil>
	// 0 <nil>
	// 0 <nil>
}

func ExampleNewPattern() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	rooms, err := pubsub.Subscribe(ctx, ps, pubsub.NewPattern[string]("room:*").WithCodec(storage.Text))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = pubsub.Publish(ctx, ps, pubsub.NewTopic[string]("room:7").WithCodec(storage.Text), "hello")
	m := <-rooms.C()
	fmt.Println(m.Channel, m.Value)
	// Output: room:7 hello
}

// A gateway learns its channels at run time, and passes bytes on.
func ExampleParseTopic() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	_, err := pubsub.ParseTopic[[]byte]("no spaces")
	fmt.Println(err)

	topic, err := pubsub.ParseTopic[[]byte]("chat")
	if err != nil {
		log.Fatal(err)
	}
	sub, err := pubsub.Subscribe(ctx, ps, topic.WithCodec(storage.Raw))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = pubsub.Publish(ctx, ps, Chat, "as it is")
	m := <-sub.C()
	fmt.Printf("%s\n", m.Value)
	// Output:
	// pubsub: topic: name "no spaces": ' ' is not allowed
	// as it is
}

func ExampleParsePattern() {
	_, err := pubsub.ParsePattern[[]byte]("room:{7}*")
	fmt.Println(err)
	// Output: pubsub: pattern: name "room:{7}": '{' is not allowed
}

func ExampleTopic_WithCodec() {
	pool, stop := examplePool()
	defer stop()
	ps, _ := pubsub.NewClient(pool, pubsub.Config{})
	ctx := context.Background()

	sub, err := pubsub.Subscribe(ctx, ps, Samples.WithCodec(storage.JSON))
	if err != nil {
		log.Fatal(err)
	}
	// From a shell: redis-cli publish samples '{"sensor":"dome","kelvin":279}'
	pool.Redis().Publish(ctx, "samples", `{"sensor":"dome","kelvin":279}`)
	m := <-sub.C()
	fmt.Println(m.Value.Sensor, m.Value.Kelvin)
	// Output: dome 279
}

// A subscriber that comes later, or comes back, receives what was published before.
func ExampleTopic_WithHistory() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()
	lines := pubsub.NewTopic[string]("lines").WithHistory(pubsub.History{Size: 100, TTL: time.Hour})

	for _, line := range []string{"one", "two", "three"} {
		_, _ = pubsub.Publish(ctx, ps, lines, line)
	}
	sub, err := pubsub.Subscribe(ctx, ps, lines, pubsub.SubscribeOptions{Replay: true})
	if err != nil {
		log.Fatal(err)
	}
	first := <-sub.C()
	fmt.Println(first.Value)

	again, err := pubsub.Subscribe(ctx, ps, lines, pubsub.SubscribeOptions{After: first.Offset})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("nothing was lost:", again.Recovered())
	fmt.Println((<-again.C()).Value, (<-again.C()).Value)
	// Output:
	// one
	// nothing was lost: true
	// two three
}

// Publisher and subscriber must agree on whether a topic has a history.
func ExampleErrHistoryMismatch() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()
	lines := pubsub.NewTopic[string]("lines")

	sub, err := pubsub.Subscribe(ctx, ps, lines)
	if err != nil {
		log.Fatal(err)
	}
	_, _ = pubsub.Publish(ctx, ps, lines.WithHistory(pubsub.History{Size: 100}), "one")
	m := <-sub.C()
	fmt.Println(errors.Is(m.Err, pubsub.ErrHistoryMismatch))
	// Output: true
}

// An offset that comes from outside, such as a browser's, is checked first.
func ExampleParseOffset() {
	offset, err := pubsub.ParseOffset("AAAAAAAAAA:1764201600000-7")
	fmt.Println(offset, err)
	_, err = pubsub.ParseOffset("seven")
	fmt.Println(err)
	// Output:
	// AAAAAAAAAA:1764201600000-7 <nil>
	// pubsub: "seven" is not an offset
}

func ExampleClient_Stats() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()
	lines := pubsub.NewTopic[string]("lines")

	sub, err := pubsub.Subscribe(ctx, ps, lines)
	if err != nil {
		log.Fatal(err)
	}
	_, _ = pubsub.Publish(ctx, ps, lines, "one")
	<-sub.C()
	stats := ps.Stats() // marshals to JSON with snake_case names
	fmt.Println(stats.Subscriptions, stats.Published, stats.Dropped)
	// Output: 1 1 0
}

// Recall returns all messages after an offset, or an error if some are gone.
func ExampleRecall() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()
	lines := pubsub.NewTopic[string]("lines").WithHistory(pubsub.History{Size: 100})

	_, _ = pubsub.Publish(ctx, ps, lines, "one")
	_, was, err := pubsub.Recall(ctx, ps, lines, "")
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range []string{"two", "three"} {
		_, _ = pubsub.Publish(ctx, ps, lines, line)
	}
	missed, now, err := pubsub.Recall(ctx, ps, lines, was)
	if errors.Is(err, pubsub.ErrGap) {
		log.Fatal("it is gone: read the state again, and go on from ", now)
	}
	for _, m := range missed {
		fmt.Println(m.Value, m.Offset.Before(now))
	}
	// Output:
	// two true
	// three false
}

// Of each sensor, only the newest sample waits for a consumer that is slow.
func ExampleTopic_WithKey() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	bySensor := Samples.WithKey(func(s Sample) string { return s.Sensor })
	sub, err := pubsub.Subscribe(ctx, ps, bySensor, pubsub.SubscribeOptions{Overflow: pubsub.OverflowConflate})
	if err != nil {
		log.Fatal(err)
	}
	for k := range 1000 {
		_, _ = pubsub.Publish(ctx, ps, Samples, Sample{"mirror", float64(k)})
	}
	seen := 0
	for m := range sub.C() {
		seen++
		if m.Value.Kelvin == 999 {
			break
		}
	}
	fmt.Println(seen < 10)
	// Output: true
}

// On a cluster, the messages of a sharded topic stay on one shard.
func ExampleTopic_Sharded() {
	pool, err := storage.Open(storage.Config{URL: "redis+cluster://10.0.0.1:6379,10.0.0.2:6379"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	ps, _ := pubsub.NewClient(pool, pubsub.Config{})
	sub, err := pubsub.Subscribe(context.Background(), ps, Samples.Sharded())
	if err != nil {
		log.Fatal(err)
	}
	for m := range sub.C() {
		fmt.Println(m.Value, m.Err)
	}
}

// What redis-cli does to a key is told as well. The server must be told to:
// CONFIG SET notify-keyspace-events Kg$h
func ExampleNewKeyEvents() {
	pool, err := storage.Open(storage.Config{URL: "redis://localhost:6379/0", Prefix: "obs"})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	ps, _ := pubsub.NewClient(pool, pubsub.Config{})
	sub, err := pubsub.Subscribe(context.Background(), ps, pubsub.NewKeyEvents("kw:*")) // obs:kw:*
	if err != nil {
		log.Fatal(err)
	}
	for m := range sub.C() {
		fmt.Println(m.Channel, m.Value, m.Err) // kw:speed hset <nil>
	}
}

func ExampleGapError() {
	reload := func() { fmt.Println("reading the state again") }
	handle := func(_ context.Context, m pubsub.Message[Sample]) error {
		var gap *pubsub.GapError
		switch {
		case errors.As(m.Err, &gap):
			reload()
		case m.Err != nil:
			return m.Err // it could not be decoded
		default:
			fmt.Println(m.Value.Kelvin)
		}
		return nil
	}
	_ = handle(context.Background(), pubsub.Message[Sample]{Err: &pubsub.GapError{Cause: errors.New("EOF")}})
	// Output: reading the state again
}

func ExampleMiddleware() {
	count := 0
	counting := func(next pubsub.Handler) pubsub.Handler {
		return func(ctx context.Context, p *pubsub.Packet) error {
			count += len(p.Payload)
			return next(ctx, p)
		}
	}
	ps, stop := exampleClient(pubsub.Config{Publishing: []pubsub.Middleware{counting}})
	defer stop()

	_, err := pubsub.Publish(context.Background(), ps, Chat, "hello")
	fmt.Println(count, err)
	// Output: 5 <nil>
}

func ExampleEvent() {
	connected := make(chan pubsub.Event, 1)
	ps, stop := exampleClient(pubsub.Config{OnEvent: func(e pubsub.Event) {
		if e.Kind == pubsub.EventConnected {
			connected <- e
		}
	}})
	defer stop()

	_, err := pubsub.Subscribe(context.Background(), ps, Chat)
	fmt.Println((<-connected).Kind, err)
	// Output: connected <nil>
}

func ExampleClient_Unlisten() {
	ps, stop := exampleClient(pubsub.Config{})
	defer stop()
	ctx := context.Background()

	nothing := func(context.Context, pubsub.Message[string]) error { return nil }
	for range 3 {
		if _, err := pubsub.Listen(ctx, ps, Chat, nothing); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(ps.Unlisten("chat"), ps.Stats().Subscriptions)
	// Output: 3 0
}
