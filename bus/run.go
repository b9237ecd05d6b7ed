package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

const (
	stopTimeout = 2 * time.Second // for each command of a stopping worker
	cancelGrace = 5 * time.Second // that handlers have after their contexts were cancelled
)

// Run serves until ctx ends, the pool is closed or [Stop] is called, then stops as
// the package documentation says, and returns nil. While Redis is unreachable it
// keeps trying. It returns an error at once if OnStart fails or Redis refuses the
// user's password or rights, and at the end if handlers still run after their
// contexts were cancelled. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if !w.begun.CompareAndSwap(false, true) {
		return fmt.Errorf("bus: worker %s was run before", w.ID())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	disown, err := redisio.Of(w.pool).Own(func() error { cancel(); <-ended; return nil })
	if err != nil {
		return redisio.Wrap("bus: worker "+w.ID(), err)
	}
	defer disown()
	defer w.leave()
	defer w.roster.end()
	defer w.tenure.stop()
	defer w.stopping.Store(true)
	if w.cfg.OnStart != nil {
		if err := w.cfg.OnStart(ctx); err != nil {
			return redisio.Wrap(fmt.Sprintf("bus: worker %s: OnStart", w.ID()), err)
		}
	}
	defer w.keepLog()()

	plain := redisio.Of(w.pool).Dedicated()
	defer plain.Close()
	if len(w.limited) > 0 {
		w.overflows = redisio.Of(w.pool).Dedicated()
		defer w.overflows.Close()
	}
	lease := w.newLease(plain)
	err = lease.enter(ctx, func(ctx context.Context) error { return w.rehearse(ctx, plain) })
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return w.denied(err)
	}
	close(w.ready)
	stopRenewing := startTask(func(stop chan struct{}) { lease.keep(stop, w.beat, lease.renew) })
	stopControl := w.startReader(w.readControl)
	stopCalls := w.startReader(w.readCalls)
	stopTicks := startTask(w.tick)
	w.startSources()

	var denied error
	select {
	case <-ctx.Done():
	case <-w.halted:
	case denied = <-w.refused:
	}
	w.stopping.Store(true)
	drainEnd := time.Now().Add(w.cfg.Drain)
	stopRenewing()
	_ = w.withStopTimeout(lease.leave)
	stopLingering := startTask(func(stop chan struct{}) { lease.keep(stop, w.beat, lease.linger) })
	stopTicks()
	stopCalls(func() { w.wake(plain, w.keys.ownQueue(w.info.ID)) })
	w.closeOverflow()
	w.haltSources()
	w.giveBack(plain, time.Now().Add(max(time.Until(drainEnd), stopTimeout)))
	err = cmp.Or(denied, w.drain(time.Until(drainEnd)))
	w.endSources()
	w.runOnStop()
	stopControl(func() { w.wake(plain, w.keys.control(w.info.ID)) })
	redisio.WaitFor(&w.heldControl, stopTimeout)
	stopLingering()
	_ = w.withStopTimeout(lease.end)
	return err
}

func (w *Worker) newLease(client redis.UniversalClient) *lease {
	return &lease{
		client: client, clock: w.clock, keys: w.keys, types: w.types, info: &w.info, term: w.cfg.Lease,
		hidden: w.hidden, link: &w.link, tenure: &w.tenure, lists: w.overflowKeys(), found: w.foundOverflow,
		pause: func(paused bool) { w.setPause(client, paused) },
	}
}

func (w *Worker) runOnStop() {
	if w.cfg.OnStop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(w.cfg.Drain, cancelGrace))
	defer cancel()
	w.cfg.OnStop(ctx)
}

// startTask runs task in a goroutine. The function that it returns closes stop and
// waits until task has returned.
func startTask(task func(stop chan struct{})) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		task(stop)
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// startReader runs read in a goroutine, on a connection of its own. The function
// that it returns closes stop, calls wake, which must end the command that read
// waits for, and waits until read has returned: at the latest when the command
// times out.
func (w *Worker) startReader(read func(redis.UniversalClient, <-chan struct{})) (end func(wake func())) {
	client := redisio.Of(w.pool).Dedicated()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer client.Close()
		read(client, stop)
	}()
	return func(wake func()) {
		close(stop)
		wake()
		<-ended
	}
}

// tick runs OnTick until stop is closed. OnTick goes through a lane, which in a
// Serial worker is that of the handlers.
func (w *Worker) tick(stop chan struct{}) {
	if w.cfg.OnTick == nil {
		return
	}
	m := &method{name: "tick", stats: newMethodStats(), lane: w.serial}
	if m.lane == nil {
		m.lane = &lane{limit: 1}
	}
	over := make(chan struct{}, 1)
	m.call = func(ctx context.Context, _ *task) (Body, error) {
		defer signal(over)
		w.cfg.OnTick(ctx)
		return Body{}, nil
	}
	next := time.NewTicker(w.cfg.TickInterval)
	defer next.Stop()
	for {
		select {
		case <-stop:
			return
		case <-next.C:
		}
		t := &task{method: m}
		t.ctx.parent = w.work
		w.held.Add(1)
		if m.lane.enter(t) == placeRun {
			go w.serve(t)
		}
		select {
		case <-stop:
			return
		case <-over:
		}
	}
}

