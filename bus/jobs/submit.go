package jobs

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// SubmitOptions are the options of [Submit] and [SubmitMany].
type SubmitOptions struct {
	// ID is the job's id in its queue, of at most 200 bytes, with which a Submit may be
	// repeated: the queue does not take another job with it before the job is done, and
	// a day after. In SubmitMany the jobs have the ids ID-0, ID-1 and so on. Defaults to
	// an id of the queue's.
	ID string

	// Delay is how long the job waits before it may begin, and At, if it is set, when it
	// may begin. At most one of them is set. Defaults to no delay.
	Delay time.Duration
	At    time.Time

	// Attempts is how often the job is begun at most. Defaults to 5.
	Attempts int

	// Timeout limits each attempt: the handler's context ends then. Defaults to no
	// limit.
	Timeout time.Duration

	// Expires is how long after Submit an attempt may begin. Then the job goes to the
	// dead letters. Defaults to always.
	Expires time.Duration

	// Priority says which jobs begin first. Defaults to PriorityNormal.
	Priority Priority

	// Group is the tenant, say, for which the job is run, a name of at most 100 bytes.
	// Groups take turns: a group with many jobs delays one of another by a round at most.
	// Jobs with and without a group have half of the workers each, while there are both.
	// See QueueConfig.GroupConcurrency and GroupRate. Defaults to no group.
	Group string

	// Unique says what becomes of the job while another has the same key. Defaults to
	// nothing.
	Unique Unique

	// Header is sent beside the arguments: bus.HeaderFrom returns it in the handler.
	Header bus.Header

	// KeepResult is how long the result is kept for Wait. At most 30 days. Defaults to
	// not at all.
	KeepResult time.Duration
}

const (
	defaultAttempts = 5
	maxAttempts     = 1000
	maxID           = 200
	maxGroup        = 100
	maxHeader       = 64 << 10             // bytes
	maxKeep         = 30 * 24 * time.Hour  // of KeepResult
	maxWait         = 366 * 24 * time.Hour // of Delay, At, Timeout and Expires
	rememberOwn     = 24 * time.Hour       // that an id of the caller's is known after its job was done
	rememberOurs    = 10 * time.Minute     // the same of an id that Submit made, which only a repeated write uses
)

func (o SubmitOptions) complete() (SubmitOptions, error) {
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	for _, d := range []struct {
		name string
		d    time.Duration
		max  time.Duration
	}{{"Delay", o.Delay, maxWait}, {"Timeout", o.Timeout, maxWait}, {"Expires", o.Expires, maxWait}, {"KeepResult", o.KeepResult, maxKeep}} {
		switch {
		case d.d < 0:
			return o, invalid("SubmitOptions.%s: %v is negative", d.name, d.d)
		case d.d > d.max:
			return o, invalid("SubmitOptions.%s: %v is more than %v", d.name, d.d, d.max)
		case d.d > 0 && d.d < time.Millisecond:
			return o, invalid("SubmitOptions.%s: %v is less than 1ms", d.name, d.d)
		}
	}
	size := 0
	for name, value := range o.Header {
		size += len(name) + len(value)
	}
	switch {
	case o.Attempts < 0 || o.Attempts > maxAttempts:
		return o, invalid("SubmitOptions.Attempts: %d is not between 1 and %d", o.Attempts, maxAttempts)
	case o.Priority < 0 || o.Priority >= priorities:
		return o, invalid("SubmitOptions.Priority: no %v", o.Priority)
	case o.Delay > 0 && !o.At.IsZero():
		return o, invalid("SubmitOptions.Delay and At are both set")
	case !o.At.IsZero() && (o.At.Unix() <= 0 || time.Until(o.At) > maxWait):
		return o, invalid("SubmitOptions.At: %v is before 1970 or in more than %v", o.At, maxWait)
	case size > maxHeader:
		return o, invalid("SubmitOptions.Header: %d bytes, the limit is %d", size, maxHeader)
	}
	var err error
	if o.Unique, err = o.Unique.complete(o); err != nil {
		return o, err
	}
	if o.Group != "" {
		if err := checkName("SubmitOptions.Group", o.Group); err != nil {
			return o, err
		}
		if len(o.Group) > maxGroup {
			return o, invalid("SubmitOptions.Group: %d bytes, the limit is %d", len(o.Group), maxGroup)
		}
	}
	if o.ID == "" {
		return o, nil
	}
	if err := checkName("SubmitOptions.ID", o.ID); err != nil {
		return o, err
	}
	if _, taken := placeOf(o.ID); taken || len(o.ID) > maxID {
		return o, invalid("SubmitOptions.ID: %q has the form of a queue's own ids, or more than %d bytes", o.ID, maxID)
	}
	return o, nil
}

