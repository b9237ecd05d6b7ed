package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

const (
	callers   = 16
	publishes = 10 * time.Millisecond // between two messages

	// toldWithin is the promise: two leases. callTimeout is more, so that a call that waits
	// for it was not told.
	toldWithin  = 10 * time.Second
	callTimeout = 30 * time.Second
	recovery    = 15 * time.Second // after the last fault
)

// rig is the load, and what came of it.
type rig struct {
	host  *host
	d     *deployment
	pool  *storage.Pool
	calls history.Calls
	msgs  history.Messages

	workers  []*process
	live     sync.WaitGroup
	stopLoad context.CancelFunc
	endSub   func()

	answered, lost, none, late, falsely, unexpected, published, gaps atomic.Int64
	longest                                                          atomic.Int64 // ns that a lost call was not told
	faults                                                           int

	mu      sync.Mutex
	running map[int]*process // by call
	told    map[int]bool     // calls that were said to be lost

	bounds error // what has grown in a soak
}

// topic has one publisher.
var topic = pubsub.NewTopic[int]("rig")

// newRig starts two workers and the load.
func newRig(ctx context.Context, h *host, d *deployment) (*rig, error) {
	r := &rig{host: h, d: d, running: make(map[int]*process), told: make(map[int]bool)}
	pool, err := storage.Open(d.reach.config())
	if err != nil {
		return nil, err
	}
	r.pool = pool
	h.Cleanup(func() { _ = pool.Close() })
	for range 2 {
		if err := r.launch(); err != nil {
			return nil, err
		}
	}
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	if err != nil {
		return nil, err
	}
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	if err != nil {
		return nil, err
	}
	sub, err := pubsub.Subscribe(ctx, ps, topic)
	if err != nil {
		return nil, err
	}
	load, stop := context.WithCancel(ctx)
	r.stopLoad = stop
	seen := r.msgs.Subscribe(topic.String())
	received := make(chan struct{})
	go func() {
		defer close(received)
		for m := range sub.C() {
			if m.Err != nil {
				r.gaps.Add(1)
				seen.Gap()
			} else {
				seen.Receive(m.Value)
			}
		}
	}()
	r.endSub = func() {
		_ = sub.Close()
		<-received
		seen.End()
	}
	for range callers {
		r.live.Go(func() {
			for load.Err() == nil {
				r.call(c)
			}
		})
	}
	r.live.Go(func() {
		for load.Err() == nil {
			r.publish(ps)
			time.Sleep(publishes)
		}
	})
	return r, nil
}

// launch starts a worker and waits until callers know it.
func (r *rig) launch() error {
	p, err := launch(r.d.reach, r.said)
	if err != nil {
		return err
	}
	r.workers = append(r.workers, p)
	r.host.Cleanup(p.kill)
	select {
	case <-p.ready:
		return nil
	case <-time.After(time.Minute):
		return errors.New("a worker is not ready within a minute")
	}
}

// said notes what a worker says of a call.
func (r *rig) said(p *process, word string, id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch word {
	case "begin":
		r.calls.Run(id)
		r.running[id] = p
	case "end":
		// A call that runs for long, and was said to be lost while its worker lived.
		if r.told[id] && !p.wasKilled() {
			r.falsely.Add(1)
		}
		delete(r.running, id)
	}
}

