package keywords

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// mover runs the Move hooks of a dispatcher, each on a goroutine of its own. Of each
// keyword at most one runs; with Hooks.Supersede another may wait for its end.
type mover struct {
	max  int
	life context.Context // ends when the dispatcher waits for moves no longer
	end  context.CancelCauseFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	n      int // moves that run or wait
	newest map[*served]*move
}

// move is a modify that a Move hook carries out.
type move struct {
	target staged          // the value to commit at the end, and the writer that waits
	to     string          // the target's text
	ctx    context.Context // of the hook
	cancel context.CancelCauseFunc
	detach func() // from the lease
	after  *move  // must have ended before this begins; nil: none
	done   chan struct{}
	begun  bool // by mover.mu

	mu    sync.Mutex
	state Move // as it was staged last
}

func newMover(limit int) *mover {
	v := &mover{max: limit, newest: make(map[*served]*move)}
	v.life, v.end = context.WithCancelCause(context.Background())
	return v
}

// admit returns an error if a move of the keyword can't begin now.
func (v *mover) admit(s *served) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	busy := func(format string, args ...any) error {
		return &Error{Code: CodeBusy, Service: s.def.Service, Keyword: s.def.Name, Text: fmt.Sprintf(format, args...)}
	}
	switch m := v.newest[s]; {
	case m != nil && !s.hooks.Supersede:
		return busy("it moves to %.40s", m.to)
	case v.n >= v.max:
		return busy("DispatcherConfig.MaxMoves allows %d at a time", v.max)
	}
	return nil
}

// moves reports whether the keyword moves.
func (v *mover) moves(s *served) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.newest[s] != nil
}

// enter notes a move, which supersedes the keyword's newest one.
func (v *mover) enter(m *move) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := m.target.served
	if old := v.newest[s]; old != nil {
		if m.after = old; !old.begun {
			m.after = old.after
		}
		old.cancel(aborted(s, "superseded by a modify to "+m.to))
	}
	v.newest[s] = m
	v.n++
	v.all.Add(1)
}

