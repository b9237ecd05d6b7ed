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

// pendingCall is one request on its way, and what its client knows of it.
type pendingCall struct {
	id     uint64
	index  int // of a gather's workers
	route  *route
	method string
	frame  []byte
	since  time.Time
	over   atomic.Bool
	result chan<- result

	written atomic.Bool // it is in the queue, or was

	idempotent bool         // a loss does not end it
	stream     bool         // its items are results too
	received   uint64       // items, by the one goroutine that reads the inbox
	spent      atomicWindow // items that the caller has had
	// By Client.mu:
	worker string    // that holds it, as it said; "": unknown
	heard  time.Time // when it said so last
	before int64     // Redis time in ms by which it was in the queue; 0: unknown
	missed int       // looks that found it taken, without a word from who has it
	lost   bool      // given up, though a reply would still count
}

// result is what a call gets: a reply, or an error of this side.
type result struct {
	call *pendingCall
	rep  *reply
	err  error
}

type atomicWindow struct{ items, bytes atomic.Uint64 }

func (a *atomicWindow) load() window { return window{a.items.Load(), a.bytes.Load()} }

// Err tells the writer whether anybody still waits.
func (p *pendingCall) Err() error {
	if p.over.Load() {
		return context.Canceled
	}
	return nil
}

// begin sends a request of which the results go to that channel, which must
// have room for all of them.
func (c *Client) begin(ctx context.Context, to Address, req *request, idempotent bool, now, end time.Time, results chan<- result) (*pendingCall, error) {
	call := &pendingCall{id: c.lastID.Add(1), since: now, result: results, idempotent: idempotent && to.id == "", stream: req.window.items > 0}
	return call, c.launch(ctx, call, to, req, false, now, end)
}

// launch sends a call that has its id.
func (c *Client) launch(ctx context.Context, call *pendingCall, to Address, req *request, known bool, now, end time.Time) error {
	out := *req
	out.id, call.method = call.id, req.method
	var err error
	if call.route, call.frame, err = c.prepare(ctx, to, out, known, now, end); err != nil {
		c.stats.refused.Add(1)
		return err
	}
	if err := c.remember(call); err != nil {
		c.stats.refused.Add(1)
		return err
	}
	c.stats.calls.Add(1)
	redisio.Of(c.pool).Writer().Push(call, call.route.queue, call.frame, call.pushed)
	return nil
}

// pushed is what the writer tells. What may have been written may be answered.
func (p *pendingCall) pushed(length int64, err error) {
	p.route.onPushed(length, err)
	if err != nil && !errors.Is(err, storage.ErrIndeterminate) {
		p.route.c.settle(p, nil, local(err))
		return
	}
	p.written.Store(true)
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
	c.calls[call.id] = call
	return nil
}

// forget removes a call, and returns it if it was there.
func (c *Client) forget(id uint64) *pendingCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	delete(c.calls, id)
	return call
}

// settle ends a call with its one result, unless it has had one.
func (c *Client) settle(call *pendingCall, rep *reply, err error) {
	if c.forget(call.id) != nil {
		call.result <- result{call, rep, err}
	}
}

// lose ends a call whose worker is gone. An idempotent one is told, so that it
// can be made again, and goes on waiting.
func (c *Client) lose(call *pendingCall) {
	c.mu.Lock()
	told := call.lost || c.calls[call.id] == nil
	call.lost, call.worker = true, ""
	if !call.idempotent {
		delete(c.calls, call.id)
	}
	c.mu.Unlock()
	if !told {
		c.stats.lost.Add(1)
		call.result <- result{call, nil, ErrWorkerLost}
	}
}

// abandon ends calls that nobody waits for any more, and tells the workers that
// are known to hold them.
func (c *Client) abandon(calls ...*pendingCall) {
	for _, call := range calls {
		call.over.Store(true)
		c.mu.Lock()
		waits := c.calls[call.id] != nil
		delete(c.calls, call.id)
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

// tell sends a notice to the control list of a worker.
func (c *Client) sendNotice(wanted redisio.Wanted, worker string, n notice) {
	r, err := c.route(Direct(worker), true, time.Now())
	if err != nil {
		return // no worker of ours calls itself that
	}
	n.client = c.id
	redisio.Of(c.pool).Writer().Push(wanted, r.queue, n.pack(), r.onPushed)
}

// deliver takes a frame from the inbox.
func (c *Client) deliver(elem string) {
	if elem == "" {
		return // the inbox was created with it
	}
	rep := &reply{}
	if err := rep.unpack(elem); err != nil {
		c.stats.malformed.Add(1)
		c.noise.Warn(c.link.log, "bus: a reply that can't be understood", "error", err)
		return
	}
	switch rep.kind {
	case kindReply:
		c.settleReply(rep)
	case kindItem:
		c.deliverItem(rep)
	case kindHeld, kindReturned:
		c.noteHolder(rep)
	}
}

// answered ends a call with its reply.
func (c *Client) settleReply(rep *reply) {
	c.mu.Lock()
	call := c.calls[rep.id]
	if call != nil {
		delete(c.calls, rep.id)
		call.worker = ""
	}
	c.mu.Unlock()
	switch {
	case call == nil:
	case call.stream && rep.code == "" && rep.seq != call.received:
		call.result <- result{call, nil, ErrStreamBroken}
	default:
		call.result <- result{call, rep, nil}
	}
}

// held notes who has a call. A call that is unknown has ended here, and may end
// there.
func (c *Client) noteHolder(rep *reply) {
	worker := rep.from
	if rep.kind == kindReturned {
		worker = ""
	}
	c.mu.Lock()
	call := c.calls[rep.id]
	first := call != nil && call.worker == ""
	if call != nil {
		call.worker, call.heard, call.missed = worker, time.Now(), 0
	}
	c.mu.Unlock()
	switch {
	case call == nil && worker != "":
		c.sendNotice(lasting(redisio.BlockTime), worker, notice{kind: kindCancel, id: rep.id})
	case call == nil || !call.stream || worker == "":
	case rep.seq > call.received:
		c.settle(call, nil, ErrStreamBroken)
	default:
		// Where something lies already, the caller is about to know as much: there
		// is never more than one of these beside the items.
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
