package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// A method with a limit has two overflow lists in Redis: one of the type, which
// its workers share, and one of each worker for the calls to it alone. A worker
// moves a call there when the limit and the room of the method are taken, and
// reads the list when there is room again. While a list may hold calls, further
// ones go through it, so that a worker begins them in order. Other workers find
// the list with their next heartbeat, which renews its time to live.

// overflowList is what a worker knows of one of these lists.
type overflowList struct {
	key string

	// Guarded by lane.mu:
	holds   bool      // it may hold calls
	moved   []*task   // to be written to it, oldest first
	moves   int       // calls that were to be written so far
	writing bool      // a goroutine writes
	full    time.Time // until when further calls are refused
}

// overflow moves a call, which has a slot until it is written, to its overflow
// list.
func (w *Worker) overflow(t *task) {
	l := t.method.lane
	o := l.listOf(t)
	l.mu.Lock()
	full := time.Now().Before(o.full)
	start := !full && !o.writing
	if !full {
		o.holds, o.writing = true, true
		o.moved = append(o.moved, t)
		o.moves++
	}
	if start {
		w.overflowing.Add(1)
	}
	l.mu.Unlock()
	switch {
	case full:
		w.answer(t, Body{}, &refusal{CodeQueueFull, fmt.Sprintf("more than %d calls wait, HandleOptions.MaxOverflow", t.method.maxOverflow)})
	case start:
		go w.writeOverflow(l, o)
	}
}

// writeOverflow writes the calls that are to be moved until there are none.
func (w *Worker) writeOverflow(l *lane, o *overflowList) {
	defer w.overflowing.Done()
	for {
		l.mu.Lock()
		batch := o.moved
		o.moved = nil
		o.writing = len(batch) > 0
		l.mu.Unlock()
		if len(batch) == 0 {
			w.refill(l)
			return
		}
		w.writeMoved(l, o, batch)
	}
}

func (w *Worker) writeMoved(l *lane, o *overflowList, batch []*task) {
	w.announceReturned(batch, true, stopTimeout)
	var written sync.WaitGroup
	lengths, errs := make([]int64, len(batch)), make([]error, len(batch))
	for i, t := range batch {
		written.Add(1)
		redisio.Of(w.pool).Writer().PushExpiring(w.life, o.key, []byte(t.frame), queueTTL, func(length int64, err error) {
			lengths[i], errs[i] = length, err
			written.Done()
		})
	}
	written.Wait()
	if lengths[len(batch)-1] > int64(batch[0].method.maxOverflow) {
		l.mu.Lock()
		o.full = time.Now().Add(fullTime)
		l.mu.Unlock()
	}
	for i, t := range batch {
		if errs[i] != nil && !errors.Is(errs[i], storage.ErrIndeterminate) {
			w.answer(t, Body{}, &refusal{CodeFailed, "not moved to the overflow list of its method: " + errs[i].Error()})
			continue
		}
		w.stats.overflowed.Add(1)
		w.finish(t)
	}
}

// refill reads the overflow lists of a lane, in a goroutine, if they may hold
// calls and half of its room is free.
func (w *Worker) refill(l *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refilling || l.closing || l.wantedLocked() == 0 || !l.own.holds && !l.shared.holds {
		return
	}
	l.refilling = true
	w.overflowing.Add(1)
	go func() {
		defer w.overflowing.Done()
		for w.refillOnce(l) {
		}
	}()
}

// overflows reports whether the overflow list of the type may hold calls.
func (l *lane) overflows() bool {
	if l.room == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shared.holds
}

// wantedLocked returns how many calls are to be read from the overflow lists: 0
// if less than half of the room is free.
func (l *lane) wantedLocked() int {
	free := l.room - len(l.waiting)
	if l.running >= l.limit && 2*free < l.room {
		return 0
	}
	return max(free, 1)
}

// refillOnce reads each list once, and reports whether it is to be called again.
func (w *Worker) refillOnce(l *lane) (again bool) {
	got := 0
	for _, o := range []*overflowList{l.own, l.shared} {
		l.mu.Lock()
		n, holds, moves, writing := l.wantedLocked(), o.holds, o.moves, o.writing
		l.mu.Unlock()
		if n == 0 || !holds {
			continue
		}
		frames, err := w.popOverflow(o.key, w.slots.fit(n))
		if err != nil {
			w.throttle.Warn(w.link.log, "bus: calls not read from the overflow list of their method, trying again with the next heartbeat", "key", o.key, "error", err)
			continue
		}
		l.mu.Lock()
		if len(frames) == 0 && !writing && o.moves == moves {
			o.holds = false
		}
		l.mu.Unlock()
		for _, frame := range frames {
			w.handleRefilled(frame, o == l.own)
		}
		got += len(frames)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	again = got > 0 && !l.closing && l.wantedLocked() > 0
	l.refilling = again
	return again
}

// popOverflow takes up to n calls from the head of a list.
func (w *Worker) popOverflow(key string, n int) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	cmd := redisio.Once(ctx, "lpop", key, n)
	_ = w.overflows.Process(ctx, cmd)
	frames, err := cmd.StringSlice()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return frames, redisio.Normalize(ctx, err)
}

// handleRefilled takes a call from an overflow list. It gets a slot when it runs.
func (w *Worker) handleRefilled(frame string, direct bool) {
	t := &task{frame: frame, direct: direct, order: w.arrived.Add(1), refilled: true}
	if !w.accept(t, time.Now()) {
		return
	}
	if t.method.lane.enter(t) == placeRun {
		t.slot = true
		w.slots.take()
		go w.serve(t)
	}
}

// nextCall returns the call that a goroutine, which has run one of the lane, is
// to run now, or nil.
func (w *Worker) nextCall(l *lane) *task {
	t := l.next()
	if l.room > 0 {
		if t != nil {
			w.slots.take()
		}
		w.refill(l)
	}
	return t
}

// overflowKeys returns the keys of all overflow lists of the worker's methods.
func (w *Worker) overflowKeys() (all []string) {
	for _, l := range w.limited {
		all = append(all, l.shared.key, l.own.key)
	}
	return all
}

// foundOverflow learns from a heartbeat that overflow lists exist.
func (w *Worker) foundOverflow(exists func(key string) bool) {
	for _, l := range w.limited {
		l.mu.Lock()
		l.shared.holds = l.shared.holds || exists(l.shared.key)
		l.own.holds = l.own.holds || exists(l.own.key)
		l.mu.Unlock()
		w.refill(l)
	}
}

// closeOverflow ends what moves calls to and from overflow lists.
func (w *Worker) closeOverflow() {
	for _, l := range w.limited {
		l.mu.Lock()
		l.closing = true
		l.mu.Unlock()
	}
	redisio.WaitFor(&w.overflowing, stopTimeout)
}
