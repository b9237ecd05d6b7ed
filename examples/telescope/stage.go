package main

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// stage is a linear stage. Its hooks run one after another, so that it needs no lock: all
// modifies wait for a move. The brake therefore has a dispatcher of its own. The dome, which
// has a Move hook, needs none.
type stage struct {
	d       *keywords.Dispatcher
	motor   axis
	enabled bool
	moves   int32
	way     float64                                 // distance travelled in all, in mm
	halt    atomic.Pointer[context.CancelCauseFunc] // ends the move; nil: the stage does not move
}

var errStopped = errors.New("stopped")

// newStage returns the dispatchers of the stage.
func newStage(pool *storage.Pool) ([]*keywords.Dispatcher, error) {
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{
		Service: "stage", Status: "STATUS", Heartbeat: "CLK",
		Drain: time.Millisecond, // a move ends when the program does
	})
	if err != nil {
		return nil, err
	}
	s := &stage{d: d, motor: axis{speed: 50}, enabled: true}
	keywords.Serve(d, StageTarget, keywords.Hooks[float64]{Check: s.mayMove, Write: s.move})
	keywords.Serve(d, StagePosition, keywords.Hooks[float64]{})
	keywords.Serve(d, StageEncoder, keywords.Hooks[[]int64]{})
	keywords.Serve(d, StageState, keywords.Hooks[State]{})
	keywords.Serve(d, StageMoves, keywords.Hooks[int32]{})
	keywords.Serve(d, StageSpeed, keywords.Hooks[float64]{Write: func(_ context.Context, v float64) error {
		s.motor.speed = v
		return nil
	}})
	keywords.Serve(d, StageEnabled, keywords.Hooks[bool]{Write: func(_ context.Context, on bool) error {
		s.enabled = on
		return nil
	}})
	keywords.Serve(d, StageTemp, keywords.Hooks[float32]{Read: s.temperature, Period: period})
	keywords.Serve(d, StageOffset, keywords.Hooks[[]float64]{}) // no hooks: the value is what was set last
	keywords.Serve(d, StageCalib, keywords.Hooks[[]byte]{})

	brake, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Name: "brake"})
	if err != nil {
		return nil, err
	}
	keywords.Serve(brake, StageStop, keywords.Hooks[bool]{
		Write: s.stop,
		Postwrite: func(ctx context.Context, _ bool) error { // ready for the next stop
			return keywords.Set(ctx, brake, StageStop, false)
		},
	})
	return []*keywords.Dispatcher{d, brake}, nil
}

// stop is the Write hook of STOP.
func (s *stage) stop(_ context.Context, on bool) error {
	if halt := s.halt.Load(); on && halt != nil {
		(*halt)(errStopped)
	}
	return nil
}

// mayMove is the Check hook of TARGET. The writer gets its error.
func (s *stage) mayMove(context.Context, float64) error {
	if !s.enabled {
		return errors.New("the motor is off")
	}
	return nil
}

// move is the Write hook of TARGET. It returns when the move has ended.
func (s *stage) move(ctx context.Context, to float64) error {
	if err := keywords.Set(ctx, s.d, StageState, Moving); err != nil {
		return err
	}
	moving, halt := context.WithCancelCause(ctx)
	defer halt(nil)
	s.halt.Store(&halt)
	defer s.halt.Store(nil)
	from := s.motor.at
	err := s.motor.move(moving, to, func(at float64) error { return s.report(ctx, at) })
	s.way += math.Abs(s.motor.at - from)
	s.moves++
	return errors.Join(err,
		keywords.Set(ctx, s.d, StageMoves, s.moves),
		keywords.Set(ctx, s.d, StageState, Idle))
}

// report sets the keywords that depend on the position.
func (s *stage) report(ctx context.Context, at float64) error {
	const perTurn, steps = 2, 4096 // mm per turn of the screw, and steps per turn
	n := int64(math.Round(at / perTurn * steps))
	return errors.Join(
		keywords.Set(ctx, s.d, StagePosition, at),
		keywords.Set(ctx, s.d, StageEncoder, []int64{n / steps, n % steps}))
}

// temperature is the Read hook of TEMP.
func (s *stage) temperature(context.Context) (float32, error) {
	return float32(10 + s.way/travelled), nil
}
