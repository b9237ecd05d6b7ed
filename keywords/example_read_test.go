package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/heliograph/heliograph/keywords"
)

func ExampleRead() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	v, err := keywords.Read(ctx, k, Speed)
	fmt.Println(v.V, v.Quality, v.Severity, err)
	_, err = keywords.Read(ctx, k, Note)
	fmt.Println(errors.Is(err, keywords.ErrNoValue))
	// Output:
	// 1 good none <nil>
	// true
}

func ExampleReadText() {
	_, k := exampleStage(nil)
	defer stopExample()

	v, err := keywords.ReadText(context.Background(), k, "stage", "SPEED")
	fmt.Println(v.V, err)
	// Output: 1 <nil>
}

// The values of ReadMany are those of the same moment.
func ExampleReadMany() {
	_, k := exampleStage(nil)
	defer stopExample()

	all, err := keywords.ReadMany(context.Background(), k, "stage", "SPEED", "NOTE")
	_, ok := all["NOTE"] // it has no value
	fmt.Println(all["SPEED"].V, ok, err)
	// Output: 1 false <nil>
}

// With Refresh the dispatcher asks the hardware; without it the value in Redis is read.
func ExampleReadOptions() {
	steps := 0
	_, k := exampleStage(func(d *keywords.Dispatcher) {
		keywords.Serve(d, Count, keywords.Hooks[int]{Read: func(context.Context) (int, error) {
			steps++
			return steps, nil
		}})
	})
	defer stopExample()
	ctx := context.Background()

	for range 2 {
		v, err := keywords.Read(ctx, k, Count, keywords.ReadOptions{Refresh: true})
		fmt.Println(v.V, err)
	}
	v, err := keywords.Read(ctx, k, Count)
	fmt.Println(v.V, err)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
}

// The present value comes first. Leaving the loop ends the watch.
func ExampleWatch() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for ev, err := range keywords.Watch(ctx, k, Speed) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Value.V)
		if ev.Prev != nil {
			fmt.Println("it was", ev.Prev.V)
			break
		}
		if _, err := keywords.Modify(ctx, k, Speed, 2); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// initial 1
	// change 2
	// it was 1
}

// DeadBand suppresses small changes.
func ExampleWatchOptions() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for ev, err := range keywords.Watch(ctx, k, Speed, keywords.WatchOptions{DeadBand: 0.5}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Value.V)
		if ev.Kind == keywords.EventChange {
			break
		}
		for _, v := range []float64{1.1, 1.4, 3} {
			_, _ = keywords.Modify(ctx, k, Speed, v)
		}
	}
	// Output:
	// initial 1
	// change 3
}

// A glob watches a whole service.
func ExampleWatchText() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for ev, err := range keywords.WatchText(ctx, k, "stage", "*") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Keyword, ev.Value.V)
		if ev.Keyword == "NOTE" {
			break
		}
		if _, err := keywords.ModifyText(ctx, k, "stage", "NOTE", "all is well"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// initial SPEED 1
	// change NOTE all is well
}

// Several keywords are watched in one loop. Values that were set together come as one
// event each.
func ExampleWatchText_several() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for ev, err := range keywords.WatchText(ctx, k, "stage", "SPEED,MODE") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Keyword, ev.Value.V)
		switch {
		case ev.Kind == keywords.EventInitial: // MODE has no value yet
			if _, err := keywords.ModifyMany(ctx, k, Speed.To(2), ModeOf.To(Track)); err != nil {
				log.Fatal(err)
			}
		case ev.Keyword == "MODE":
			return
		}
	}
	// Output:
	// initial SPEED 1
	// change SPEED 2
	// change MODE track
}

func ExampleWaitFor() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background() // one with a deadline, as a rule

	go func() {
		for v := range 10 {
			_, _ = keywords.Modify(ctx, k, Speed, float64(v))
		}
	}()
	v, err := keywords.WaitFor(ctx, k, Speed, func(v float64) bool { return v > 3 })
	fmt.Println(v.V > 3, err)
	// Output: true <nil>
}

func ExampleWaitForExpr() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	go func() { _, _ = keywords.ModifyMany(ctx, k, Speed.To(5), ModeOf.To(Track)) }()
	err := keywords.WaitForExpr(ctx, k, "$SPEED > 3 and $MODE == 'track'", keywords.WaitOptions{Service: "stage"})
	fmt.Println(err)
	err = keywords.WaitForExpr(ctx, k, "$stage.COLOR == red")
	fmt.Println(err)
	// Output:
	// <nil>
	// keywords: stage.COLOR: unknown_keyword
}

// A control loop reads the newest value that has arrived, without a round trip.
func ExampleReadOptions_cached() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for range 3 {
		v, err := keywords.Read(ctx, k, Speed, keywords.ReadOptions{Cached: true})
		fmt.Println(v.V, v.Quality, err)
	}
	fmt.Println(k.Stats().Reads < 10, k.Stats().Cached)
	// Output:
	// 1 good <nil>
	// 1 good <nil>
	// 1 good <nil>
	// true 1
}
