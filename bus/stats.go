package bus

import (
	"maps"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// WorkerStats is a snapshot of a [Worker]. Held and Waiting are current numbers; the
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

	// P50 and P99 are quantiles of the time that the handler ran, rounded up by at
	// most an eighth.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
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
	durations                             histogram

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

func (s *methodStats) ran(d time.Duration) { s.durations.add(d) }

func (s *methodStats) snapshot(name string) MethodStats {
	s.mu.Lock()
	errors := maps.Clone(s.errors)
	s.mu.Unlock()
	return MethodStats{
		Name: name, Calls: s.calls.Load(), Errors: errors, InFlight: s.held.Load(),
		Expired: s.expired.Load(), Late: s.late.Load(), Cancelled: s.cancelled.Load(),
		P50: s.durations.quantile(0.50), P99: s.durations.quantile(0.99),
	}
}

// histogram counts durations in steps of an eighth: 8 buckets for each power of
// two of nanoseconds.
type histogram [8 * 64]atomic.Int64

func (h *histogram) add(d time.Duration) { h[bucket(d)].Add(1) }

func bucket(d time.Duration) int {
	n := uint64(max(d, 8))
	power := bits.Len64(n) - 1
	return 8*power + int(n>>(power-3)&7)
}

// quantile returns the upper end of the bucket that has the q-quantile, or 0 if there
// are no durations.
func (h *histogram) quantile(q float64) time.Duration {
	var counts [len(h)]int64
	all := int64(0)
	for i := range h {
		counts[i] = h[i].Load()
		all += counts[i]
	}
	if all == 0 {
		return 0
	}
	rank := int64(q*float64(all-1)) + 1
	for i, n := range counts {
		rank -= n
		if rank <= 0 {
			power, step := i/8, i%8
			return time.Duration(uint64(8+step+1) << (power - 3))
		}
	}
	return 0
}

// ClientStats is a snapshot of a [Client]. Pending is a current number; the others
// count since the client was made.
type ClientStats struct {
	Pending int `json:"pending"` // calls that wait for their replies

	Calls     int64 `json:"calls"`     // requests sent, each attempt and each worker of a Gather included
	Retries   int64 `json:"retries"`   // attempts after the first
	Refused   int64 `json:"refused"`   // requests not sent: no workers, a full queue, an open breaker
	Lost      int64 `json:"lost"`      // calls that ended with ErrWorkerLost
	Cancelled int64 `json:"cancelled"` // calls given up by their callers before their end
	Malformed int64 `json:"malformed"` // replies that could not be understood
}

type clientStats struct{ calls, retries, refused, lost, cancelled, malformed atomic.Int64 }

// Stats returns the client's counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	pending := len(c.calls)
	c.mu.Unlock()
	return ClientStats{
		Pending: pending, Calls: c.stats.calls.Load(), Retries: c.stats.retries.Load(), Refused: c.stats.refused.Load(),
		Lost: c.stats.lost.Load(), Cancelled: c.stats.cancelled.Load(), Malformed: c.stats.malformed.Load(),
	}
}
