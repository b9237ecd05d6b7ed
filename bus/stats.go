package bus

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// WorkerStats is a snapshot of a [Worker]. Held, Paused and Waiting are current; the
// others count since the worker was made.
type WorkerStats struct {
	Calls      int64 `json:"calls"`      // answered, with a result or an error
	Errors     int64 `json:"errors"`     // of Calls, answered with an error
	Expired    int64 `json:"expired"`    // calls not run, because their deadline had passed
	Malformed  int64 `json:"malformed"`  // requests that could not be decoded
	Lost       int64 `json:"lost"`       // replies that could not be written, or whose client was gone
	Lapses     int64 `json:"lapses"`     // times that the lease has lapsed
	Overflowed int64 `json:"overflowed"` // calls moved to the overflow lists of their methods
	Held       int   `json:"held"`       // slots taken: calls that run and, in a Serial worker, calls that wait
	Paused     bool  `json:"paused"`     // it begins no calls, by Client.Pause
	Waiting    int   `json:"waiting"`    // calls that wait in the worker, without a slot, for the limit of their method

	Methods []MethodStats `json:"methods"` // by name, without the built-in ones; "*" are those of HandleAny
}

// MethodStats is the part of [WorkerStats] about one method. InFlight is a current
// number.
type MethodStats struct {
	Name      string         `json:"name"`
	Calls     int64          `json:"calls"`     // answered
	Errors    map[Code]int64 `json:"errors"`    // of Calls, by code
	InFlight  int64          `json:"in_flight"` // running or waiting in the worker
	Expired   int64          `json:"expired"`   // not run: past their deadline
	Late      int64          `json:"late"`      // run, but not done in time
	Cancelled int64          `json:"cancelled"` // cancelled by their callers

	Wait Histogram `json:"wait"` // from when a call was sent until its handler began; without jobs
	Time Histogram `json:"time"` // that the handler ran
}

// Stats returns the worker's counters. The method [Stats] returns those of any
// worker.
func (w *Worker) Stats() WorkerStats {
	s := WorkerStats{
		Calls:      w.stats.calls.Load(),
		Errors:     w.stats.errors.Load(),
		Expired:    w.stats.expired.Load(),
		Malformed:  w.stats.malformed.Load(),
		Lost:       w.stats.lost.Load(),
		Lapses:     w.stats.lapses.Load(),
		Overflowed: w.stats.overflowed.Load(),
		Held:       w.slots.inUse(),
		Paused:     w.pause.isSet(),
	}
	for _, l := range w.limited {
		l.mu.Lock()
		s.Waiting += len(l.waiting)
		l.mu.Unlock()
	}
	for _, m := range w.served() {
		s.Methods = append(s.Methods, m.stats.snapshot(m.name))
	}
	return s
}

// served returns the methods that are not built in, by name.
func (w *Worker) served() []*method {
	var all []*method
	if w.other != nil {
		all = append(all, w.other)
	}
	for _, name := range slices.Sorted(maps.Keys(w.methods)) {
		if m := w.methods[name]; !m.builtin {
			all = append(all, m)
		}
	}
	return all
}

// methodStats counts the calls of a method.
type methodStats struct {
	calls, held, expired, late, cancelled atomic.Int64
	wait, time                            durations

	mu     sync.Mutex
	errors map[Code]int64
}

func newMethodStats() *methodStats { return &methodStats{errors: make(map[Code]int64)} }

// maxCodes is the number of different codes by which errors are counted. Others are
// counted as CodeFailed.
const maxCodes = 64

func (s *methodStats) answered(code Code) {
	s.calls.Add(1)
	if code == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.errors[code]; !known && len(s.errors) >= maxCodes {
		code = CodeFailed
	}
	s.errors[code]++
}

func (s *methodStats) snapshot(name string) MethodStats {
	s.mu.Lock()
	errors := maps.Clone(s.errors)
	s.mu.Unlock()
	return MethodStats{
		Name: name, Calls: s.calls.Load(), Errors: errors, InFlight: s.held.Load(),
		Expired: s.expired.Load(), Late: s.late.Load(), Cancelled: s.cancelled.Load(),
		Wait: s.wait.snapshot(), Time: s.time.snapshot(),
	}
}

// ClientStats is a snapshot of a [Client]. Pending, PendingBytes and OpenBreakers are
// current numbers; the others count since the client was made.
type ClientStats struct {
	Pending      int `json:"pending"`       // calls that wait for their replies
	PendingBytes int `json:"pending_bytes"` // as ClientConfig.MaxPendingBytes counts them
	OpenBreakers int `json:"open_breakers"` // addresses that are not called, by ClientConfig.Breaker

	Calls     int64 `json:"calls"`     // requests sent, each attempt and each worker of a Gather included
	Retries   int64 `json:"retries"`   // attempts after the first
	Refused   int64 `json:"refused"`   // requests not sent: no workers, a full queue, an open breaker
	Timeouts  int64 `json:"timeouts"`  // calls that were sent and not answered in time
	Lost      int64 `json:"lost"`      // calls that ended with ErrWorkerLost
	Cancelled int64 `json:"cancelled"` // calls given up by their callers before their end
	Late      int64 `json:"late"`      // replies to calls that had ended; not those read right after Redis was unreachable
	Malformed int64 `json:"malformed"` // replies that could not be understood

	Time Histogram `json:"time"` // from when a call was made until its reply came; without streams
}

type clientStats struct {
	calls, retries, refused, timeouts, lost, cancelled, late, malformed atomic.Int64

	time durations
}

// Stats returns the client's counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	pending, bytes := len(c.calls), c.callBytes
	c.mu.Unlock()
	open := 0
	c.routes.Range(func(_, r any) bool {
		if r.(*route).breaker.isOpen(c.cfg.Breaker) {
			open++
		}
		return true
	})
	n := &c.stats
	return ClientStats{
		Pending: pending, PendingBytes: bytes, OpenBreakers: open,
		Calls: n.calls.Load(), Retries: n.retries.Load(), Refused: n.refused.Load(), Timeouts: n.timeouts.Load(),
		Lost: n.lost.Load(), Cancelled: n.cancelled.Load(), Late: n.late.Load(), Malformed: n.malformed.Load(),
		Time: n.time.snapshot(),
	}
}
