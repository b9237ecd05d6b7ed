package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// observer uses the keywords. It knows their definitions and nothing of the programs that
// serve them.
type observer struct {
	k *keywords.Client

	mu  sync.Mutex
	out io.Writer
}

// observeTime bounds all that the observer does. It ends early if the telescope has died.
const observeTime = time.Minute

// observe runs the observer.
func observe(ctx context.Context, pool *storage.Pool, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, observeTime)
	defer cancel()
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	if err != nil {
		return err
	}
	defer k.Close()
	o := &observer{k: k, out: out}
	if err := keywords.WaitForExpr(ctx, k, "$stage.STATUS == ready and $dome.STATUS == ready"); err != nil {
		return err
	}
	for _, service := range []string{"stage", "dome"} {
		if err := o.list(ctx, service); err != nil {
			return err
		}
	}
	return o.watching(ctx, func() error {
		for _, step := range []func(context.Context) error{o.prepare, o.point, o.stop, o.stopDome, o.mistakes, o.finish} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (o *observer) say(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.out, format+"\n", args...)
}

// list prints the keywords of a service, from their published definitions.
func (o *observer) list(ctx context.Context, service string) error {
	defs, err := o.k.Keywords(ctx, service)
	if err != nil {
		return err
	}
	for _, d := range defs {
		o.say("%-16s %-14s %s", d, d.Kind, d.Help)
	}
	return nil
}

// watching runs steps and, beside them, prints every change of both services.
func (o *observer) watching(ctx context.Context, steps func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	for _, service := range []string{"stage", "dome"} {
		defs, err := o.k.Keywords(ctx, service)
		if err != nil {
			return err
		}
		known := make(map[string]keywords.Definition)
		for _, d := range defs {
			known[d.Name] = d
		}
		watchers.Go(func() {
			// The stage publishes 40 positions a second; print 5 of them.
			for ev, err := range keywords.WatchText(ctx, o.k, service, "*", keywords.WatchOptions{MinInterval: period}) {
				if err != nil {
					return // ctx has ended
				}
				if ev.Kind != keywords.EventInitial && ev.Keyword != "CLK" {
					o.say("  %-7s %s", ev.Kind, shown(known[ev.Keyword], ev.Value))
				}
			}
		})
	}
	return steps()
}

// shown returns a value as people read it.
func shown(d keywords.Definition, v keywords.Value[string]) string {
	parsed, err := d.Parse(v.V)
	if err != nil {
		return err.Error()
	}
	s := strings.TrimSpace(fmt.Sprintf("%s = %s %s", d, d.Display(parsed), d.Units))
	if v.Severity != keywords.SeverityNone {
		s += fmt.Sprintf(" (%v)", v.Severity)
	}
	return s
}

// prepare sets several keywords and opens the shutter.
func (o *observer) prepare(ctx context.Context) error {
	o.say("prepare")
	// All of these are set in one step, or none.
	if _, err := keywords.ModifyMany(ctx, o.k, DomeNote.To("first light"), DomeCrew.To([]string{"Ada", "Edwin P."}), DomeLamps.To(Flat|Arc)); err != nil {
		return err
	}
	if _, err := keywords.ModifyMany(ctx, o.k, StageOffset.To([]float64{12.5, -3, 0}), StageCalib.To([]byte{0xca, 0x11, 0xb0})); err != nil {
		return err
	}
	if _, err := keywords.Modify(ctx, o.k, DomeShutter, Open); err != nil {
		return err
	}
	_, err := keywords.ModifyText(ctx, o.k, "dome", "LAMPS", "none") // as a tool would
	return err
}

// point moves the stage and the dome and waits for both.
func (o *observer) point(ctx context.Context) error {
	o.say("point")
	var moves sync.WaitGroup
	errs := make([]error, 2)
	moves.Go(func() { _, errs[0] = keywords.Modify(ctx, o.k, StageTarget, 60) })
	moves.Go(func() { _, errs[1] = keywords.Modify(ctx, o.k, DomeTarget, 40) }) // the shorter way leads through north
	defer moves.Wait()

	v, err := keywords.WaitFor(ctx, o.k, StagePosition, func(at float64) bool { return at > 30 })
	if err != nil {
		return err
	}
	o.say("the stage is past 30 mm: %.0f", v.V)
	err = keywords.WaitForExpr(ctx, o.k, "$stage.STATE == idle and $stage.POSITION == 60 and $dome.AZ == 40 and $dome.SHUTTER == open")
	if err != nil {
		return err
	}
	moves.Wait()
	o.say("on target")
	return errors.Join(errs...)
}

// stop ends a move before it is complete.
func (o *observer) stop(ctx context.Context) error {
	o.say("stop")
	move := keywords.ModifyAsync(ctx, o.k, StageTarget, 0)
	if _, err := keywords.WaitFor(ctx, o.k, StagePosition, func(at float64) bool { return at < 45 }); err != nil {
		return err
	}
	if _, err := keywords.Modify(ctx, o.k, StageStop, true); err != nil {
		return err
	}
	if _, err := move.Wait(ctx); !errors.Is(err, keywords.CodeRejected) {
		return fmt.Errorf("the move was not stopped: %v", err)
	} else {
		o.say("refused: %v", err)
	}
	target, err := keywords.Read(ctx, o.k, StageTarget)
	if err != nil {
		return err
	}
	_, err = keywords.Modify(ctx, o.k, StageTarget, target.V) // still 60, since the move to 0 was not complete
	return err
}

// stopDome watches how far the dome is and stops it half-way.
func (o *observer) stopDome(ctx context.Context) error {
	o.say("stop the dome")
	turning := keywords.ModifyAsync(ctx, o.k, DomeTarget, 130)
	for ev, err := range keywords.WatchMove(ctx, o.k, DomeTarget) {
		if err != nil {
			return err
		}
		if m := ev.Value.V; m.State == keywords.MoveRunning && m.Progress >= 0.5 {
			o.say("move %d to %s° is half done, %s", m.ID, m.Target, m.Text)
			break
		}
	}
	// The dispatcher of a dome that turns carries out other modifies.
	if _, err := keywords.Modify(ctx, o.k, DomeLamps, Work); err != nil {
		return err
	}
	if _, err := keywords.Modify(ctx, o.k, DomeStop, true); err != nil {
		return err
	}
	if _, err := turning.Wait(ctx); !errors.Is(err, keywords.CodeAborted) {
		return fmt.Errorf("the dome was not stopped: %v", err)
	} else {
		o.say("refused: %v", err)
	}
	move, err := keywords.ReadMove(ctx, o.k, DomeTarget)
	if err != nil {
		return err
	}
	o.say("move %d is %v, %.0f%% done", move.V.ID, move.V.State, 100*move.V.Progress)
	return nil
}

// mistakes makes requests that are refused at once, each with its code.
func (o *observer) mistakes(ctx context.Context) error {
	o.say("mistakes")
	if _, err := keywords.Modify(ctx, o.k, StageEnabled, false); err != nil {
		return err
	}
	read, err := keywords.Read(ctx, o.k, StageSpeed)
	if err != nil {
		return err
	}
	if _, err := keywords.Modify(ctx, o.k, StageSpeed, 250); err != nil { // raises an alarm, but is allowed
		return err
	}
	for _, mistake := range []struct {
		want keywords.Code
		make func() (keywords.Revision, error)
	}{
		{keywords.CodeRange, func() (keywords.Revision, error) { return keywords.Modify(ctx, o.k, StageTarget, 250) }},
		{keywords.CodeRejected, func() (keywords.Revision, error) { return keywords.Modify(ctx, o.k, StageTarget, 10) }},
		{keywords.CodeReadOnly, func() (keywords.Revision, error) { return keywords.Modify(ctx, o.k, StagePosition, 10) }},
		{keywords.CodeMalformed, func() (keywords.Revision, error) { return keywords.ModifyText(ctx, o.k, "dome", "TARGET", "north") }},
		{keywords.CodeEnumerator, func() (keywords.Revision, error) { return keywords.ModifyText(ctx, o.k, "dome", "SHUTTER", "ajar") }},
		{keywords.CodeRevision, func() (keywords.Revision, error) {
			return keywords.Modify(ctx, o.k, StageSpeed, 40, keywords.ModifyOptions{IfRevision: read.Rev})
		}},
	} {
		_, err := mistake.make()
		if !errors.Is(err, mistake.want) {
			return fmt.Errorf("wanted %v, got: %v", mistake.want, err)
		}
		o.say("refused: %v", err)
	}
	return nil
}

// finish reads the temperature and sets the keywords as they were.
func (o *observer) finish(ctx context.Context) error {
	o.say("finish")
	temp, err := keywords.Read(ctx, o.k, StageTemp, keywords.ReadOptions{Refresh: true})
	if err != nil {
		return err
	}
	o.say("the motor has %.1f °C (%v)", temp.V, temp.Severity)
	if _, err := keywords.ModifyMany(ctx, o.k, StageEnabled.To(true), StageSpeed.To(50)); err != nil {
		return err
	}
	if _, err := keywords.Modify(ctx, o.k, DomeShutter, Closed); err != nil {
		return err
	}
	all, err := keywords.ReadMany(ctx, o.k, "stage", "POSITION", "ENCODER", "MOVES")
	if err != nil {
		return err
	}
	o.say("at %s mm, encoder %s, moves %s", all["POSITION"].V, all["ENCODER"].V, all["MOVES"].V)
	return nil
}
