package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs/internal/cron"
	"github.com/heliograph/heliograph/internal/redisio"
)

// Missed says what becomes of runs of a schedule that were not submitted within a minute
// after they were due, since no worker of the queue was there.
type Missed int

// The policies for missed runs. The zero value is MissedOnce.
const (
	MissedOnce Missed = iota // only the newest of the runs that are due is submitted
	MissedSkip               // none of them is submitted
	MissedAll                // all are submitted, of more than 1,000 the newest 1,000
)

// Overlap says what becomes of a run of a schedule while the job of the run before waits
// or runs.
type Overlap int

// The policies for overlapping runs. The zero value is OverlapAllow.
const (
	OverlapAllow Overlap = iota // the run is submitted too
	OverlapSkip                 // the run is left out
)

// ScheduleOptions are the options of [Schedule].
type ScheduleOptions struct {
	// Zone is the time zone of the line, a name of the IANA database such as
	// "Europe/Berlin". Workers of the queue must know it too: see package time/tzdata.
	// Defaults to UTC.
	Zone string

	// Missed is the policy for missed runs. Defaults to MissedOnce.
	Missed Missed

	// Overlap is the policy for overlapping runs. Defaults to OverlapAllow.
	Overlap Overlap

	// Job has the options of the jobs. ID, Delay and At must not be set: the id of a
	// run's job is the schedule's name, "@", and the ms of the Unix epoch at which it was due.
	Job SubmitOptions

	// Replace makes Schedule replace a schedule of the same name that differs. Its next
	// run is the first one that is due from now on; it stays paused if it is. Without
	// Replace, Schedule ends with ErrScheduleExists.
	Replace bool
}

// ErrScheduleExists is the error of a [Schedule] whose queue has a schedule of the same name
// that differs. Nothing was written.
var ErrScheduleExists = errors.New("jobs: another schedule has the name")

// Schedule makes the workers of a queue submit a job to it whenever a line of cron says. The
// schedule is kept in Redis until [Client.RemoveSchedule]. To schedule what the queue has
// already changes nothing, so that each process may do so when it starts.
//
// A line has the five fields minute, hour, day of month, month and day of week, or is one of
// @yearly, @monthly, @weekly, @daily and @hourly, or @every with an interval of at least a
// second, such as "@every 90s", which counts from the time of Schedule. Where a clock is put
// forward, what was due in the hour that is left out is due at its end. Where it is put
// back, a line for certain hours is due once. An error says which field is wrong.
//
// Each run is submitted once: one script advances the schedule and enters the job. A run is
// late by up to 2 seconds if the worker that began to submit it dies.
func Schedule[A, R any](ctx context.Context, c *Client, name, line, queue string, m bus.Method[A, R], args A, opts ...ScheduleOptions) error {
	data, err := m.Codec().Marshal(args)
	if err != nil {
		return invalid("arguments of %s: %v", m.Name(), err)
	}
	return ScheduleRaw(ctx, c, name, line, queue, m.Name(), bus.Body{Codec: m.Codec(), Data: data}, opts...)
}

