package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/keywords"
)

// These Examples share keywords that the program defines once:
//
//	var Speed  = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "mm/s", Min: new(0.0), Max: new(20.0), Initial: new(1.0)})
//	var ModeOf = keywords.Define("stage", "MODE", keywords.Spec[Mode]{Enumerators: []string{Idle: "idle", Track: "track", Slew: "slew"}})
//	var Count  = keywords.Define("stage", "COUNT", keywords.Spec[int]{ReadOnly: true})
//	var Note   = keywords.Define("stage", "NOTE", keywords.Spec[string]{Persist: true})

func Example() {
	pool := examplePool() // storage.Open(storage.Config{URL: "redis://localhost:6379/0"})
	defer pool.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// The process that owns the stage.
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	if err != nil {
		log.Fatal(err)
	}
	keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(_ context.Context, v float64) error {
		fmt.Println("the motor is told", v)
		return nil
	}})
	stopped := make(chan error)
	go func() { stopped <- d.Run(ctx) }()
	<-d.Ready()

	// Everybody else.
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	rev, err := keywords.Modify(ctx, k, Speed, 3.5)
	if err != nil {
		log.Fatal(err)
	}
	v, err := keywords.Read(ctx, k, Speed)
	fmt.Println(v.V, v.Rev == rev, err)

	cancel()
	fmt.Println(<-stopped)
	// Output:
	// the motor is told 3.5
	// 3.5 true <nil>
	// <nil>
}

// A Write hook carries a modify out. Its error refuses the modify.
func ExampleServe() {
	locked := false
	_, k := exampleStage(func(d *keywords.Dispatcher) {
		keywords.Serve(d, Speed, keywords.Hooks[float64]{
			Prewrite: func(_ context.Context, old keywords.Value[float64], v float64) error {
				if old.V == v {
					return keywords.ErrNoWriteNecessary // complete, with the revision that there is
				}
				return nil
			},
			Check: func(context.Context, float64) error {
				if locked {
					return errors.New("the stage is locked")
				}
				return nil
			},
			Write: func(_ context.Context, v float64) error {
				fmt.Println("the motor is told", v)
				return nil
			},
		})
	})
	defer stopExample()
	ctx := context.Background()

	first, _ := keywords.Modify(ctx, k, Speed, 3)
	again, _ := keywords.Modify(ctx, k, Speed, 3)
	fmt.Println(first == again)
	locked = true
	_, err := keywords.Modify(ctx, k, Speed, 4)
	fmt.Println(errors.Is(err, keywords.CodeRejected), err)
	// Output:
	// the motor is told 3
	// true
	// true keywords: stage.SPEED: rejected: the stage is locked
}

// A second dispatcher of the same name waits to take over; with Refuse, Run returns an
// error.
func ExampleDispatcher_Run() {
	pool := examplePool()
	defer stopExample()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := keywords.DispatcherConfig{Service: "stage", Refuse: true}
	d, err := keywords.NewDispatcher(pool, cfg)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	<-d.Ready()

	second, _ := keywords.NewDispatcher(pool, cfg)
	fmt.Println(errors.Is(second.Run(ctx), keywords.ErrServed))
	cancel()
	fmt.Println(<-ended)
	// Output:
	// true
	// <nil>
}

