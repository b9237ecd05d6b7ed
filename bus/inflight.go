package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// pendingCall is a request that was sent, and what the client knows of it.
type pendingCall struct {
	id     uint64
	index  int // of the worker, in a Gather
	route  *route
	method string
	frame  []byte
	size   int // of the frame and the result that is expected, in bytes
	since  time.Time
	over   atomic.Bool
	result chan<- result
	sent   func() // called when the writer has ended with the request; may be nil

	written atomic.Bool // Redis has, or had, it in the queue

	idempotent bool         // it goes on waiting after a loss
	stream     bool         // its items are results too
	received   uint64       // items; used by the goroutine that reads the inbox
	spent      atomicWindow // items that the caller has consumed
	// Guarded by Client.mu:
	worker string    // that has announced that it holds the call; "": none
	heard  time.Time // time of the last announcement
	doubt  time.Time // when Redis first lost its data since; zero: it has it
	before int64     // Redis time in ms at which it was known to have been queued; 0: unknown
	missed absence   // of which it was found neither queued nor announced
	lost   bool      // taken to be lost; a reply still counts
}

// result is a reply to a call, or the error that ends it.
type result struct {
	call *pendingCall
	rep  *reply
	err  error
}

type atomicWindow struct{ items, bytes atomic.Uint64 }

func (a *atomicWindow) load() window { return window{a.items.Load(), a.bytes.Load()} }

// Err tells the writer that the request is not wanted any more, because its caller
// has given up.
func (p *pendingCall) Err() error {
	if p.over.Load() {
		return context.Canceled
	}
	return nil
}

// begin sends a request. Its results go to the channel, which must have room for all
// of them.
func (c *Client) begin(ctx context.Context, to Address, req *request, idempotent bool, now, end time.Time, results chan<- result) (*pendingCall, error) {
	call := &pendingCall{id: c.lastID.Add(1), since: now, result: results, idempotent: idempotent && to.id == "", stream: req.window.items > 0}
	return call, c.launch(ctx, call, to, req, false, now, end)
}

// launch sends the request of a call that has its id.
func (c *Client) launch(ctx context.Context, call *pendingCall, to Address, req *request, known bool, now, end time.Time) error {
	out := *req
	out.id, call.method, out.elsewhere = call.id, req.method, call.idempotent
	var err error
	if call.route, call.frame, err = c.prepare(ctx, to, out, known, now, end); err != nil {
		c.stats.refused.Add(1)
		return err
	}
	if err := c.remember(call); err != nil {
		call.route.breaker.release(c.cfg.Breaker)
		c.stats.refused.Add(1)
		return err
	}
	c.stats.calls.Add(1)
	redisio.Of(c.pool).Writer().PushExpiring(call, call.route.queue, call.frame, queueTTL, call.pushed)
	if req.queued != nil {
		req.queued()
	}
	return nil
}

// pushed takes the writer's answer. A request that may have been written may be
// answered.
func (p *pendingCall) pushed(length int64, err error) {
	if p.sent != nil {
		p.sent()
	}
	p.route.onPushed(len(p.frame), length, err)
	if err != nil && !errors.Is(err, storage.ErrIndeterminate) {
		p.route.c.settle(p, nil, local(err))
		return
	}
	p.written.Store(true)
}

// note counts how the call ended, and tells the breaker of its route.
func (p *pendingCall) note(err error) {
	if p.route != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			p.route.c.stats.timeouts.Add(1)
		}
		p.route.breaker.note(p.route.c.cfg.Breaker, err)
	}
}

// remember registers a call before it is sent.
func (c *Client) remember(call *pendingCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if closed(c.closed) {
		return ErrClosed
	}
	if len(c.calls) >= c.cfg.MaxPending {
		return fmt.Errorf("%w: ClientConfig.MaxPending is %d", ErrQueueFull, c.cfg.MaxPending)
	}
	call.size = len(call.frame)
	if !call.stream {
		call.size += int(call.route.result.Load())
	}
	if len(c.calls) > 0 && c.callBytes+call.size > c.cfg.MaxPendingBytes {
		return fmt.Errorf("%w: ClientConfig.MaxPendingBytes is %d", ErrQueueFull, c.cfg.MaxPendingBytes)
	}
	c.calls[call.id] = call
	c.callBytes += call.size
	return nil
}

// removeLocked takes a call out of those that wait, and reports whether it was there.
func (c *Client) removeLocked(call *pendingCall) bool {
	before := len(c.calls)
	delete(c.calls, call.id)
	if len(c.calls) == before {
		return false
	}
	c.callBytes -= call.size
	return true
}

// settle ends a call with a result, unless it has ended.
func (c *Client) settle(call *pendingCall, rep *reply, err error) {
	c.mu.Lock()
	waits := c.removeLocked(call)
	c.mu.Unlock()
	if waits {
		call.result <- result{call, rep, err}
	}
}