// ScheduleRaw is [Schedule] with a method's name and encoded arguments.
func ScheduleRaw(ctx context.Context, c *Client, name, line, queue, method string, args bus.Body, opts ...ScheduleOptions) error {
	if !args.Codec.Valid() {
		return invalid("unknown %v", args.Codec)
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var o ScheduleOptions
	if len(opts) > 1 {
		return invalid("more than one ScheduleOptions")
	} else if len(opts) == 1 {
		o = opts[0]
	}
	q, s, err := c.newSchedule(line, queue, method, args, o)
	if err == nil {
		err = checkName("schedule", name)
	}
	if err == nil && len(name) > maxScheduleName {
		err = invalid("schedule: name of %d bytes, the limit is %d", len(name), maxScheduleName)
	}
	if err == nil {
		err = c.putSchedule(ctx, q, name, s, o.Replace)
	}
	return wrap(ctx, "schedule "+name, err)
}

const (
	maxScheduleName = 100    // bytes
	maxSchedules    = 10_000 // of a queue
)

// newSchedule checks a schedule, which has no times yet.
func (c *Client) newSchedule(line, name, method string, args bus.Body, o ScheduleOptions) (q queue, s *schedule, err error) {
	switch {
	case o.Missed < 0 || o.Missed > MissedAll:
		return q, nil, invalid("ScheduleOptions.Missed: no %d", o.Missed)
	case o.Overlap < 0 || o.Overlap > OverlapSkip:
		return q, nil, invalid("ScheduleOptions.Overlap: no %d", o.Overlap)
	case o.Job.Unique != Unique{}:
		return q, nil, invalid("ScheduleOptions.Job: Unique is set: see Overlap")
	case o.Job.ID != "" || o.Job.Delay != 0 || !o.Job.At.IsZero():
		return q, nil, invalid("ScheduleOptions.Job: ID, Delay or At is set")
	}
	q, job, err := c.checkSubmit(name, method, [][]byte{args.Data}, []SubmitOptions{o.Job})
	if err != nil {
		return q, nil, err
	}
	r := newRecord(method, args.Codec, args.Data, job)
	s = &schedule{
		Line: line, Zone: cmp.Or(o.Zone, "UTC"), Job: r, Expires: ms(job.Expires), Missed: o.Missed, Overlap: o.Overlap,
	}
	return q, s, s.parse()
}

// putSchedule writes a schedule unless the queue has it.
func (c *Client) putSchedule(ctx context.Context, q queue, name string, s *schedule, replace bool) error {
	return c.changeSchedule(ctx, q, name, func(old *schedule, now time.Time) (*schedule, error) {
		if old != nil {
			same, err := old.same(s)
			if err != nil || same {
				return old, err
			}
			if !replace {
				return nil, ErrScheduleExists
			}
			s.Paused, s.Last, s.LastRun, s.Runs, s.Skipped = old.Paused, old.Last, old.LastRun, old.Runs, old.Skipped
		}
		s.Created = now.UnixMilli()
		s.Next = s.after(now).UnixMilli()
		return s, nil
	})
}

// PauseSchedule makes a schedule submit no jobs until ResumeSchedule. It returns
// [ErrNotFound] if the queue has no schedule of this name.
func (c *Client) PauseSchedule(ctx context.Context, queue, name string) error {
	return c.steerSchedule(ctx, "pause", queue, name, func(s *schedule, _ time.Time) *schedule {
		s.Paused = true
		return s
	})
}

// ResumeSchedule ends a PauseSchedule. Runs that were due meanwhile are left out.
func (c *Client) ResumeSchedule(ctx context.Context, queue, name string) error {
	return c.steerSchedule(ctx, "resume", queue, name, func(s *schedule, now time.Time) *schedule {
		if s.Paused {
			s.Paused, s.Next = false, s.after(now).UnixMilli()
		}
		return s
	})
}

// RemoveSchedule removes a schedule. Jobs that it has submitted stay. It returns
// [ErrNotFound] if the queue has no schedule of this name.
func (c *Client) RemoveSchedule(ctx context.Context, queue, name string) error {
	return c.steerSchedule(ctx, "remove", queue, name, func(*schedule, time.Time) *schedule { return nil })
}

func (c *Client) steerSchedule(ctx context.Context, what, name, schedules string, change func(s *schedule, now time.Time) *schedule) error {
	return c.steerQueue(ctx, what+" schedule "+schedules, name, func(ctx context.Context, q queue) error {
		if err := checkName("schedule", schedules); err != nil {
			return err
		}
		return c.changeSchedule(ctx, q, schedules, func(s *schedule, now time.Time) (*schedule, error) {
			if s == nil {
				return nil, ErrNotFound
			}
			return change(s, now), nil
		})
	})
}

// changeSchedule replaces a schedule by what change makes of it, nil for none, unless
// another process changes it meanwhile: then it tries again.
func (c *Client) changeSchedule(ctx context.Context, q queue, name string, change func(old *schedule, now time.Time) (*schedule, error)) error {
	for try := 0; ; try++ {
		err := c.tryChange(ctx, q, name, change)
		fate := redisio.FateOf(err)
		switch {
		case errors.Is(err, errMoved):
		case errors.Is(err, ErrScheduleExists), errors.Is(err, ErrNotFound), errors.Is(err, ErrInvalid),
			fate == redisio.Settled, fate == redisio.Finished:
			return err
		}
		if !redisio.Sleep(ctx, redisio.Backoff(try)) {
			return redisio.Because(ctx.Err(), err)
		}
	}
}

func (c *Client) tryChange(ctx context.Context, q queue, name string, change func(old *schedule, now time.Time) (*schedule, error)) error {
	rdb := c.pool.Redis()
	before, err := rdb.HGet(ctx, q.schedules(), name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return redisio.Normalize(ctx, err)
	}
	var old *schedule
	if err == nil {
		if old, err = unpackSchedule(before); err != nil {
			return err
		}
	}
	// Not c.now, which may be a minute old: the first run depends on it.
	if err := c.clock.Sync(ctx, rdb); err != nil {
		return err
	}
	s, err := change(old, c.clock.Now())
	if err != nil {
		return err
	}
	after, next := []byte(nil), int64(-1)
	if s != nil {
		if after, err = s.pack(); err != nil {
			return err
		}
		if !s.Paused {
			next = s.Next
		}
	}
	if before == string(after) {
		return nil
	}
	keys := []string{q.schedules(), q.fires(), q.notes()}
	n, err := luaPutSchedule.Run(ctx, rdb, keys, name, before, after, next, maxSchedules).Int64()
	switch {
	case err != nil:
		return redisio.Normalize(ctx, err)
	case n == 0:
		return errMoved
	case n < 0:
		return invalid("queue %s has %d schedules, which is the limit", q.name, maxSchedules)
	}
	return nil
}

// ScheduleInfo describes a schedule.
type ScheduleInfo struct {
	Name    string    `json:"name"`
	Queue   string    `json:"queue"`
	Line    string    `json:"line"`
	Zone    string    `json:"zone"`
	Method  string    `json:"method"`
	Missed  Missed    `json:"missed,omitempty"`
	Overlap Overlap   `json:"overlap,omitempty"`
	Paused  bool      `json:"paused,omitempty"`
	Next    time.Time `json:"next,omitzero"`     // when it is due, unless it is paused
	Last    string    `json:"last,omitempty"`    // id of the job of the last run
	LastRun time.Time `json:"last_run,omitzero"` // when that was due
	Runs    int64     `json:"runs"`              // that were submitted
	Skipped int64     `json:"skipped,omitempty"` // that its policies left out
	Args    bus.Body  `json:"-"`

	s *schedule
}

// Upcoming returns the next n times at which the schedule is due, none if it is paused.
func (i ScheduleInfo) Upcoming(n int) []time.Time {
	if i.s == nil || i.Paused {
		return nil
	}
	var list []time.Time
	for t := i.Next; len(list) < n && !t.IsZero(); t = i.s.after(t) {
		list = append(list, t)
	}
	return list
}

// Schedules returns the schedules of a queue, sorted by name.
func (c *Client) Schedules(ctx context.Context, queue string) ([]ScheduleInfo, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	q, err := openQueue(c.pool, c.cfg.Site, queue)
	if err != nil {
		return nil, err
	}
	all, err := c.pool.Redis().HGetAll(ctx, q.schedules()).Result()
	if err != nil {
		return nil, wrap(ctx, "schedules of "+queue, err)
	}
	var list []ScheduleInfo
	for name, data := range all {
		s, err := unpackSchedule(data)
		if err != nil {
			return nil, fmt.Errorf("jobs: schedule %s of %s: %w", name, queue, err)
		}
		info := ScheduleInfo{
			Name: name, Queue: queue, Line: s.Line, Zone: s.Zone, Method: s.Job.Method, Missed: s.Missed, Overlap: s.Overlap,
			Paused: s.Paused, LastRun: timeOf(s.LastRun), Runs: s.Runs, Skipped: s.Skipped,
			Args: bus.Body{Codec: s.Job.Codec, Data: s.Job.Args}, s: s,
		}
		if s.Last != "" {
			info.Last = q.public(s.Last)
		}
		if !s.Paused {
			info.Next = time.UnixMilli(s.Next).In(s.zone)
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b ScheduleInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// same reports whether two schedules do the same.
func (s *schedule) same(other *schedule) (bool, error) {
	a, errA := s.definition().pack()
	b, errB := other.definition().pack()
	return bytes.Equal(a, b), errors.Join(errA, errB)
}

func (s *schedule) definition() *schedule {
	return &schedule{Line: s.Line, Zone: s.Zone, Job: s.Job, Expires: s.Expires, Missed: s.Missed, Overlap: s.Overlap}
}

// parse fills in what the texts of a schedule mean.
func (s *schedule) parse() (err error) {
	if s.line, err = cron.Parse(s.Line); err != nil {
		return invalid("cron line %.200q: %v", s.Line, err)
	}
	if s.zone, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
		return invalid("ScheduleOptions.Zone: %.100q is not known here", s.Zone)
	}
	return nil
}