// Submitted is what became of a job of [SubmitMany].
type Submitted struct {
	ID  string
	New bool // false: the queue had the job before, or another has its unique key: ID is that one's
}

// Submit enters a job into a queue, to be run by a worker that serves it, and returns
// the job's id, of the form queue:id. If the queue has the job with SubmitOptions.ID
// already, Submit returns its id and enters nothing. A job that SubmitOptions.Unique refuses
// ends with [ErrDuplicate] and the id of the other.
func Submit[A, R any](ctx context.Context, c *Client, queue string, m bus.Method[A, R], args A, opts ...SubmitOptions) (id string, err error) {
	data, err := m.Codec().Marshal(args)
	if err != nil {
		return "", invalid("arguments of %s: %v", m.Name(), err)
	}
	return SubmitRaw(ctx, c, queue, m.Name(), bus.Body{Codec: m.Codec(), Data: data}, opts...)
}

// SubmitMany enters a job for each element of list, in order, with one round trip for
// each 256. If that fails, the elements of its result that have an ID are what the queue
// has for certain. Where it had to repeat a write, New may be false for a job that this
// SubmitMany has entered.
func SubmitMany[A, R any](ctx context.Context, c *Client, queue string, m bus.Method[A, R], list []A, opts ...SubmitOptions) ([]Submitted, error) {
	args := make([][]byte, len(list))
	for i, a := range list {
		data, err := m.Codec().Marshal(a)
		if err != nil {
			return nil, invalid("arguments of job %d: %v", i, err)
		}
		args[i] = data
	}
	done, _, err := c.submit(ctx, queue, m.Name(), m.Codec(), args, true, opts)
	return done, err
}

// SubmitRaw is [Submit] with a method's name and encoded arguments.
func SubmitRaw(ctx context.Context, c *Client, queue, method string, args bus.Body, opts ...SubmitOptions) (id string, err error) {
	if !args.Codec.Valid() {
		return "", invalid("unknown %v", args.Codec)
	}
	all, refused, err := c.submit(ctx, queue, method, args.Codec, [][]byte{args.Data}, false, opts)
	if err != nil {
		return "", err
	}
	if refused {
		return all[0].ID, fmt.Errorf("jobs: submit %s to %s: %w: %s", method, queue, ErrDuplicate, all[0].ID)
	}
	return all[0].ID, nil
}

// submit also returns whether SubmitOptions.Unique refused a job.
func (c *Client) submit(ctx context.Context, name, method string, codec storage.Codec, args [][]byte, numbered bool, opts []SubmitOptions) (done []Submitted, refused bool, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	defer cancel()
	wrap := func(err error) error { return redisio.Wrap(fmt.Sprintf("jobs: submit %s to %s", method, name), err) }
	q, o, err := c.checkSubmit(name, method, args, opts)
	if err == nil {
		err = c.admit(ctx, q)
	}
	if err != nil {
		return nil, false, wrap(err)
	}
	now := time.Now()
	if o.Expires > 0 {
		now = c.now(ctx)
	}
	done = make([]Submitted, len(args))
	for first := 0; first < len(args); first += submitCount {
		end := min(first+submitCount, len(args))
		jobs, err := pack(method, codec, args[first:end], o, now.UnixMilli(), first, numbered)
		if err == nil {
			err = c.write(ctx, q, jobs, o, done[first:end], &refused)
		}
		if err != nil {
			return done, refused, wrap(err)
		}
	}
	return done, refused, nil
}

// submitCount is how many jobs are submitted in one round trip.
const submitCount = 256

func (c *Client) checkSubmit(name, method string, args [][]byte, opts []SubmitOptions) (q queue, o SubmitOptions, err error) {
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return q, o, invalid("more than one SubmitOptions")
	}
	if o, err = o.complete(); err != nil {
		return q, o, err
	}
	if err = checkName("method", method); err != nil {
		return q, o, err
	}
	for i, a := range args {
		if len(a) > c.cfg.MaxMessage {
			return q, o, invalid("arguments of job %d: %d bytes, ClientConfig.MaxMessage is %d", i, len(a), c.cfg.MaxMessage)
		}
	}
	q, err = openQueue(c.pool, c.cfg.Site, name)
	return q, o, err
}

