package bus

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLeaseLapsed is why a worker is not healthy, and the cause of the context of a handler
// that has ended with the worker's lease (see [context.Cause]): Redis could not be
// reached to renew it. Callers take the worker to be lost, and may have made an
// idempotent call at another worker.
var ErrLeaseLapsed = errors.New("bus: the worker's lease has lapsed")

// tenure knows by the local clock whether a worker's lease stands. Its end is not later
// than Redis takes it to be, since it is counted from before the renewal was sent.
type tenure struct {
	changed func(lapsed bool)

	turn sync.Mutex // changed is called in order
	mu   sync.Mutex
	end  time.Time // zero: not held yet

	timer   *time.Timer
	lapsed  bool
	stopped bool
}

// extend notes that the lease stands until end.
func (t *tenure) extend(end time.Time) {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	left := time.Until(end)
	if t.stopped || left <= 0 {
		t.mu.Unlock()
		return
	}
	t.end = end
	if t.timer == nil {
		t.timer = time.AfterFunc(left, t.expire)
	} else {
		t.timer.Reset(left)
	}
	again := t.lapsed
	t.lapsed = false
	t.mu.Unlock()
	if again {
		t.changed(false)
	}
}

// expire ends the lease, unless it was extended just now.
func (t *tenure) expire() {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	if t.stopped || t.lapsed || time.Until(t.end) > 0 {
		t.mu.Unlock()
		return
	}
	t.lapsed = true
	t.mu.Unlock()
	t.changed(true)
}

// hasLapsed reports whether the lease was held and has ended.
func (t *tenure) hasLapsed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lapsed
}

// stop ends the timer.
func (t *tenure) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// changeLease is called when the lease has lapsed, and when it is held again. The handlers
// of calls that may be made at another worker are told: two of them are not to run for
// longer than they must. Nobody else runs the other calls, and their callers wait.
func (w *Worker) changeLease(lapsed bool) {
	var err error
	if lapsed {
		err = w.lapseError()
		w.stats.lapses.Add(1)
		w.link.log.Warn("bus: the worker's lease has lapsed; handlers of idempotent calls are cancelled", "error", err)
		for _, t := range w.roster.repeatable() {
			t.ctx.lapse()
		}
	} else {
		w.link.log.Info("bus: the worker's lease is held again")
	}
	if w.cfg.OnLease != nil {
		w.cfg.OnLease(err)
	}
}

// lapseError returns ErrLeaseLapsed with its reason.
func (w *Worker) lapseError() error {
	if reason := w.link.reason(); reason != nil {
		return fmt.Errorf("%w: %w", ErrLeaseLapsed, reason)
	}
	return ErrLeaseLapsed
}

// repeatable returns the calls that may be made at another worker.
func (r *roster) repeatable() (tasks []*task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := r.oldest; t != nil; t = t.next {
		if t.elsewhere {
			tasks = append(tasks, t)
		}
	}
	for _, t := range r.known {
		if t.elsewhere {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// Healthy returns nil while callers know the worker, and otherwise why they do not: it is
// not ready, it stops or has stopped, or its lease has lapsed ([ErrLeaseLapsed]). It sends
// no command to Redis, and suits a /healthz.
func (w *Worker) Healthy() error {
	switch {
	case w.stopping.Load():
		return fmt.Errorf("bus: worker %s stops or has stopped", w.ID())
	case !closed(w.ready):
		err := fmt.Errorf("bus: worker %s is not ready", w.ID())
		if reason := w.link.reason(); reason != nil {
			err = fmt.Errorf("%w: %w", err, reason)
		}
		return err
	case w.tenure.hasLapsed():
		return w.lapseError()
	}
	return nil
}
