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

// call is one request on its way, and what its client knows of it.
type call struct {
	id     uint64
	index  int // of a gather's workers
	route  *route
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
	call *call
	rep  *reply
	err  error
}

type atomicWindow struct{ items, bytes atomic.Uint64 }

func (a *atomicWindow) load() window { return window{a.items.Load(), a.bytes.Load()} }

// Err tells the writer whether anybody still waits.
func (w *call) Err() error {
	if w.over.Load() {
		return context.Canceled
	}
	return nil
}

// begin sends a request of which the results go to that channel, which must
// have room for all of them.
func (c *Client) begin(ctx context.Context, to Address, req *request, idempotent bool, now, end time.Time, results chan<- result) (*call, error) {
	w := &call{id: c.lastID.Add(1), since: now, result: results, idempotent: idempotent && to.id == "", stream: req.window.items > 0}
	return w, c.launch(ctx, w, to, req, false, now, end)
}

// launch sends a call that has its id.
func (c *Client) launch(ctx context.Context, w *call, to Address, req *request, known bool, now, end time.Time) error {
	out := *req
	out.id = w.id
	var err error
	if w.route, w.frame, err = c.prepare(ctx, to, out, known, now, end); err != nil {
		return err
	}
	if err := c.remember(w); err != nil {
		return err
	}
	redisio.Of(c.pool).Writer().Push(w, w.route.queue, w.frame, w.pushed)
	return nil
}

// pushed is what the writer tells. What may have been written may be answered.
func (w *call) pushed(length int64, err error) {
	w.route.pushed(length, err)
	if err != nil && !errors.Is(err, storage.ErrIndeterminate) {
		w.route.c.settle(w, nil, local(err))
		return
	}
	w.written.Store(true)
}

// remember registers a call before it is sent.
func (c *Client) remember(w *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if closed(c.closed) {
		return ErrClosed
	}
	if len(c.calls) >= c.cfg.MaxPending {
		return fmt.Errorf("%w: ClientConfig.MaxPending is %d", ErrQueueFull, c.cfg.MaxPending)
	}
	c.calls[w.id] = w
	return nil
}

// forget removes a call, and returns it if it was there.
func (c *Client) forget(id uint64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.calls[id]
	delete(c.calls, id)
	return w
}

// settle ends a call with its one result, unless it has had one.
func (c *Client) settle(w *call, rep *reply, err error) {
	if c.forget(w.id) != nil {
		w.result <- result{w, rep, err}
	}
}

// lose ends a call whose worker is gone. An idempotent one is told, so that it
// can be made again, and goes on waiting.
func (c *Client) lose(w *call) {
	c.mu.Lock()
	told := w.lost || c.calls[w.id] == nil
	w.lost, w.worker = true, ""
	if !w.idempotent {
		delete(c.calls, w.id)
	}
	c.mu.Unlock()
	if !told {
		w.result <- result{w, nil, ErrWorkerLost}
	}
}

// abandon ends calls that nobody waits for any more, and tells the workers that
// are known to hold them.
func (c *Client) abandon(calls ...*call) {
	for _, w := range calls {
		w.over.Store(true)
		c.mu.Lock()
		delete(c.calls, w.id)
		worker := w.worker
		w.worker = ""
		c.mu.Unlock()
		if worker != "" {
			c.tell(lasting(redisio.BlockTime), worker, notice{kind: kindCancel, id: w.id})
		}
	}
}

// tell sends a notice to the control list of a worker.
func (c *Client) tell(wanted redisio.Wanted, worker string, n notice) {
	r, err := c.route(Direct(worker), true, time.Now())
	if err != nil {
		return // no worker of ours calls itself that
	}
	n.client = c.id
	redisio.Of(c.pool).Writer().Push(wanted, r.queue, n.pack(), r.pushed)
}

// deliver takes a frame from the inbox.
func (c *Client) deliver(elem string) {
	if elem == "" {
		return // the inbox was created with it
	}
	rep := &reply{}
	if err := rep.unpack(elem); err != nil {
		c.noise.Warn(c.link.log, "bus: a reply that can't be understood", "error", err)
		return
	}
	switch rep.kind {
	case kindReply:
		c.answered(rep)
	case kindItem:
		c.item(rep)
	case kindHeld, kindReturned:
		c.held(rep)
	}
}

// answered ends a call with its reply.
func (c *Client) answered(rep *reply) {
	c.mu.Lock()
	w := c.calls[rep.id]
	if w != nil {
		delete(c.calls, rep.id)
		w.worker = ""
	}
	c.mu.Unlock()
	switch {
	case w == nil:
	case w.stream && rep.code == "" && rep.seq != w.received:
		w.result <- result{w, nil, ErrStreamBroken}
	default:
		w.result <- result{w, rep, nil}
	}
}

// held notes who has a call. A call that is unknown has ended here, and may end
// there.
func (c *Client) held(rep *reply) {
	worker := rep.from
	if rep.kind == kindReturned {
		worker = ""
	}
	c.mu.Lock()
	w := c.calls[rep.id]
	first := w != nil && w.worker == ""
	if w != nil {
		w.worker, w.heard, w.missed = worker, time.Now(), 0
	}
	c.mu.Unlock()
	switch {
	case w == nil && worker != "":
		c.tell(lasting(redisio.BlockTime), worker, notice{kind: kindCancel, id: rep.id})
	case w == nil || !w.stream || worker == "":
	case rep.seq > w.received:
		c.settle(w, nil, ErrStreamBroken)
	default:
		// Where something lies already, the caller is about to know as much: there
		// is never more than one of these beside the items.
		if first && len(w.result) == 0 {
			w.result <- result{call: w, rep: rep}
		}
		c.credit(w)
	}
}

// timers holds timers that are stopped.
var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// timer returns a channel that tells when it is end, never if that is zero.
func timer(now, end time.Time) (expired <-chan time.Time, stop func()) {
	if end.IsZero() {
		return nil, func() {}
	}
	t := timers.Get().(*time.Timer)
	t.Reset(end.Sub(now))
	return t.C, func() {
		t.Stop()
		timers.Put(t)
	}
}