// packed is a job on its way into a queue.
type packed struct {
	id     string // "": that of its entry
	unique string
	data   []byte
}

func pack(method string, codec storage.Codec, args [][]byte, o SubmitOptions, now int64, first int, numbered bool) ([]packed, error) {
	all := make([]packed, len(args))
	for i, a := range args {
		r := newRecord(method, codec, a, o)
		r.At = now
		if o.Expires > 0 {
			r.Expires = now + ms(o.Expires)
		}
		switch {
		case o.ID != "":
			if r.Remember = ms(rememberOwn); numbered {
				r.ID += "-" + strconv.Itoa(first+i)
			}
		case o.Delay > 0 || !o.At.IsZero() || o.Group != "" || o.Unique.Mode != 0:
			r.ID, r.Remember = strings.ToLower(rand.Text()), ms(rememberOurs)
		}
		if o.Unique.Mode != UniqueThrottle {
			r.Unique = o.Unique.key(method, codec, a)
		}
		data, err := r.pack()
		if err != nil {
			return nil, err
		}
		all[i] = packed{r.ID, o.Unique.key(method, codec, a), data}
	}
	return all, nil
}

// newRecord returns the record of a job, without its times.
func newRecord(method string, codec storage.Codec, args []byte, o SubmitOptions) record {
	return record{
		ID: o.ID, Method: method, Codec: codec, Args: args, Header: maps.Clone(o.Header), Priority: o.Priority,
		Timeout: ms(o.Timeout), Attempts: o.Attempts, Keep: ms(o.KeepResult), Group: o.Group,
	}
}

// write enters jobs: those without an id by XADD, the others by a script, which may be
// repeated. It fills in the elements of done whose jobs the queue has.
func (c *Client) write(ctx context.Context, q queue, jobs []packed, o SubmitOptions, done []Submitted, refused *bool) error {
	repeatable, spelled := jobs[0].id != "", false
	left := make([]int, len(jobs)) // of jobs
	for i := range jobs {
		left[i] = i
	}
	return c.untilTaken(ctx, repeatable, func() error {
		cmds := make([]redisio.OnceCmd, len(left))
		for i, n := range left {
			cmds[i] = redisio.Once(context.Background(), submitCommand(q, jobs[n], o, spelled)...)
		}
		if err := c.sender.do(ctx, cmds); err != nil {
			return err
		}
		var worst error
		again := left[:0]
		for i, n := range left {
			err := cmds[i].Err()
			switch {
			case err == nil && repeatable:
				answer, _ := cmds[i].Slice()
				if len(answer) < 2 {
					return fmt.Errorf("unexpected answer %v", answer)
				}
				what, _ := answer[0].(int64)
				id, _ := answer[1].(string)
				done[n] = Submitted{q.public(id), what == 1}
				*refused = *refused || what == 0 && o.Unique.Mode == UniqueRefuse
			case err == nil:
				entry, _ := cmds[i].Val().(string)
				done[n] = Submitted{q.public(place{o.Priority, entry}.id()), true}
			default:
				spelled = spelled || redisio.IsUnknownScript(err)
				again = append(again, n)
				if worst == nil || redisio.FateOf(worst) == redisio.Unsent {
					worst = err
				}
			}
		}
		left = again
		return worst
	})
}

func submitCommand(q queue, j packed, o SubmitOptions, spelled bool) []any {
	if j.id == "" {
		return []any{"xadd", q.ready(o.Priority), "*", "j", j.data}
	}
	due, delay := int64(0), o.Delay
	if o.Unique.Mode == UniqueDebounce {
		delay = o.Unique.For
	}
	if !o.At.IsZero() {
		due = o.At.UnixMilli()
	}
	command := luaSubmit.Command(q.keys(q.done(j.id), q.throttle(j.unique)), []any{
		j.id, o.Priority.letter(), j.data, ms(delay), due, o.Group, j.unique, modes[o.Unique.Mode], ms(o.Unique.For),
	})
	if spelled {
		command = luaSubmit.Spell(command)
	}
	return command
}
