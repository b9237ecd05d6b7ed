package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
)

// Flow is a graph of jobs of one queue: some begin when others have ended. The zero value is
// an empty flow. [Add] adds jobs, and [Client.SubmitFlow] submits them.
type Flow struct {
	// ID is the flow's id in its queue, of at most 100 bytes, with which SubmitFlow may be
	// repeated: until the flow has ended, and a day after. Defaults to a random one.
	ID string

	jobs []flowJob
	err  error
}

// flowJob is a job of a flow.
type flowJob struct {
	rec      record
	when     When
	needs    int
	children []int
}

// FlowJob is a job that [Add] added to a [Flow].
type FlowJob struct {
	flow *Flow
	n    int
}

// When says when a job of a flow begins, once those that it waits for have ended: how the
// flow deals with failures. A job fails if it becomes a dead letter, is cancelled, or is
// left out because one before it failed.
type When int

// The values of When. The zero value is WhenDone.
const (
	WhenDone   When = iota // none has failed; otherwise the job is left out
	WhenEnded              // in any case
	WhenFailed             // at least one has failed, to compensate; otherwise the job is left out
)

// FlowOptions are the options of [Add].
type FlowOptions struct {
	// After are the jobs that the job waits for, of the same flow. Defaults to none.
	After []FlowJob

	// When says when the job begins. Defaults to WhenDone.
	When When

	// Job has the options of the job. ID, Delay, At, Expires and Unique must not be set.
	Job SubmitOptions
}

const maxFlow = 1000 // jobs

// Add adds a job to a flow, which has up to 1,000. What is wrong with it is the error of
// SubmitFlow.
func Add[A, R any](f *Flow, m bus.Method[A, R], args A, opts ...FlowOptions) FlowJob {
	data, err := m.Codec().Marshal(args)
	if err != nil {
		err = invalid("arguments of %s: %v", m.Name(), err)
	}
	return f.add(m.Name(), bus.Body{Codec: m.Codec(), Data: data}, err, opts)
}

func (f *Flow) add(method string, args bus.Body, err error, opts []FlowOptions) FlowJob {
	n := len(f.jobs)
	var o FlowOptions
	if len(opts) == 1 {
		o = opts[0]
	}
	job, wrong := o.Job.complete()
	switch {
	case err != nil:
	case wrong != nil:
		err = wrong
	case len(opts) > 1:
		err = invalid("more than one FlowOptions")
	case n == maxFlow:
		err = invalid("a flow of more than %d jobs", maxFlow)
	case o.When < 0 || o.When > WhenFailed:
		err = invalid("FlowOptions.When: no %d", o.When)
	case o.Job.ID != "" || o.Job.Delay != 0 || !o.Job.At.IsZero() || o.Job.Expires != 0 || o.Job.Unique != Unique{}:
		err = invalid("FlowOptions.Job: ID, Delay, At, Expires or Unique is set")
	}
	after := slices.Clone(o.After)
	slices.SortFunc(after, func(a, b FlowJob) int { return cmp.Compare(a.n, b.n) })
	after = slices.Compact(after)
	for _, before := range after {
		if before.flow != f || before.n >= n {
			err = cmp.Or(err, invalid("FlowOptions.After: a job of another flow"))
			continue
		}
		f.jobs[before.n].children = append(f.jobs[before.n].children, n)
	}
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("job %d: %w", n, err)
	}
	f.jobs = append(f.jobs, flowJob{rec: newRecord(method, args.Codec, args.Data, job), when: o.When, needs: len(after)})
	return FlowJob{f, n}
}

// SubmitFlow enters the jobs of a flow into a queue, in one step, and returns the flow's id,
// of the form queue:id. The ids of its jobs are that and "." and their number. If the
// queue has the flow with Flow.ID already, SubmitFlow enters nothing.
//
// The end of a job and the beginning of those that wait for it are one step in Redis, so that
// no job waits for one that has ended. Flow.ID and the number of a job decide what it is: a
// dead letter of a flow that is retried runs again, and does not change the flow.
func (c *Client) SubmitFlow(ctx context.Context, queue string, f *Flow) (id string, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return "", err
	}
	defer cancel()
	q, args, err := c.packFlow(queue, f)
	if err != nil {
		return "", redisio.Wrap("jobs: submit a flow to "+queue, err)
	}
	local, _ := args[0].(string)
	if err := c.admit(ctx, q); err != nil {
		return "", redisio.Wrap("jobs: submit a flow to "+queue, err)
	}
	err = c.untilTaken(ctx, true, func() error {
		return redisio.Normalize(ctx, luaSubmitFlow.Run(ctx, c.pool.Redis(), q.keys(q.flow(local)), args...).Err())
	})
	if err != nil {
		return "", redisio.Wrap("jobs: submit a flow to "+queue, err)
	}
	return q.public(local), nil
}