// lose ends a call whose worker is lost. An idempotent call gets the loss as a result,
// so that it can be made again, and goes on waiting for a reply.
func (c *Client) lose(call *pendingCall) {
	c.mu.Lock()
	told := call.lost || c.calls[call.id] == nil
	call.lost, call.worker = true, ""
	if !call.idempotent {
		c.removeLocked(call)
	}
	c.mu.Unlock()
	if !told {
		c.stats.lost.Add(1)
		call.result <- result{call, nil, ErrWorkerLost}
	}
}

// abandon ends calls whose callers have given up, and cancels them at the workers
// that are known to hold them.
func (c *Client) abandon(calls ...*pendingCall) {
	for _, call := range calls {
		call.over.Store(true)
		c.mu.Lock()
		waits := c.removeLocked(call)
		worker := call.worker
		call.worker = ""
		c.mu.Unlock()
		if waits {
			c.stats.cancelled.Add(1)
		}
		if worker != "" {
			c.sendNotice(lasting(redisio.BlockTime), worker, notice{kind: kindCancel, id: call.id})
		}
	}
}

// sendNotice sends a notice to the control list of a worker.
func (c *Client) sendNotice(wanted redisio.Wanted, worker string, n notice) {
	r, err := c.route(Direct(worker), true, time.Now())
	if err != nil {
		return // not the id of a worker
	}
	n.client = c.id
	frame := n.pack()
	redisio.Of(c.pool).Writer().PushExpiring(wanted, r.queue, frame, queueTTL, func(length int64, err error) {
		r.onPushed(len(frame), length, err)
	})
}

// deliver handles a frame of the inbox, which may have been read before.
func (c *Client) deliver(elem string, again bool) {
	if elem == "" {
		return // the element with which the inbox was made
	}
	rep := &reply{}
	if err := rep.unpack(elem); err != nil {
		c.stats.malformed.Add(1)
		c.throttle.Warn(c.link.log, "bus: reply ignored: it can't be decoded", "error", err)
		return
	}
	switch rep.kind {
	case kindReply:
		c.settleReply(rep, again)
	case kindItem:
		c.deliverItem(rep)
	case kindHeld, kindReturned:
		c.noteHolder(rep)
	}
}

// settleReply ends a call with its reply.
func (c *Client) settleReply(rep *reply, again bool) {
	c.mu.Lock()
	call := c.calls[rep.id]
	if call != nil {
		c.removeLocked(call)
		call.worker = ""
	}
	c.mu.Unlock()
	switch {
	case call == nil:
		if !again {
			c.stats.late.Add(1)
		}
	case !call.stream:
		call.route.learnResult(len(rep.body.Data))
		c.stats.time.add(time.Since(call.since))
		call.result <- result{call, rep, nil}
	case rep.seq != call.received:
		call.result <- result{call, nil, ErrStreamBroken}
	default:
		call.result <- result{call, rep, nil}
	}
}

// noteHolder notes which worker holds a call. A call that is unknown has ended here,
// and is cancelled there.
func (c *Client) noteHolder(rep *reply) {
	worker := rep.from
	if rep.kind == kindReturned {
		worker = ""
	}
	c.mu.Lock()
	call := c.calls[rep.id]
	first := call != nil && call.worker == ""
	if call != nil {
		call.worker, call.heard, call.doubt, call.missed = worker, time.Now(), time.Time{}, 0
		if rep.lease > 0 {
			call.route.lease.Store(int64(rep.lease))
		}
	}
	c.mu.Unlock()
	switch {
	case call == nil && worker != "":
		c.sendNotice(lasting(redisio.BlockTime), worker, notice{kind: kindCancel, id: rep.id})
	case call == nil || !call.stream || worker == "":
	case rep.seq > call.received:
		c.settle(call, nil, ErrStreamBroken)
	default:
		// The caller needs this result only if no item is there: at most one of
		// these is ever queued beside the items.
		if first && len(call.result) == 0 {
			call.result <- result{call: call, rep: rep}
		}
		c.credit(call)
	}
}

// timers holds the stopped timers of one client's calls. They are not shared with
// other clients: a timer must not leave its bubble of testing/synctest.
type timers struct{ stopped sync.Pool }

// until returns a channel that receives at end, or never if end is zero.
func (ts *timers) until(now, end time.Time) (expired <-chan time.Time, stop func()) {
	if end.IsZero() {
		return nil, func() {}
	}
	t, ok := ts.stopped.Get().(*time.Timer)
	if ok {
		t.Reset(end.Sub(now))
	} else {
		t = time.NewTimer(end.Sub(now))
	}
	return t.C, func() {
		t.Stop()
		ts.stopped.Put(t)
	}
}
