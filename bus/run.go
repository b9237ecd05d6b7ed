package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// How long a stopping worker takes for its last words to Redis, and what it
// gives handlers whose contexts it has cancelled.
const (
	farewellTime = 2 * time.Second
	mercyTime    = 5 * time.Second
)

// Run serves until ctx ends or the pool is closed, then stops as the package
// comment has it, and returns nil. While Redis is away it tries again and again.
// An error is returned at once if Redis refuses the worker's credentials, and at
// the end if handlers go on although their contexts were cancelled. A worker
// runs once.
func (w *Worker) Run(ctx context.Context) error {
	if !w.begun.CompareAndSwap(false, true) {
		return fmt.Errorf("bus: worker %s was run before", w.ID())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	disown, err := w.pool.Own(closer(func() { cancel(); <-ended }))
	if err != nil {
		return err
	}
	defer disown()
	defer w.leave()

	plain := w.pool.Dedicated()
	defer plain.Close()
	lease := &lease{client: plain, clock: w.clock, keys: w.keys, types: w.types, info: w.info, term: w.cfg.Lease, link: &w.link}
	if err := lease.enter(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("bus: worker %s: %w", w.ID(), err)
	}

	close(w.ready)
	leaving := make(chan struct{})
	beat := make(chan struct{}, 1)
	var tasks sync.WaitGroup
	tasks.Go(func() { lease.keep(leaving, beat) })

	reader := w.pool.Dedicated()
	defer reader.Close()
	stop := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		w.fetch(reader, stop, func() { signal(beat) })
	}()

	<-ctx.Done()
	drained := time.Now().Add(w.cfg.Drain)
	close(leaving)
	tasks.Wait()
	_ = w.bid(lease.end)
	close(stop)
	w.wake(plain)
	<-read // at the latest when the read's own time is over
	w.giveBack(plain)
	return w.drain(time.Until(drained))
}

// wake ends a read that waits, by an empty element in the worker's own queue.
func (w *Worker) wake(plain redis.UniversalClient) {
	own := w.keys.ownQueue(w.info.ID)
	_ = w.bid(func(ctx context.Context) error {
		_, err := plain.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.RPush(ctx, own, "")
			tx.PExpire(ctx, own, queueTTL)
			return nil
		})
		return err
	})
}

// giveBack returns what has not begun to the head of the group's queue, in
// order, and answers what can't be given to anybody else.
func (w *Worker) giveBack(plain redis.UniversalClient) {
	left := w.halt()
	var group []any
	var own []*request
	for _, req := range left {
		if req.direct {
			own = append(own, req)
		} else {
			group = append(group, req.frame)
		}
	}
	if len(group) > 0 {
		slices.Reverse(group) // LPUSH puts one before the other
		err := w.bid(func(ctx context.Context) error {
			_, err := plain.TxPipelined(ctx, func(tx redis.Pipeliner) error {
				tx.LPush(ctx, w.keys.queue(), group...)
				tx.PExpire(ctx, w.keys.queue(), queueTTL)
				return nil
			})
			return err
		})
		if err != nil {
			w.link.log.Error("bus: calls lost: they could not be given back to the queue", "calls", len(group), "error", err)
		}
		for range group {
			w.drop()
		}
	}
	_ = w.bid(func(ctx context.Context) error {
		frames, err := plain.LPopCount(ctx, w.keys.ownQueue(w.info.ID), 1<<20).Result()
		for _, frame := range frames {
			req := &request{}
			if req.unpack([]byte(frame)) == nil {
				w.held.Add(1)
				w.slots.take(1)
				own = append(own, req)
			}
		}
		return err
	})
	for _, req := range own {
		w.answer(req, Body{}, &refusal{CodeStopped, "the worker stopped before the call was begun"})
	}
}

// halt keeps what waits from beginning, and returns it in order of arrival.
func (w *Worker) halt() []*request {
	lanes := map[*lane]bool{}
	for _, m := range w.methods {
		lanes[m.lane] = true
	}
	if w.other != nil {
		lanes[w.other.lane] = true
	}
	var left []*request
	for lane := range lanes {
		left = append(left, lane.halt()...)
	}
	slices.SortFunc(left, func(a, b *request) int { return int(a.order) - int(b.order) })
	return left
}

// drain waits for the handlers and their replies.
func (w *Worker) drain(patience time.Duration) error {
	done := make(chan struct{})
	go func() {
		w.held.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(max(patience, 0)):
	}
	w.cancel()
	select {
	case <-done:
		return nil
	case <-time.After(mercyTime):
		return fmt.Errorf("bus: worker %s stopped, but %d of its handlers did not", w.ID(), w.slots.taken())
	}
}

// bid says something to Redis in the little time that a stopping worker has.
func (w *Worker) bid(say func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	err := say(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return storage.Normalize(ctx, err)
	}
	return nil
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// closer is an io.Closer.
type closer func()

func (c closer) Close() error { c(); return nil }