// A dispatcher decides by the origin of a write whether to allow it.
func ExampleDispatcherConfig_allow() {
	pool := examplePool()
	defer stopExample()
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{
		Service: "stage",
		Allow: func(_ context.Context, by keywords.Origin, keyword string) error {
			if by.User != "ada" {
				return fmt.Errorf("%s is for ada", keyword)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	serveAll(d)
	go func() { _ = d.Run(context.Background()) }()
	<-d.Ready()

	for _, user := range []string{"ada", "eve"} {
		k, _ := keywords.NewClient(pool, keywords.ClientConfig{Origin: keywords.Origin{User: user, Program: "tool"}})
		_, err := keywords.Modify(context.Background(), k, Speed, 3)
		fmt.Println(user, err)
	}
	// Output:
	// ada <nil>
	// eve keywords: stage.SPEED: not_allowed: SPEED is for ada
}

// The dispatcher's own code sets read-only keywords.
func ExampleSet() {
	d, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	fmt.Println(keywords.Set(ctx, d, Count, 7))
	v, err := keywords.Read(ctx, k, Count)
	fmt.Printf("%d %q %v\n", v.V, v.Source, err) // no source: the dispatcher set it
	_, err = keywords.Modify(ctx, k, Count, 8)
	fmt.Println(errors.Is(err, keywords.CodeReadOnly))
	// Output:
	// <nil>
	// 7 "" <nil>
	// true
}

// The sensor is broken: the value is the last that it has measured.
func ExampleSetOptions() {
	d, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	err := keywords.Set(ctx, d, Count, 7, keywords.SetOptions{
		Severity: keywords.SeverityInvalid,
		Text:     "no signal from the counter",
		Time:     time.Date(2026, 11, 21, 14, 3, 22, 0, time.UTC), // by the counter's clock
	})
	fmt.Println(err)
	v, err := keywords.Read(ctx, k, Count)
	fmt.Println(v.V, v.Severity, v.Text, v.Time.UTC(), err)
	// Output:
	// <nil>
	// 7 invalid no signal from the counter 2026-11-21 14:03:22 +0000 UTC <nil>
}

func ExampleModify() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	rev, err := keywords.Modify(ctx, k, Speed, 3.5)
	fmt.Println(rev.N > 0, err)
	_, err = keywords.Modify(ctx, k, Speed, 25)
	fmt.Println(errors.Is(err, keywords.CodeRange), err)
	// Output:
	// true <nil>
	// true keywords: stage.SPEED: range: 25 is above 20
}

// No dispatcher lives, and the service was never served.
func ExampleModify_unserved() {
	pool := examplePool()
	defer stopExample()
	k, _ := keywords.NewClient(pool, keywords.ClientConfig{})

	_, err := keywords.Modify(context.Background(), k, Speed, 3.5)
	fmt.Println(errors.Is(err, keywords.ErrNoDispatcher), errors.Is(err, keywords.CodeUnknownService))
	fmt.Println(err)
	// Output:
	// true true
	// keywords: stage: unknown_service, and no dispatcher lives
}

// IfRevision keeps a modify from overwriting what another client has set meanwhile.
func ExampleModifyOptions() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	v, _ := keywords.Read(ctx, k, Speed)
	_, _ = keywords.Modify(ctx, k, Speed, 9) // another client
	_, err := keywords.Modify(ctx, k, Speed, v.V+1, keywords.ModifyOptions{IfRevision: v.Rev})
	fmt.Println(errors.Is(err, keywords.CodeRevision))

	v, _ = keywords.Read(ctx, k, Speed) // once more
	_, err = keywords.Modify(ctx, k, Speed, v.V+1, keywords.ModifyOptions{IfRevision: v.Rev})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

// All keywords are set in one step, or none.
func ExampleModifyMany() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	_, err := keywords.ModifyMany(ctx, k, Speed.To(5), ModeOf.To(Track))
	fmt.Println(err)
	_, err = keywords.ModifyMany(ctx, k, Speed.To(6), ModeOf.To(99))
	fmt.Println(errors.Is(err, keywords.CodeEnumerator))
	all, err := keywords.ReadMany(ctx, k, "stage", "SPEED", "MODE")
	fmt.Println(all["SPEED"].V, all["MODE"].V, err)
	// Output:
	// <nil>
	// true
	// 5 track <nil>
}

func ExampleKeyword_To() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	settings := []keywords.Setting{Speed.To(2)}
	if mode, err := keywords.Read(ctx, k, ModeOf); errors.Is(err, keywords.ErrNoValue) || mode.V == Idle {
		settings = append(settings, ModeOf.To(Slew))
	}
	_, err := keywords.ModifyMany(ctx, k, settings...)
	fmt.Println(len(settings), err)
	// Output: 2 <nil>
}

func ExampleModifyText() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	for _, text := range []string{"TRACK", "2", "fast"} {
		if _, err := keywords.ModifyText(ctx, k, "stage", "MODE", text); err != nil {
			fmt.Println(err)
			continue
		}
		v, err := keywords.ReadText(ctx, k, "stage", "MODE")
		fmt.Println(v.V, err)
	}
	// Output:
	// track <nil>
	// slew <nil>
	// keywords: stage.MODE: enumerator: no enumerator "fast": want one of idle, track, slew
}

func ExampleClient_Services() {
	_, k := exampleStage(nil)
	defer stopExample()

	services, err := k.Services(context.Background())
	fmt.Println(services, err)
	// Output: [stage] <nil>
}

// A client finds the keywords of a service without their Go types.
func ExampleClient_Keywords() {
	_, k := exampleStage(nil)
	defer stopExample()

	defs, err := k.Keywords(context.Background(), "stage")
	for _, d := range defs {
		fmt.Println(d.Name, d.Kind)
	}
	fmt.Println(err)
	// Output:
	// COUNT integer64
	// MODE enumerated
	// NOTE string
	// SPEED double
	// <nil>
}

func ExampleClient_Describe() {
	_, k := exampleStage(nil)
	defer stopExample()

	d, err := k.Describe(context.Background(), "stage", "SPEED")
	fmt.Println(d, d.Kind, d.Min, d.Max, d.Units, err)
	speed, err := keywords.Bind[float64](d)
	fmt.Println(speed, err)
	// Output:
	// stage.SPEED double 0 20 mm/s <nil>
	// stage.SPEED <nil>
}

