package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/storage"
)

// run is a job that a worker has.
type run struct {
	s       *server
	place   place
	id      string // in its queue
	rec     record
	listed  bool // the hash at has its id
	attempt int
	cancel  context.CancelCauseFunc // of its handler's context

	cancelled, lost, released bool // guarded by server.mu
	checkpointed              bool // guarded by server.mu

	// The outcome, once the job is in server.outcomes:
	end    end
	delay  time.Duration // of endLater
	result []byte        // of endDone; nil: nothing is kept
}

// end is what becomes of a job.
type end int

const (
	endDone  end = iota
	endLater     // tried again after a delay
	endDead      // to the dead letters
	endBack      // to another worker; the attempt does not count
)

// begin runs the job of an entry that was delivered for the deliveries-th time.
func (s *server) begin(p place, values map[string]any, deliveries int) {
	data, _ := values["j"].(string)
	rec, err := unpackRecord(data)
	if err != nil {
		rec = record{Codec: storage.Raw, Args: []byte(data), At: s.clock.Now().UnixMilli(), Attempts: 1}
	}
	if p.priority != grouped {
		rec.Priority = p.priority // decides the stream
	}
	r := &run{s: s, place: p, id: rec.ID, rec: rec, listed: rec.ID != "", attempt: rec.Used + max(deliveries, 1)}
	if !r.listed {
		r.id = p.id()
		r.rec.ID = r.id
	}
	job := Job{
		ID: s.q.public(r.id), Queue: s.q.name, Attempt: r.attempt, Attempts: rec.Attempts,
		Priority: rec.Priority, Submitted: timeOf(rec.At), r: r,
	}
	if rec.Flow != "" {
		job.Flow = s.q.public(rec.Flow)
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(s.host.Context(), jobKey{}, job))
	r.cancel = cancel
	s.mu.Lock()
	// The lease may have lapsed and been renewed since the worker asked for jobs: another
	// may have claimed this one. Those that it has not are adopted.
	stale := !s.valid || s.asked != s.lapses
	if stale || s.runs[p] != nil {
		s.adopt = s.adopt || stale
		s.mu.Unlock()
		cancel(nil)
		return
	}
	s.free--
	s.runs[p], s.byID[r.id] = r, r
	s.mu.Unlock()
	switch {
	case err != nil:
		r.die(fmt.Errorf("malformed entry: %w", err), "")
	case r.attempt > rec.Attempts:
		r.attempt--
		text := "its worker died in the last attempt"
		if rec.Error != "" {
			text += "; the error of an earlier one: " + rec.Error
		}
		r.die(errors.New(text), rec.Stack)
	case rec.Expires != 0 && s.clock.Now().UnixMilli() >= rec.Expires:
		r.attempt--
		r.die(fmt.Errorf("expired: not begun before %v", timeOf(rec.Expires).UTC().Format(time.RFC3339)), rec.Stack)
	default:
		s.host.Begin(busio.Request{
			Method: rec.Method, Header: rec.Header, Codec: rec.Codec, Args: rec.Args, Context: ctx,
			Timeout: length(rec.Timeout), Ended: func(o busio.Outcome) { r.ended(job, o) },
		})
	}
}

// ended decides what becomes of a job whose handler has ended.
func (r *run) ended(job Job, o busio.Outcome) {
	r.cancel(nil)
	r.s.mu.Lock()
	cancelled, lost := r.cancelled, r.lost
	r.s.mu.Unlock()
	var nap snooze
	var final *discard
	switch {
	case o.Err == nil:
		r.done(o)
	case cancelled:
		r.die(ErrCancelled, o.Stack)
	case o.Returned, lost:
		r.settle(endBack)
	case errors.As(o.Err, &nap):
		r.rec.Used = r.attempt - 1
		r.delay = time.Duration(nap)
		r.settle(endLater)
	case errors.As(o.Err, &final), permanent(o.Code), r.attempt >= r.rec.Attempts:
		r.die(r.reason(o), o.Stack)
	default:
		err := r.reason(o)
		r.failed(err, o.Stack)
		r.delay = max(r.s.cfg.Backoff(job, err), 0)
		r.settle(endLater)
	}
}

// permanent reports whether an error of the bus would come back in another attempt.
func permanent(code string) bool {
	switch code {
	case "unknown_method", "bad_arguments", "bad_result":
		return true
	}
	return false
}

// reason returns the error of an attempt.
func (r *run) reason(o busio.Outcome) error {
	if o.Code == "timeout" {
		return fmt.Errorf("the attempt took longer than %v: %w", length(r.rec.Timeout), o.Err)
	}
	return o.Err
}

// done keeps the result, if it is wanted.
func (r *run) done(o busio.Outcome) {
	if r.rec.Keep > 0 || r.rec.Remember > 0 {
		kept := result{}
		if r.rec.Keep > 0 {
			kept = result{Codec: o.Codec, Data: o.Result, Kept: true}
		}
		data, err := storage.MsgPack.Marshal(&kept)
		if err != nil {
			r.die(fmt.Errorf("result: %w", err), "")
			return
		}
		r.result = data
	}
	r.settle(endDone)
}

func (r *run) die(err error, stack string) {
	r.failed(err, stack)
	r.settle(endDead)
}

// The longest text and stack of an error that a job keeps, in bytes.
const (
	maxText  = 4 << 10
	maxStack = 16 << 10
)

// failed notes the end of an attempt.
func (r *run) failed(err error, stack string) {
	text := err.Error()
	r.rec.Error = strings.ToValidUTF8(text[:min(len(text), maxText)], "�")
	r.rec.Stack = stack[:min(len(stack), maxStack)]
	r.rec.Worker, r.rec.Failed, r.rec.Used = r.s.host.ID(), r.s.clock.Now().UnixMilli(), r.attempt
}

// settle hands the job to the goroutine that tells Redis. Its slot is free for another
// job at once, unless too many outcomes wait.
func (r *run) settle(e end) {
	s := r.s
	s.mu.Lock()
	r.end = e
	s.outcomes = append(s.outcomes, r)
	if len(s.outcomes) <= outcomesPerSlot*s.cfg.Concurrency {
		r.released = true
		s.free++
	}
	s.mu.Unlock()
	signal(s.settled)
	signal(s.wake)
}

// outcomesPerSlot is how many outcomes per slot may wait without a slot.
const outcomesPerSlot = 4
