package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/keywords"
)

// A dome turns for minutes. Its Move hook follows it, and the Write hook of STOP ends
// that. Other keywords are read and modified meanwhile.
func ExampleMoving() {
	target := keywords.Define("stage", "TARGET", keywords.Spec[float64]{Units: "°", Initial: new(0.0)})
	stop := keywords.Define("stage", "STOP", keywords.Spec[bool]{})

	_, k := exampleStage(func(d *keywords.Dispatcher) {
		keywords.Serve(d, target, keywords.Hooks[float64]{
			Move: func(ctx context.Context, m *keywords.Moving[float64]) error {
				for at := 0.0; at < m.Target; at++ {
					select {
					case <-time.After(time.Millisecond): // the motor turns the dome by 1°
					case <-ctx.Done():
						return context.Cause(ctx) // the motor is stopped
					}
					_ = m.Progress(at/m.Target, fmt.Sprintf("at %v°", at))
				}
				return nil
			},
		})
		keywords.Serve(d, stop, keywords.Hooks[bool]{Write: func(ctx context.Context, _ bool) error {
			return keywords.Abort(ctx, d, target, "stopped by STOP")
		}})
	})
	defer stopExample()
	ctx := context.Background()

	_, err := keywords.Modify(ctx, k, target, 3) // returns on arrival
	fmt.Println(err)

	turning := keywords.ModifyAsync(ctx, k, target, 1_000_000)
	_ = keywords.WaitForExpr(ctx, k, "$stage.TARGET_MOVE[1] == running")
	_, _ = keywords.Modify(ctx, k, stop, true) // returns when the dome rests
	_, err = turning.Wait(ctx)
	fmt.Println(errors.Is(err, keywords.CodeAborted), err)

	m, _ := keywords.ReadMove(ctx, k, target)
	fmt.Println("move", m.V.ID, "to", m.V.Target, m.V.State)
	v, _ := keywords.Read(ctx, k, target)
	fmt.Println("the last target that was reached:", v.V)
	// Output:
	// <nil>
	// true keywords: stage.TARGET: aborted: stopped by STOP
	// move 2 to 1e+06 aborted
	// the last target that was reached: 3
}

// A watcher sees each move and how far it is, also one that joins during a move.
func ExampleWatchMove() {
	target := keywords.Define("stage", "TARGET", keywords.Spec[float64]{})
	_, k := exampleStage(func(d *keywords.Dispatcher) {
		keywords.Serve(d, target, keywords.Hooks[float64]{
			Move: func(ctx context.Context, m *keywords.Moving[float64]) error {
				return m.Progress(0.5, "half-way")
			},
		})
	})
	defer stopExample()
	ctx := context.Background()

	for ev, err := range keywords.WatchMove(ctx, k, target) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch m := ev.Value.V; m.State {
		case keywords.MoveNone:
			_ = keywords.ModifyAsync(ctx, k, target, 40)
		case keywords.MoveRunning: // how many of these are seen depends on the watcher's speed
		default:
			fmt.Println("move", m.ID, "to", m.Target, m.State)
			return
		}
	}
	// Output: move 1 to 40 done
}