// call makes a call, which takes 6 seconds one time in a hundred.
func (r *rig) call(c *bus.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	takes := rand.N(20 * time.Millisecond)
	if rand.N(100) == 0 {
		takes = 6 * time.Second
	}
	call := r.calls.Begin()
	begun := time.Now()
	_, err := bus.Call(ctx, c, bus.Group("rig"), run, task{call.ID, takes})
	took := time.Since(begun) - takes
	outcome := history.Unknown
	var remote *bus.Error
	switch {
	case err == nil:
		outcome = history.Answered
		r.answered.Add(1)
	case errors.Is(err, bus.ErrWorkerLost):
		r.lost.Add(1)
		r.noteLoss(call.ID)
		r.longest.Store(max(r.longest.Load(), int64(took)))
	case errors.Is(err, bus.ErrNoWorkers), errors.Is(err, bus.ErrQueueFull):
		outcome = history.NotRun
		r.none.Add(1)
		time.Sleep(10 * time.Millisecond)
	case errors.Is(err, context.DeadlineExceeded):
		r.late.Add(1)
	case errors.As(err, &remote) && remote.Code == bus.CodeStopped:
		r.lost.Add(1)
	default:
		r.unexpected.Add(1)
	}
	call.End(outcome)
}

// noteLoss notes a call that was said to be lost while a worker runs it.
func (r *rig) noteLoss(id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[id] != nil {
		r.told[id] = true
	}
}

func (r *rig) publish(ps *pubsub.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	n, end := r.msgs.Publish(topic.String())
	if _, err := pubsub.Publish(ctx, ps, topic, n); err == nil {
		end(history.Answered)
		r.published.Add(1)
	}
}

// replace starts a worker, and ends the oldest.
func (r *rig) replace(end func(p *process)) {
	if err := r.launch(); err != nil {
		r.host.Fatal(err)
	}
	old := r.workers[0]
	r.workers = r.workers[1:]
	end(old)
}

// disconnect cuts all connections of clients.
func (r *rig) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, kind := range []string{"normal", "pubsub"} {
		_ = r.pool.Redis().ClientKillByFilter(ctx, "type", kind).Err()
	}
}

// cycle makes one fault after another for a time.
func (r *rig) cycle(ctx context.Context, lasts time.Duration) error {
	faults := r.d.with(
		fault{"a worker is killed", func() { r.replace((*process).kill) }},
		fault{"connections are cut", r.disconnect},
		fault{"a worker stops", func() { r.replace(func(p *process) { _ = p.Process.Signal(syscall.SIGTERM) }) }},
	)
	for begun := time.Now(); time.Since(begun) < lasts && ctx.Err() == nil; r.faults++ {
		sleep(ctx, r.d.pause)
		faults[r.faults%len(faults)].do()
	}
	sleep(ctx, recovery)
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// report ends the load, and prints each promise with what was observed.
func (r *rig) report(out io.Writer) error {
	r.stopLoad()
	r.live.Wait()
	time.Sleep(time.Second) // the last messages arrive
	r.endSub()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "promise\tobserved in %d faults\tverdict\n", r.faults)
	broken := 0
	say := func(promise, observed string, kept bool) {
		verdict := "kept"
		if !kept {
			verdict = "BROKEN"
			broken++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", promise, observed, verdict)
	}
	callsErr, msgsErr := r.calls.Check(), r.msgs.Check()
	say("a call ends once, and runs at most once", fmt.Sprintf("%d answered, %d lost, %d not run", r.answered.Load(), r.lost.Load(), r.none.Load()), callsErr == nil)
	longest := time.Duration(r.longest.Load()).Round(10 * time.Millisecond)
	say(fmt.Sprintf("a lost call is told within %v", toldWithin), fmt.Sprintf("%v at the longest, %d waited for their deadlines", longest, r.late.Load()), longest <= toldWithin && r.late.Load() == 0)
	say("no living worker is called lost", fmt.Sprintf("%d calls", r.falsely.Load()), r.falsely.Load() == 0)
	say("calls end with errors that are documented", fmt.Sprintf("%d others", r.unexpected.Load()), r.unexpected.Load() == 0)
	say("what a subscription misses is told", fmt.Sprintf("%d published, %d gaps", r.published.Load(), r.gaps.Load()), msgsErr == nil)
	if r.bounds != nil {
		say("nothing grows", r.bounds.Error(), false)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if broken > 0 {
		return errors.Join(fmt.Errorf("%d promises were broken", broken), callsErr, msgsErr)
	}
	return nil
}