// begin reports whether a move begins, rather than having been aborted before.
func (v *mover) begin(m *move) bool {
	if m.after != nil {
		select {
		case <-m.after.done:
		case <-m.ctx.Done():
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	m.begun = m.ctx.Err() == nil
	return m.begun
}

// leave forgets a move that has ended, before its writer is answered: the writer may
// begin the next one at once.
func (v *mover) leave(m *move) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaveLocked(m)
}

func (v *mover) leaveLocked(m *move) {
	if s := m.target.served; v.newest[s] == m {
		delete(v.newest, s)
		if m.after != nil && !closed(m.after.done) { // it heeds its abort slowly
			v.newest[s] = m.after
		}
	}
	v.n--
	m.after = nil
	m.detach()
	m.cancel(nil)
	close(m.done)
}

// abort aborts the moves of a keyword and waits for their end.
func (v *mover) abort(ctx context.Context, s *served, reason string) error {
	v.mu.Lock()
	m := v.newest[s]
	var ends []<-chan struct{}
	if m != nil {
		m.cancel(aborted(s, reason))
		ends = append(ends, m.done)
		if m.after != nil {
			ends = append(ends, m.after.done)
		}
	}
	v.mu.Unlock()
	for _, end := range ends {
		select {
		case <-end:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stop ends all moves, because the dispatcher ends, and waits for those that heed it.
func (v *mover) stop() {
	v.end(errStopping)
	redisio.WaitFor(&v.all, stopTimeout)
}

var errStopping = errors.New("the dispatcher ends")

// aborted is the error of a move that was aborted.
func aborted(s *served, reason string) *Error {
	return &Error{Code: CodeAborted, Service: s.def.Service, Keyword: s.def.Name, Text: moveText(reason)}
}

// beginMove begins the move to a value that was checked. The caller holds the turn.
// The move does not end with ctx: its writer may go away.
func (d *Dispatcher) beginMove(ctx context.Context, target staged) error {
	m := &move{target: target, to: target.rec.text, done: make(chan struct{})}
	ctx, m.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	attached, detach, err := d.lease.attach(ctx)
	if err != nil {
		m.cancel(nil)
		return err
	}
	stop := context.AfterFunc(d.moves.life, func() { m.cancel(aborted(target.served, context.Cause(d.moves.life).Error())) })
	m.ctx, m.detach = attached, func() { stop(); detach() }
	d.moves.enter(m)
	go d.runMove(m)
	return nil
}

// runMove carries a move out and answers its writer.
func (d *Dispatcher) runMove(m *move) {
	defer d.moves.all.Done()
	s := m.target.served
	if err := d.carryOut(m); err != nil {
		d.moves.leave(m)
		d.stats.refused.Add(1)
		m.target.pending.Answer(storage.Text, nil, wireError(err))
		return
	}
	if s.hooks.Postwrite == nil || <-m.target.done != nil {
		return
	}
	ctx, cancel := context.WithTimeout(d.moves.life, d.cfg.Drain)
	defer cancel()
	err := d.withTurn(ctx, func() error { d.postwrite(ctx, &m.target); return nil })
	if err != nil {
		d.log.Warn("keywords: Postwrite not called", "keyword", s.def.Name, "error", err)
	}
}

// carryOut runs the hook of a move and commits what has become of it. If it returns nil,
// the committer answers the writer, and the move is forgotten.
func (d *Dispatcher) carryOut(m *move) error {
	if !d.moves.begin(m) {
		return d.whyEnded(m, nil)
	}
	if err := d.announce(m); err != nil {
		if m.ctx.Err() != nil {
			err = d.whyEnded(m, nil)
		}
		return d.endMove(m, MoveAborted, err)
	}
	m.target.acted = true
	err := d.runMoveHook(m)
	valid, _ := d.lease.valid()
	switch {
	case err == nil:
		if err = d.arrive(m); err != nil {
			return d.endMove(m, MoveFailed, err)
		}
		return nil
	case m.ctx.Err() != nil || valid == nil:
		return d.endMove(m, MoveAborted, d.whyEnded(m, err))
	}
	return d.endMove(m, MoveFailed, d.rejected(m.target.served, err))
}

// announce commits that a move begins, before it does: a dispatcher that was replaced
// begins none, and the successor of one that dies finds the move and ends it.
func (d *Dispatcher) announce(m *move) error {
	s := m.target.served
	_, last := d.commits.newest(s.moves)
	before, err := parseMove(last.([]string))
	if err != nil {
		return err
	}
	m.state = Move{ID: before.ID + 1, State: MoveRunning}
	if !s.def.WriteOnly {
		m.state.Target = m.to
	}
	return d.stageAndWait(m.ctx, d.moveRecord(m))
}

// runMoveHook calls the hook of a move.
func (d *Dispatcher) runMoveHook(m *move) (err error) {
	returned := make(chan struct{})
	go func() { // a goroutine of its own, since the hook may call runtime.Goexit
		defer close(returned)
		err = errors.New("the Move hook has ended its goroutine")
		err = d.recoverPanic(func() error {
			return m.target.served.hooks.Move(m.ctx, &Moving[any]{
				Target: m.target.canonical, ID: m.state.ID,
				progress: func(fraction float64, text string) error { return d.progress(m, fraction, text) },
			})
		})
	}()
	<-returned
	return err
}

// whyEnded returns the error for the writer of a move whose ctx has ended. Err is that
// of the hook.
func (d *Dispatcher) whyEnded(m *move, err error) error {
	cause := context.Cause(m.ctx)
	var abort *Error
	switch {
	case errors.As(cause, &abort) && abort.Code == CodeAborted:
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
			return aborted(m.target.served, abort.Text+"; "+err.Error())
		}
		return abort
	case m.target.acted:
		return redisio.Wrap(fmt.Sprintf("keywords: %s: the lease ended while its Move hook ran", m.target.served.def), ErrIndeterminate)
	}
	return errLapsed
}

// progress commits how far a move is.
func (d *Dispatcher) progress(m *move, fraction float64, text string) error {
	if !(fraction >= 0 && fraction <= 1) {
		return fmt.Errorf("keywords: Moving.Progress: fraction %v: want 0 to 1", fraction)
	}
	m.mu.Lock()
	if m.state.State != MoveRunning {
		m.mu.Unlock()
		return errors.New("keywords: Moving.Progress: the move has ended")
	}
	m.state.Progress, m.state.Text = fraction, moveText(text)
	st := d.moveRecord(m)
	st.done = make(chan error, 1)
	err := d.commits.stage(st)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return d.awaitCommit(m.ctx, st)
}

// arrive stages the target, with the end of the move, and forgets the move.
func (d *Dispatcher) arrive(m *move) error {
	d.moves.mu.Lock() // no modify finds the target committed and the move going on
	defer d.moves.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.State, m.state.Progress = MoveDone, 1
	s, was := m.target.served, m.target
	now, value := d.commits.newest(s)
	target := d.newValue(s, was.canonical, now, value, was.rec.source)
	target.only, target.acted, target.pending, target.done = was.only, true, was.pending, make(chan error, 1)
	m.target = target
	err := d.commits.enter([]staged{d.moveRecord(m), target})
	switch {
	case err == nil:
		d.moves.leaveLocked(m)
	case !errors.Is(err, CodeRevision):
		return ErrIndeterminate
	}
	return err
}

// endMove commits that a move has ended short of its target, and returns why.
func (d *Dispatcher) endMove(m *move, state MoveState, why error) error {
	text := why.Error()
	var refused *Error
	switch {
	case errors.As(why, &refused):
		text = refused.Text
	case errors.Is(why, ErrIndeterminate), errors.Is(why, errLapsed):
		text = "the lease of the dispatcher has ended"
	}
	m.mu.Lock()
	m.state.State, m.state.Text = state, moveText(text)
	st := d.moveRecord(m)
	m.mu.Unlock()
	st.done = make(chan error, 1)
	if d.commits.enter([]staged{st}) == nil {
		<-st.done // the writer then finds the move ended
	}
	return why
}

// moveRecord returns the state of a move as the value to stage.
func (d *Dispatcher) moveRecord(m *move) staged {
	return d.newValue(m.target.served.moves, m.state.elements(), record{}, nil, m.target.rec.source)
}

// interrupted returns the value that ends a move in which an earlier dispatcher has
// died, if elements shows one.
func interrupted(elements any) (ended any, ok bool) {
	m, err := parseMove(elements.([]string))
	if err != nil || m.State != MoveRunning {
		return nil, false
	}
	m.State, m.Text = MoveAborted, "the dispatcher died"
	return m.elements(), true
}

// inPosition reports whether the hardware is known to have the keyword's value: it does
// not move, and its newest move has arrived.
func (d *Dispatcher) inPosition(s *served) bool {
	if s.hooks.Move == nil {
		return true
	}
	_, elements := d.commits.newest(s.moves)
	last, err := parseMove(elements.([]string))
	return err == nil && !d.moves.moves(s) && (last.State == MoveNone || last.State == MoveDone)
}
