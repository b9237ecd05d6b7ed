package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Job is the job that a handler runs. See [FromContext].
type Job struct {
	// ID is the job's id, of the form queue:id, and Queue its queue.
	ID, Queue string
	// Attempt is the number of this attempt, from 1, and Attempts the most that the job has.
	Attempt, Attempts int
	// Priority is that of its SubmitOptions.
	Priority Priority
	// Flow is the id of the flow that the job belongs to, of the form queue:id, "" for none.
	Flow string
	// Submitted is when the job was submitted, by the clock of its client.
	Submitted time.Time

	r *run
}

type jobKey struct{}

// FromContext returns the job that a handler runs, from the handler's context. It
// returns false if the handler runs a call.
func FromContext(ctx context.Context) (Job, bool) {
	j, ok := ctx.Value(jobKey{}).(Job)
	return j, ok
}

// Progress tells those that look at the job, by [Client.Get], how far its handler is.
// The text, of at most 1 KiB, is kept for an hour.
func (j Job) Progress(ctx context.Context, text string) error {
	if len(text) > maxProgress {
		return invalid("progress of %s: %d bytes, the limit is %d", j.ID, len(text), maxProgress)
	}
	if j.r == nil {
		return invalid("progress of a Job that is not from FromContext")
	}
	s := j.r.s
	err := s.pool.Redis().Set(ctx, s.q.progress(j.r.id), text, progressTTL).Err()
	return wrap(ctx, "progress of "+j.ID, err)
}

const (
	maxProgress = 1 << 10
	progressTTL = time.Hour
)

// Snooze returns an error for a handler to return: the job is run again after d, and
// this attempt does not count.
func Snooze(d time.Duration) error { return snooze(max(d, 0)) }

type snooze time.Duration

func (s snooze) Error() string { return fmt.Sprintf("jobs: snooze for %v", time.Duration(s)) }

// Discard returns an error for a handler to return: the job is not tried again, and goes
// to the dead letters with err.
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded")
	}
	return &discard{err}
}

type discard struct{ err error }

func (d *discard) Error() string { return d.err.Error() }
func (d *discard) Unwrap() error { return d.err }