// Clear removes what a service has left in Redis, once no dispatcher serves it.
func ExampleClient_Clear() {
	_, k := exampleStage(nil)
	defer stopExample()

	err := k.Clear(context.Background(), "stage")
	fmt.Println(errors.Is(err, keywords.ErrServed), err)
	// Output: true keywords: stage.main: a dispatcher of that name is running
}

// ModifyAsync does not wait for a modify that takes long. The Future reports its end.
func ExampleModifyAsync() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	move := keywords.ModifyAsync(ctx, k, Speed, 5)
	// … something else …
	rev, err := move.Wait(ctx)
	v, _ := keywords.Read(ctx, k, Speed)
	fmt.Println(v.V, v.Rev == rev, err)
	// Output: 5 true <nil>
}

// Modifies of one client are carried out in the order of the calls.
func ExampleModifyAsync_order() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	keywords.ModifyAsync(ctx, k, ModeOf, Track)
	keywords.ModifyAsync(ctx, k, Speed, 2)
	last := keywords.ModifyAsync(ctx, k, Speed, 3)
	_, err := last.Wait(ctx)
	v, _ := keywords.Read(ctx, k, Speed)
	fmt.Println(v.V, err)
	// Output: 3 <nil>
}

func ExampleFuture_Done() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	move := keywords.ModifyAsync(ctx, k, Speed, 25)
	<-move.Done() // as one case of a select
	_, err := move.Wait(ctx)
	fmt.Println(err)
	// Output: keywords: stage.SPEED: range: 25 is above 20
}

// A keyword keeps as many values as Spec.History says.
var Seeing = keywords.Define("stage", "SEEING", keywords.Spec[float64]{Units: "arcsec", History: 100})

func ExampleHistory() {
	_, k := exampleStage(func(d *keywords.Dispatcher) { keywords.Serve(d, Seeing, keywords.Hooks[float64]{}) })
	defer stopExample()
	ctx := context.Background()

	for _, v := range []float64{0.8, 1.1, 0.9} {
		_, _ = keywords.Modify(ctx, k, Seeing, v)
	}
	values, err := keywords.History(ctx, k, "stage", "SEEING", 2)
	for _, v := range values { // the newest first
		fmt.Println(v.V, !v.Time.IsZero())
	}
	fmt.Println(err)
	// Output:
	// 0.9 true
	// 1.1 true
	// <nil>
}

// An archiver records every value, and continues after the last that it has recorded.
func ExampleWatchOptions_every() {
	_, k := exampleStage(func(d *keywords.Dispatcher) { keywords.Serve(d, Seeing, keywords.Hooks[float64]{}) })
	defer stopExample()
	ctx := context.Background()
	for _, v := range []float64{0.8, 1.1, 0.9} {
		_, _ = keywords.Modify(ctx, k, Seeing, v)
	}

	last := keywords.Revision{N: 1} // the archive is empty: from the oldest value on
	for ev, err := range keywords.Watch(ctx, k, Seeing, keywords.WatchOptions{Every: true, From: last}) {
		if err != nil {
			log.Fatal(err)
		}
		switch ev.Kind {
		case keywords.EventChange:
			fmt.Println(ev.Value.V)
			last = ev.Value.Rev // recorded with the value
		case keywords.EventGap:
			fmt.Println("lost:", ev.Gap)
		}
		if ev.Value.V == 0.9 {
			break
		}
	}
	// Output:
	// 0.8
	// 1.1
	// 0.9
}

// Schedule makes the dispatcher refresh a keyword once, at a given time.
func ExampleSchedule() {
	d, k := exampleStage(func(d *keywords.Dispatcher) {
		keywords.Serve(d, Count, keywords.Hooks[int]{Read: func(context.Context) (int, error) { return 42, nil }})
	})
	defer stopExample()

	fmt.Println(keywords.Schedule(d, Count, time.Now().Add(10*time.Millisecond)))
	v, err := keywords.WaitFor(context.Background(), k, Count, func(n int) bool { return n > 0 })
	fmt.Println(v.V, err)
	// Output:
	// <nil>
	// 42 <nil>
}

// Without keyspace notifications everything works but the handling of external writes.
func ExampleDispatcher_Notifications() {
	pool := examplePool() // the embedded Redis has no CONFIG and sends no notifications
	defer stopExample()
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", ExternalWrites: keywords.ExternalRevert})
	if err != nil {
		log.Fatal(err)
	}
	serveAll(d)
	go func() { _ = d.Run(context.Background()) }()
	<-d.Ready()

	fmt.Println(errors.Is(d.Notifications(), keywords.ErrNotificationsUnavailable))
	k, _ := keywords.NewClient(pool, keywords.ClientConfig{})
	_, err = keywords.Modify(context.Background(), k, Speed, 3)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
