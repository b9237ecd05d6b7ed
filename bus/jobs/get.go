package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// State is where a job is.
type State string

// The states of a job.
const (
	StateWaiting   State = "waiting"   // it may begin
	StateRunning   State = "running"   // a worker has it
	StateScheduled State = "scheduled" // it waits until it is due: delayed, snoozed, or to be tried again
	StateDead      State = "dead"      // it is a dead letter
	StateDone      State = "done"      // its handler has succeeded, and its id or result is still known
)

// Info describes a job. Of a job that is done only ID, Queue and State are known.
type Info struct {
	ID        string        `json:"id"` // queue:id
	Queue     string        `json:"queue"`
	State     State         `json:"state"`
	Method    string        `json:"method,omitempty"`
	Priority  Priority      `json:"priority,omitempty"`
	Begun     int           `json:"begun"`    // attempts that were begun, as far as they count
	Attempts  int           `json:"attempts"` // at most
	Submitted time.Time     `json:"submitted,omitzero"`
	Due       time.Time     `json:"due,omitzero"`        // of StateScheduled, in Redis time
	Running   time.Duration `json:"running_ns,omitzero"` // since the attempt was begun
	Worker    string        `json:"worker,omitempty"`    // that has the job, or had the last attempt that failed
	Error     string        `json:"error,omitempty"`     // of the last attempt that failed
	Stack     string        `json:"stack,omitempty"`     // of a panic
	Failed    time.Time     `json:"failed,omitzero"`     // when that attempt ended
	Progress  string        `json:"progress,omitempty"`  // what the handler reported
	Header    bus.Header    `json:"header,omitempty"`
	Group     string        `json:"group,omitempty"`
	Args      bus.Body      `json:"-"`

	unique, flow string
}

func (q queue) info(id string, state State, r *record) Info {
	return Info{
		ID: q.public(id), Queue: q.name, State: state, Method: r.Method, Priority: r.Priority,
		Begun: r.Used, Attempts: r.Attempts, Submitted: timeOf(r.At), Worker: r.Worker,
		Error: r.Error, Stack: r.Stack, Failed: timeOf(r.Failed), Header: bus.Header(r.Header),
		Args: bus.Body{Codec: r.Codec, Data: r.Args}, Group: r.Group, unique: r.Unique, flow: r.Flow,
	}
}

// Get returns a job, or [ErrNotFound].
func (c *Client) Get(ctx context.Context, id string) (Info, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return Info{}, err
	}
	defer cancel()
	q, job, err := c.job(id)
	if err == nil {
		var info Info
		if info, err = c.get(ctx, q, job); err == nil {
			return info, nil
		}
	}
	return Info{}, wrap(ctx, id, err)
}

// get looks again if the job was not in the entry that it should have: then it has moved
// meanwhile, or is done.
func (c *Client) get(ctx context.Context, q queue, id string) (info Info, err error) {
	for range maxMoves {
		if info, err = c.find(ctx, q, id); !errors.Is(err, errMoved) {
			return info, err
		}
	}
	return info, ErrNotFound
}

// maxMoves is how often get looks for one job.
const maxMoves = 8

// errMoved is the error of a job that was not where it was said to be.
var errMoved = errors.New("jobs: job has moved")

