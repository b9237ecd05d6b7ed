package jobs

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/heliograph/heliograph/bus/jobs/internal/cron"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// schedule is a schedule as Redis has it, in msgpack. Times and durations are in ms.
type schedule struct {
	Line    string  `json:"l"`
	Zone    string  `json:"z"`
	Job     record  `json:"j"`           // of a run, without id and times
	Expires int64   `json:"x,omitempty"` // of a run, after it was submitted
	Missed  Missed  `json:"m,omitempty"`
	Overlap Overlap `json:"o,omitempty"`

	Created int64  `json:"c,omitempty"` // runs of an interval count from then
	Next    int64  `json:"n,omitempty"` // the next run
	Paused  bool   `json:"p,omitempty"`
	Last    string `json:"i,omitempty"` // job of the last run
	LastRun int64  `json:"r,omitempty"` // when that was due
	Runs    int64  `json:"k,omitempty"`
	Skipped int64  `json:"s,omitempty"`

	line cron.Line
	zone *time.Location
}

func (s *schedule) pack() ([]byte, error) { return storage.MsgPack.Marshal(s) }

func unpackSchedule(data string) (*schedule, error) {
	s := new(schedule)
	if err := storage.MsgPack.Unmarshal([]byte(data), s); err != nil {
		return nil, invalid("malformed schedule: %v", err)
	}
	return s, s.parse()
}

// after returns the first time after another at which the schedule is due, zero for never.
func (s *schedule) after(t time.Time) time.Time {
	every := s.line.Every()
	if every == 0 {
		return s.line.Next(t.In(s.zone))
	}
	created := time.UnixMilli(s.Created)
	if s.Created == 0 || t.Before(created) {
		created = t
	}
	return created.Add(t.Sub(created).Truncate(every) + every).In(s.zone)
}

const (
	missedAfter = time.Minute // a run is late
	maxMissed   = 1000        // runs that MissedAll submits at once
	fireHold    = 2 * time.Second
	fireCount   = 16 // schedules that a worker takes at a time
)

// due returns the runs that are to be submitted at a time, how many there are that the
// policy for missed ones leaves out, and the run after them.
func (s *schedule) due(now time.Time) (runs []time.Time, skipped int64, next time.Time) {
	next = time.UnixMilli(s.Next).In(s.zone)
	if every := s.line.Every(); every > 0 {
		// An interval of a second may have millions of runs in a long outage.
		if n := int64(now.Sub(next)/every) - maxMissed; n > 0 {
			skipped, next = n, next.Add(time.Duration(n)*every)
		}
	}
	for ; !next.IsZero() && !next.After(now); next = s.after(next) {
		if runs = append(runs, next); len(runs) > maxMissed {
			runs, skipped = runs[1:], skipped+1
		}
	}
	first := 0
	switch late := len(runs) > 0 && now.Sub(runs[0]) > missedAfter; {
	case s.Overlap == OverlapSkip, s.Missed == MissedOnce && late:
		first = max(len(runs)-1, 0)
	}
	if s.Missed == MissedSkip {
		for first < len(runs) && now.Sub(runs[first]) > missedAfter {
			first++
		}
	}
	return runs[first:], skipped + int64(first), next
}

// fireDue submits the runs of the schedules that are due. A schedule that this worker
// takes is taken by no other for fireHold.
func (s *server) fireDue(ctx context.Context) error {
	answer, err := luaTakeSchedules.Run(ctx, s.watcher, []string{s.q.schedules(), s.q.fires()}, fireHold.Milliseconds(), fireCount).Slice()
	if err != nil || len(answer) == 0 {
		return redisio.Normalize(ctx, err)
	}
	now, _ := answer[0].(int64)
	for i := 1; i+1 < len(answer); i += 2 {
		name, _ := answer[i].(string)
		data, _ := answer[i+1].(string)
		if err := s.fire(ctx, name, data, time.UnixMilli(now)); err != nil {
			return err
		}
	}
	return nil
}

// fire submits the runs of a schedule that are due, unless the schedule has changed meanwhile.
func (s *server) fire(ctx context.Context, name, data string, now time.Time) error {
	sc, err := unpackSchedule(data)
	if err != nil {
		s.noise.Warn(s.log, "jobs: this worker can't run a schedule", "schedule", name, "error", err)
		return nil
	}
	runs, skipped, next := sc.due(now)
	sc.Skipped += skipped
	fires := int64(-1)
	if sc.Next = 0; !next.IsZero() {
		sc.Next = next.UnixMilli()
		fires = sc.Next
	}
	overlapped, last := *sc, sc.Last
	overlapped.Skipped += int64(len(runs))
	if sc.Overlap == OverlapAllow {
		last = ""
	}
	sc.Runs += int64(len(runs))
	var entries []any
	for _, run := range runs {
		r := sc.Job
		r.ID = name + "@" + strconv.FormatInt(run.UnixMilli(), 10)
		r.At = now.UnixMilli()
		if sc.Expires > 0 {
			r.Expires = r.At + sc.Expires
		}
		packed, err := r.pack()
		if err != nil {
			return err
		}
		entries = append(entries, r.ID, packed)
		sc.Last, sc.LastRun = r.ID, run.UnixMilli()
	}
	ran, err := sc.pack()
	if err != nil {
		return err
	}
	left, err := overlapped.pack()
	if err != nil {
		return err
	}
	args := append([]any{name, data, fires, ran, left, last, sc.Job.Priority.letter(), sc.Job.Group}, entries...)
	if err := luaFire.Run(ctx, s.watcher, s.q.keys(s.q.schedules()), args...).Err(); err != nil {
		return fmt.Errorf("schedule %s: %w", name, redisio.Normalize(ctx, err))
	}
	return nil
}
