package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/pubsub"
)

// Start returns once the dispatcher serves, or with the reason why it does not.
func ExampleStart() {
	pool := examplePool()
	defer stopExample()
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	if err != nil {
		log.Fatal(err)
	}
	keywords.Serve(d, Speed, keywords.Hooks[float64]{})
	stop, err := keywords.Start(context.Background(), d)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("serving")
	fmt.Println(stop())
	// Output:
	// serving
	// <nil>
}

// A listener is called with the present value and then with each change it can keep up
// with.
func ExampleListen() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	changed := make(chan struct{}, 1)
	l, err := keywords.Listen(ctx, k, Speed, func(ev keywords.Event[float64]) {
		fmt.Println(ev.Kind, ev.Value.V)
		changed <- struct{}{}
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	<-changed
	if _, err := keywords.Modify(ctx, k, Speed, 2); err != nil {
		log.Fatal(err)
	}
	<-changed
	// Output:
	// initial 1
	// change 2
}

func ExampleClient_Stats() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	_, _ = keywords.Modify(ctx, k, Speed, 2)
	_, _ = keywords.Modify(ctx, k, Speed, 25) // above Max
	s := k.Stats()
	fmt.Println(s.Requests, "requests,", s.Refused, "refused")
	// Output: 2 requests, 1 refused
}

func ExampleDispatcher_Stats() {
	d, k := exampleStage(nil)
	defer stopExample()

	_, _ = keywords.Modify(context.Background(), k, Speed, 2)
	s := d.Stats()
	fmt.Println(s.Keywords, "keywords,", s.Modifies, "modify")
	// Output: 4 keywords, 1 modify
}

func ExampleLoadDefinitions() {
	file := `[
		{"service": "stage", "name": "STEPS", "kind": "integer", "max": 4000},
		{"service": "stage", "name": "MODE", "kind": "enumerated", "enumerators": {"0": "idle", "1": "track"}}
	]`
	defs, err := keywords.LoadDefinitions(strings.NewReader(file))
	for _, def := range defs {
		fmt.Println(def, def.Kind)
	}
	fmt.Println(err)
	// Output:
	// stage.STEPS integer
	// stage.MODE enumerated
	// <nil>
}

// The error of a wrong definition names the field.
func ExampleFieldError() {
	_, err := keywords.Definition{Service: "stage", Name: "SPEED", Kind: keywords.KindDouble, Min: 10.0, Max: 5.0}.Complete()
	var field *keywords.FieldError
	if errors.As(err, &field) {
		fmt.Println(field.Field, "|", field.Text)
	}
	fmt.Println(err)
	// Output:
	// Max | 5 is below Min, 10
	// keywords: stage.SPEED: Max: 5 is below Min, 10
}

// A value at or beyond a limit has the severity of the limit.
func ExampleAlarm() {
	temp := keywords.Define("stage", "TEMP", keywords.Spec[float64]{
		Alarm: keywords.Alarm{HighMinor: new(30.0), HighMajor: new(40.0), Hysteresis: 2},
	}).Definition()
	severity := keywords.SeverityNone
	for _, v := range []float64{25, 30, 29, 27} {
		severity = temp.Severity(v, severity)
		fmt.Println(v, severity)
	}
	// Output:
	// 25 none
	// 30 minor
	// 29 minor
	// 27 none
}

// Revisions are totally ordered, also across restarts of the dispatcher.
func ExampleRevision_Compare() {
	older, err := keywords.ParseRevision("1700000000000000:9")
	if err != nil {
		log.Fatal(err)
	}
	newer, err := keywords.ParseRevision("1700000000000001:1")
	fmt.Println(older.Compare(newer), err)
	// Output: -1 <nil>
}

// A program that uses all packages shares its clients.
func ExampleClientConfig() {
	pool := examplePool()
	defer stopExample()
	ps, _ := pubsub.NewClient(pool, pubsub.Config{})
	calls, _ := bus.NewClient(pool, bus.ClientConfig{})

	k, err := keywords.NewClient(pool, keywords.ClientConfig{PubSub: ps, Bus: calls})
	fmt.Println(k != nil, err)
	// Output: true <nil>
}

// Which process serves a service, and since when.
func ExampleClient_Dispatchers() {
	_, k := exampleStage(nil)
	defer stopExample()

	all, err := k.Dispatchers(context.Background(), "stage")
	for _, d := range all {
		fmt.Println(d.Name, d.Serving.PID == os.Getpid(), time.Since(d.Serving.Since) < time.Minute, len(d.Standbys))
	}
	fmt.Println(err)
	// Output:
	// main true true 0
	// <nil>
}