func (c *Client) find(ctx context.Context, q queue, id string) (Info, error) {
	var held, at, progress *redis.StringCmd
	var dead *redis.FloatCmd
	var later [priorities]*redis.FloatCmd
	var done *redis.IntCmd
	_, err := c.pool.Redis().TxPipelined(ctx, func(tx redis.Pipeliner) error {
		held, at, dead = tx.HGet(ctx, q.jobs(), id), tx.HGet(ctx, q.at(), id), tx.ZScore(ctx, q.dead(), id)
		progress, done = tx.Get(ctx, q.progress(id)), tx.Exists(ctx, q.done(id))
		for p := range later {
			later[p] = tx.ZScore(ctx, q.later(), Priority(p).letter()+id)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return Info{}, err
	}
	if held.Err() == nil {
		r, err := unpackRecord(held.Val())
		if err != nil {
			return Info{}, err
		}
		info := q.info(id, StateScheduled, &r)
		switch {
		case dead.Err() == nil:
			info.State = StateDead
		case at.Err() == nil:
			info.State = StateWaiting // for its group's turn
		default:
			info.Due = time.UnixMilli(int64(later[r.Priority].Val()))
		}
		return info, nil
	}
	if done.Val() > 0 {
		return Info{ID: q.public(id), Queue: q.name, State: StateDone}, nil
	}
	p, ok := placeOf(id)
	if at.Err() == nil {
		p, ok = parsePlace(at.Val())
	}
	if !ok {
		return Info{}, ErrNotFound
	}
	info, err := c.entryInfo(ctx, q, p)
	info.Progress = progress.Val()
	return info, err
}

// entryInfo returns the job of an entry.
func (c *Client) entryInfo(ctx context.Context, q queue, p place) (Info, error) {
	var found *redis.XMessageSliceCmd
	var pending *redis.XPendingExtCmd
	_, err := c.pool.Redis().Pipelined(ctx, func(pipe redis.Pipeliner) error {
		found = pipe.XRange(ctx, q.ready(p.priority), p.entry, p.entry)
		pending = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: q.ready(p.priority), Group: group, Start: p.entry, End: p.entry, Count: 1})
		return nil
	})
	if found.Err() != nil {
		return Info{}, err
	}
	if len(found.Val()) == 0 {
		return Info{}, errMoved
	}
	info := q.entry(p, found.Val()[0].Values)
	if len(pending.Val()) > 0 {
		info.runs(pending.Val()[0])
	}
	return info, nil
}

// entry returns the job of an entry that waits.
func (q queue) entry(p place, values map[string]any) Info {
	data, _ := values["j"].(string)
	r, err := unpackRecord(data)
	if err != nil {
		r = record{Codec: storage.Raw, Args: []byte(data), Error: "malformed entry: " + err.Error()}
	}
	if p.priority != grouped {
		r.Priority = p.priority
	}
	id := r.ID
	if id == "" {
		id = p.id()
	}
	return q.info(id, StateWaiting, &r)
}

// runs completes the job of an entry that a worker has.
func (i *Info) runs(p redis.XPendingExt) {
	i.Begun += int(p.RetryCount)
	if p.Consumer == returned {
		return
	}
	i.State, i.Worker, i.Running = StateRunning, p.Consumer, p.Idle
}

// Counts are the numbers of a queue's jobs.
type Counts struct {
	Waiting   int64 `json:"waiting"`
	Running   int64 `json:"running"`
	Scheduled int64 `json:"scheduled"`
	Dead      int64 `json:"dead"`
	Paused    bool  `json:"paused"` // see Client.Pause
}

// Counts returns how many jobs a queue has. A queue that nothing was submitted to has
// none.
func (c *Client) Counts(ctx context.Context, queue string) (Counts, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return Counts{}, err
	}
	defer cancel()
	q, err := openQueue(c.pool, c.cfg.Site, queue)
	if err != nil {
		return Counts{}, err
	}
	var waiting, running []redis.Cmder
	var scheduled, dead, paused, turns *redis.IntCmd
	// One transaction, so that no job is counted twice or not at all.
	_, err = c.pool.Redis().TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, key := range q.streams() {
			waiting = append(waiting, tx.XLen(ctx, key))
			running = append(running, tx.XPending(ctx, key, group))
		}
		scheduled, dead, paused = tx.ZCard(ctx, q.later()), tx.ZCard(ctx, q.dead()), tx.Exists(ctx, q.paused())
		turns = tx.ZCard(ctx, q.grouped())
		return nil
	})
	if err != nil && !noGroup(err) {
		return Counts{}, wrap(ctx, "counts of "+queue, err)
	}
	n := Counts{Scheduled: scheduled.Val(), Dead: dead.Val(), Paused: paused.Val() > 0, Waiting: turns.Val()}
	for i := range waiting {
		n.Waiting += waiting[i].(*redis.IntCmd).Val()
		if p := running[i].(*redis.XPendingCmd).Val(); p != nil {
			n.Running += p.Count - p.Consumers[returned]
		}
	}
	n.Waiting -= n.Running
	return n, nil
}

// noGroup reports whether an error says that no worker has served the queue yet.
func noGroup(err error) bool { return redis.HasErrorPrefix(err, "NOGROUP") }