const maxFlowBytes = 16 << 20

func (c *Client) packFlow(name string, f *Flow) (q queue, args []any, err error) {
	switch {
	case f == nil || len(f.jobs) == 0:
		return q, nil, invalid("a flow without jobs")
	case f.err != nil:
		return q, nil, f.err
	}
	id := f.ID
	if id == "" {
		id = strings.ToLower(rand.Text())
	}
	if err := checkName("Flow.ID", id); err != nil {
		return q, nil, err
	}
	if len(id) > maxGroup || strings.Contains(id, ".") {
		return q, nil, invalid("Flow.ID: %d bytes, the limit is %d, or a dot", len(id), maxGroup)
	}
	args = []any{id}
	now, size := time.Now().UnixMilli(), 0
	for n, j := range f.jobs {
		if q, _, err = c.checkSubmit(name, j.rec.Method, [][]byte{j.rec.Args}, nil); err != nil {
			return q, nil, err
		}
		r := j.rec
		r.ID, r.Flow, r.At = id+"."+strconv.Itoa(n), id, now
		data, err := r.pack()
		if err != nil {
			return q, nil, err
		}
		children := make([]string, len(j.children))
		for i, child := range j.children {
			children[i] = strconv.Itoa(child)
		}
		size += len(data)
		args = append(args, r.Method, data, r.Priority.letter()+r.Group, "def"[j.when:j.when+1], j.needs, strings.Join(children, ","))
	}
	if size > maxFlowBytes {
		return q, nil, invalid("a flow of %d bytes, the limit is %d", size, maxFlowBytes)
	}
	return q, args, nil
}

// FlowState is where a job of a flow is.
type FlowState string

// The states of a job of a flow.
const (
	FlowBlocked   FlowState = "blocked"   // it waits for others
	FlowEntered   FlowState = "entered"   // it is in the queue: see Client.Get
	FlowDone      FlowState = "done"      // its handler has succeeded
	FlowDead      FlowState = "dead"      // it is a dead letter
	FlowCancelled FlowState = "cancelled" // it was cancelled
	FlowLeftOut   FlowState = "left out"  // its When did not come true
)

var flowStates = map[string]FlowState{
	"b": FlowBlocked, "e": FlowEntered, "d": FlowDone, "x": FlowDead, "c": FlowCancelled, "o": FlowLeftOut, "u": FlowLeftOut,
}

// FlowInfo describes a flow.
type FlowInfo struct {
	ID   string        `json:"id"`   // queue:id
	Left int           `json:"left"` // jobs that have not ended
	Jobs []FlowJobInfo `json:"jobs"` // in the order in which they were added
}

// FlowJobInfo describes a job of a flow.
type FlowJobInfo struct {
	ID     string    `json:"id"` // queue:id
	Method string    `json:"method"`
	State  FlowState `json:"state"`
}

// Flow returns a flow, until a day after its last job has ended, or [ErrNotFound].
func (c *Client) Flow(ctx context.Context, id string) (FlowInfo, error) {
	info := FlowInfo{ID: id}
	err := c.steer(ctx, "flow", id, func(ctx context.Context, q queue, local string) error {
		fields, err := c.pool.Redis().HGetAll(ctx, q.flow(local)).Result()
		if err != nil {
			return err
		}
		if len(fields) == 0 {
			return ErrNotFound
		}
		info.Left, _ = strconv.Atoi(fields["left"])
		for n := 0; ; n++ {
			number := strconv.Itoa(n)
			state, ok := fields["s"+number]
			if !ok {
				return nil
			}
			info.Jobs = append(info.Jobs, FlowJobInfo{ID: id + "." + number, Method: fields["m"+number], State: flowStates[state]})
		}
	})
	return info, err
}

// CancelFlow cancels the jobs of a flow that have not ended, as [Client.Cancel] does. Those
// that wait for others are cancelled in one step: no further job begins. It may be repeated.
// It returns [ErrNotFound] if there is no such flow.
func (c *Client) CancelFlow(ctx context.Context, id string) error {
	var entered []int64
	err := c.steer(ctx, "cancel flow", id, func(ctx context.Context, q queue, local string) (err error) {
		entered, err = luaCancelFlow.Run(ctx, c.pool.Redis(), q.keys(q.flow(local)), maxFlow).Int64Slice()
		if errors.Is(err, redis.Nil) {
			return ErrNotFound
		}
		return err
	})
	for _, n := range slices.Backward(entered) { // first those that have not begun
		if _, failed := c.Cancel(ctx, id+"."+strconv.FormatInt(n, 10)); failed != nil && !errors.Is(failed, ErrNotFound) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// node returns the number of a job in its flow, "" if it has none.
func node(flow, id string) string {
	if flow == "" {
		return ""
	}
	return strings.TrimPrefix(id, flow+".")
}
