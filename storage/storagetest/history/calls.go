package history

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Calls is a history of calls. Its Check finds calls that ended not at all or more than
// once, that ran more often than they may, that were answered without having run, and
// handlers that ran on after their callers had cancelled them.
type Calls struct {
	// MaxLinger is how long a handler may run after its call has ended as Cancelled.
	// Defaults to 2 seconds.
	MaxLinger time.Duration

	mu    sync.Mutex
	next  int // ID of the next call
	calls map[int]*Call
	wrong problems
}

// Call is one call of [Calls].
type Call struct {
	ID int // for its arguments: the handler tells it to Calls.Run

	h          *Calls
	idempotent bool
	deadline   time.Time
	late       bool // a run began after the deadline
	again      bool // it may run after its end
	ends       []Outcome
	ended      time.Time // the last time
	runs       []*run
}

// run is one run of a handler. The zero time says that it has not ended.
type run struct{ ended time.Time }

// CallOptions are the options of [Calls.Begin].
type CallOptions struct {
	// Idempotent says that the call may run more than once. Defaults to false.
	Idempotent bool

	// Deadline is when the call ends at the latest: its handler may not begin after it.
	// Defaults to none.
	Deadline time.Time
}

// Outcome is what a caller knows of the end of its call.
type Outcome string

const (
	Answered  Outcome = "answered"  // with a result, or with an error of the handler: it has run
	NotRun    Outcome = "not run"   // and never will
	Unknown   Outcome = "unknown"   // it may have run, or may run yet
	Cancelled Outcome = "cancelled" // by the caller: it may have run, and must not go on for long
)

// Begin notes that a call is about to be made.
func (h *Calls) Begin(opts ...CallOptions) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Call{ID: h.next, h: h}
	h.next++
	if len(opts) > 0 {
		c.idempotent, c.deadline = opts[0].Idempotent, opts[0].Deadline
	}
	if h.calls == nil {
		h.calls = make(map[int]*Call)
	}
	h.calls[c.ID] = c
	return c
}

// End notes the outcome of the call.
func (c *Call) End(o Outcome) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.ends, c.ended = append(c.ends, o), time.Now()
}

// Run notes that the handler of a call has begun. Done notes that it has ended.
func (h *Calls) Run(id int) (done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, r := h.calls[id], &run{}
	if c == nil {
		what := "was never made"
		if id >= 0 && id < h.next {
			what = "had ended before a Trim"
		}
		h.wrong.addf("call %d runs and %s", id, what)
		return func() {}
	}
	c.runs = append(c.runs, r)
	c.late = c.late || !c.deadline.IsZero() && time.Now().After(c.deadline)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		r.ended = time.Now()
	}
}

// Forgive notes that requests may have come back, with older data of a server that has
// lost the newest: the calls that were made until now may run again, whatever their
// outcome.
func (h *Calls) Forgive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		c.idempotent, c.again = true, true
	}
}

// Open returns the calls that have not ended.
func (h *Calls) Open() (ids []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		if len(c.ends) == 0 {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Check returns what is wrong with the history, or nil. Call it when no call is under
// way and no request is left that may still run.
func (h *Calls) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := problems{slices.Clone(h.wrong.all)}
	for _, id := range slices.Sorted(maps.Keys(h.calls)) {
		h.calls[id].check(&p)
	}
	return p.err("calls")
}

// Trim checks and forgets the calls that ended before a time, so that a history of hours
// stays small. A call that runs later is wrong.
func (h *Calls) Trim(before time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, c := range h.calls {
		if len(c.ends) > 0 && c.ended.Before(before) {
			c.check(&h.wrong)
			delete(h.calls, id)
		}
	}
}

// check adds what is wrong with the call.
func (c *Call) check(p *problems) {
	linger := c.h.MaxLinger
	if linger == 0 {
		linger = 2 * time.Second
	}
	switch {
	case len(c.ends) != 1:
		p.addf("call %d ended %d times: %q", c.ID, len(c.ends), c.ends)
		return
	case len(c.runs) > 1 && !c.idempotent:
		p.addf("call %d is not idempotent and ran %d times", c.ID, len(c.runs))
	case len(c.runs) > 0 && c.ends[0] == NotRun && !c.again:
		p.addf("call %d ended as not run, and ran", c.ID)
	case len(c.runs) == 0 && c.ends[0] == Answered:
		p.addf("call %d was answered, and never ran", c.ID)
	}
	if c.late {
		p.addf("call %d began to run after its deadline", c.ID)
	}
	if c.ends[0] == Cancelled && slices.ContainsFunc(c.runs, func(r *run) bool { return r.after(c.ended.Add(linger)) }) {
		p.addf("call %d ran for more than %v after it was cancelled", c.ID, linger)
	}
}

// after reports whether the run ended after t.
func (r *run) after(t time.Time) bool {
	if r.ended.IsZero() {
		return time.Now().After(t)
	}
	return r.ended.After(t)
}