// wake ends a command that waits for elements of a list of this worker, by an empty
// element.
func (w *Worker) wake(plain redis.UniversalClient, list string) {
	_ = w.withStopTimeout(func(ctx context.Context) error {
		_, err := plain.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.RPush(ctx, list, "")
			tx.PExpire(ctx, list, queueTTL)
			return nil
		})
		return err
	})
}

// giveBack returns the calls that have not begun to the head of the group's queue,
// in order, and answers those that were sent to this worker alone. While Redis takes no
// writes it tries until end.
func (w *Worker) giveBack(plain redis.UniversalClient, end time.Time) {
	var own, group []*task
	for _, t := range w.haltLanes() {
		switch {
		case t.foreign != nil:
			w.answer(t, Body{}, errReturned)
		case t.frame == "": // a tick
			w.finish(t)
		case t.direct:
			own = append(own, t)
		default:
			group = append(group, t)
		}
	}
	if len(group) > 0 {
		w.announceReturned(group, false, time.Until(end))
		heads := map[string][]any{} // by list, last first: LPUSH puts one before the other
		for _, t := range slices.Backward(group) {
			list := w.keys.queue()
			if t.method.lane.overflows() {
				list = t.method.lane.shared.key // later calls of its method are there
			}
			heads[list] = append(heads[list], t.frame)
		}
		err := w.pushBack(plain, heads)
		for try := 0; err != nil && redisio.FateOf(err) == redisio.Unsent && time.Now().Before(end); try++ {
			time.Sleep(redisio.Backoff(try))
			err = w.pushBack(plain, heads)
		}
		if err != nil {
			w.link.log.Error("bus: calls lost: not returned to their queue by the stopping worker", "calls", len(group), "error", err)
		}
		for _, t := range group {
			w.finish(t)
		}
	}
	stopped := func(t *task) {
		w.answer(t, Body{}, &refusal{CodeStopped, "the worker stopped before the call was begun"})
	}
	for _, t := range own {
		stopped(t)
	}
	lists := []string{w.keys.ownQueue(w.info.ID)}
	for _, l := range w.limited {
		lists = append(lists, l.own.key)
	}
	for _, list := range lists {
		_ = w.withStopTimeout(func(ctx context.Context) error {
			for {
				pop := redisio.Once(ctx, "lpop", list, returnCount)
				_ = plain.Process(ctx, pop)
				frames, err := pop.StringSlice()
				if err != nil {
					return err
				}
				for _, frame := range frames {
					t := &task{frame: frame}
					if t.unpack(t.frame) == nil {
						w.held.Add(1)
						stopped(t)
					}
				}
			}
		})
	}
}

// returnCount is how many calls to a stopping worker alone are read at a time.
const returnCount = 64

// pushBack puts frames before those of their lists, by one transaction.
func (w *Worker) pushBack(plain redis.UniversalClient, heads map[string][]any) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	// A connection that has broken is found by a command that does no harm: of a write to
	// it, it would be unknown whether Redis has it.
	if err := plain.PExpire(ctx, w.keys.queue(), queueTTL).Err(); err != nil {
		return redisio.MarkUnsent(err)
	}
	return transact(ctx, plain, func(tx redis.Pipeliner) error {
		for list, frames := range heads {
			_ = tx.Process(ctx, redisio.Once(ctx, append([]any{"lpush", list}, frames...)...))
			tx.PExpire(ctx, list, queueTTL)
		}
		return nil
	})
}

// haltLanes keeps waiting calls from beginning, and returns them in order of
// arrival.
func (w *Worker) haltLanes() []*task {
	lanes := map[*lane]bool{}
	for _, m := range w.methods {
		lanes[m.lane] = !m.builtin // the control list is still answered
	}
	if w.other != nil {
		lanes[w.other.lane] = true
	}
	var left []*task
	for lane, halts := range lanes {
		if halts {
			left = append(left, lane.halt()...)
		}
	}
	slices.SortFunc(left, func(a, b *task) int { return int(a.order) - int(b.order) })
	return left
}

// drain waits for the handlers and their replies, then cancels the handlers'
// contexts and waits a little longer.
func (w *Worker) drain(patience time.Duration) error {
	done := redisio.Waited(&w.held)
	within := func(d time.Duration) bool {
		select {
		case <-done:
			return true
		case <-time.After(max(d, 0)):
			return false
		}
	}
	if within(patience) {
		return nil
	}
	w.cancel()
	if within(cancelGrace) {
		return nil
	}
	w.leave() // and with it the replies that Redis does not take
	if within(stopTimeout) {
		return nil
	}
	return fmt.Errorf("bus: worker %s stopped, but %d of its handlers did not return after their contexts were cancelled", w.ID(), w.slots.inUse())
}

// withStopTimeout runs do, commands of a stopping worker, with stopTimeout.
func (w *Worker) withStopTimeout(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := do(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return redisio.Normalize(ctx, err)
	}
	return nil
}

// setPause begins or ends a pause. It wakes the read that waits for calls, which would take
// one more.
func (w *Worker) setPause(plain redis.UniversalClient, paused bool) {
	if w.pause.set(paused) && paused {
		w.wake(plain, w.keys.ownQueue(w.info.ID))
	}
}

// signal sends to a channel that holds one element, unless it does already.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
