package keywords

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// errLapsed is the cause of the end of a hook's context when the lease has ended.
var errLapsed = errors.New("keywords: the dispatcher's lease has ended, since Redis can't be reached")

// errDoubted is the error of a renewal that waits: the lease has ended, and Redis has lost
// its number, and perhaps that of another dispatcher which lives.
var errDoubted = errors.New("keywords: the lease has ended and Redis has lost its number: another dispatcher may live")

// lease is the right of one dispatcher to run hooks and to commit values, renewed
// three times in its length. It ends twice: in Redis, where the key of the owner
// expires, and before that by the monotonic clock of this process, which counts
// from the moment at which the last successful renewal was sent and stops a tenth of
// the length early. So a dispatcher that can't reach Redis has ended the context of
// its hooks when another dispatcher can acquire the lease.
//
// A tenure is the time under one fencing number, its epoch. A tenure begins when a
// dispatcher acquires the lease and when it finds that Redis has lost commits.
type lease struct {
	pool     *storage.Pool
	client   redis.UniversalClient // set by Run
	service  service
	channel  string
	name, id string // of the dispatcher, and of its worker
	length   time.Duration
	refuse   bool // return ErrServed rather than wait for another dispatcher's end
	clock    *redisio.Clock
	log      *slog.Logger
	trouble  *lastError // why the dispatcher waits for Redis
	label    string

	turn chan struct{} // holds a token, taken while Redis is asked to begin or to renew a tenure

	mu       sync.Mutex
	epoch    uint64 // 0: none was acquired
	token    string // epoch:id, the value of the owner's key
	until    time.Time
	ctx      context.Context // ends with the lease; the parent of every hook's
	cancel   context.CancelCauseFunc
	expiry   *time.Timer
	doubted  time.Time     // when Redis was found to have lost the number of a lease that had ended
	extended chan struct{} // closed when the lease, having ended, is valid again
}

func newLease(d *Dispatcher) *lease {
	l := &lease{
		pool: d.pool, service: d.service, channel: d.channel, name: d.cfg.Name, id: d.worker.ID(),
		length: d.cfg.Lease, refuse: d.cfg.Refuse, clock: d.clock, log: d.log, trouble: &d.trouble, label: d.label(),
		extended: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	l.turn <- struct{}{}
	return l
}

// acquire waits until no other dispatcher has the lease and begins a tenure. It goes
// on while Redis is unreachable, until ctx ends. A dispatcher that ends cleanly wakes
// those that wait.
//
// Where Redis has lost the fencing number of a dispatcher that was seen to live, or holds
// an earlier one, that dispatcher, which knows the values, has the rest of its lease to
// come back.
func (l *lease) acquire(ctx context.Context) error {
	var wake <-chan struct{}
	var others time.Duration // what was left of the other dispatcher's lease when it was seen last
	var seen uint64          // its fencing number
	var forgotten time.Time  // when Redis was found to have lost it
	waits := standby{l: l}
	defer waits.leave()
	for try := 0; ; {
		err := l.clock.Sync(ctx, l.client)
		var left int64
		if err == nil {
			yield := seen
			if !forgotten.IsZero() && time.Since(forgotten) >= others {
				yield = 0
			}
			left, err = l.begin(ctx, yield)
		}
		if ctx.Err() == nil {
			l.trouble.set(err)
		}
		pause := redisio.Backoff(try)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case redis.IsAuthError(err), redis.IsPermissionError(err), errors.Is(err, storage.ErrClosed):
			return err
		case err != nil:
			try++
			if try == 1 {
				l.log.Warn("keywords: lease not acquired, trying again", "error", err)
			}
		case left == leaseBegun:
			return nil
		case l.refuse:
			return redisio.Wrap(l.label, ErrServed)
		case left == leaseDeferred:
			waits.wait(ctx)
			if forgotten.IsZero() {
				forgotten = time.Now()
			}
			pause = l.length / 3
		default:
			waits.wait(ctx)
			theirs := time.Duration(left) * time.Millisecond
			others, forgotten = max(others, theirs), time.Time{}
			if number, err := l.client.HGet(ctx, l.service.fence(), l.name).Uint64(); err == nil {
				seen = max(seen, number)
			}
			pause = min(theirs, l.length/3)
			if wake == nil {
				var stop func()
				wake, stop = l.awaitRelease(ctx)
				defer stop()
				continue // the other dispatcher may have ended before the subscription began
			}
		}
		select {
		case <-wake:
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// awaitRelease returns a channel that receives when a dispatcher of this name
// releases its lease. Where Redis refuses the subscription the channel stays silent,
// and acquire looks three times in a lease.
func (l *lease) awaitRelease(ctx context.Context) (released <-chan struct{}, stop func()) {
	wake := make(chan struct{}, 1)
	ps, err := pubsub.NewClient(l.pool, pubsub.Config{})
	if err != nil {
		return wake, func() {}
	}
	stop = func() { _ = ps.Close() }
	topic, err := pubsub.ParseTopic[message](l.service.channel)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, l.length/3)
		defer cancel()
		_, err = pubsub.Listen(ctx, ps, topic, func(_ context.Context, m pubsub.Message[message]) error {
			if m.Err != nil || m.Value.Ended && m.Value.Dispatcher == l.name {
				signal(wake)
			}
			return nil
		})
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("keywords: the end of the other dispatcher will be noticed late", "error", err)
	}
	return wake, stop
}

// What begin returns in place of the milliseconds that are left of another
// dispatcher's lease.
const (
	leaseBegun    = 0
	leaseDeferred = -1
)

// begin tries once to begin a tenure: leaseBegun; leaseDeferred, if Redis stores a fencing
// number below yield, which a living dispatcher had; or the rest of the other
// dispatcher's lease in ms. A dispatcher that had a tenure before is refused with
// CodeFenced only if another has acquired a greater fencing number since.
func (l *lease) begin(ctx context.Context, yield uint64) (left int64, err error) {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	sent := time.Now()
	keys := []string{l.service.owner(l.name), l.service.fence(), l.service.meta(l.name)}
	reply, err := luaBegin.Run(ctx, l.client, keys, l.name, l.id, l.length.Milliseconds(), yield, l.number()).Int64()
	switch {
	case err != nil:
		return 0, redisio.Normalize(ctx, err)
	case reply <= 0:
		if reply == 0 {
			return leaseDeferred, nil
		}
		return -reply, nil
	}
	l.mu.Lock()
	l.epoch = uint64(reply)
	l.token = strconv.FormatUint(l.epoch, 10) + ":" + l.id
	l.mu.Unlock()
	l.extend(sent)
	return leaseBegun, nil
}

// renew renews the lease, also where it has expired or Redis has forgotten it,
// unless another dispatcher has acquired it since. n is how many values are known to
// be committed in this tenure; lost reports that Redis has fewer, or another tenure's.
func (l *lease) renew(client redis.UniversalClient, n func() Revision) (lost bool, err error) {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	ctx, cancel := context.WithTimeout(context.Background(), l.length/3)
	defer cancel()
	known := n()
	cautious := 0
	if l.mayBeSuperseded() {
		cautious = 1
	}
	sent := time.Now()
	keys := []string{l.service.owner(l.name), l.service.fence(), l.service.meta(l.name)}
	kept, err := luaRenew.Run(ctx, client, keys, l.owner(), l.name, l.number(), l.length.Milliseconds(), known.N, cautious).Int64()
	if err != nil {
		return false, redisio.Normalize(ctx, err)
	}
	if kept < 0 {
		l.mu.Lock()
		if l.doubted.IsZero() {
			l.doubted = time.Now()
		}
		l.mu.Unlock()
		return false, errDoubted
	}
	l.extend(sent)
	return kept == 0 && known.Epoch == l.number(), nil
}

// mayBeSuperseded reports whether another dispatcher may have begun a tenure that Redis
// has lost since: the lease has ended, and a living dispatcher has not yet had the time
// of a lease to renew its own.
func (l *lease) mayBeSuperseded() bool {
	valid, _ := l.valid()
	l.mu.Lock()
	defer l.mu.Unlock()
	return valid == nil && (l.doubted.IsZero() || time.Since(l.doubted) < l.length)
}

// extend makes the lease valid for nine tenths of its length from the moment at which
// the request was sent.
func (l *lease) extend(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.doubted = sent.Add(l.length-l.length/10), time.Time{}
	left := time.Until(l.until)
	if left <= 0 {
		return
	}
	if l.ctx == nil || l.ctx.Err() != nil {
		l.ctx, l.cancel = context.WithCancelCause(context.Background())
		close(l.extended)
		l.extended = make(chan struct{})
	}
	if l.expiry == nil {
		l.expiry = time.AfterFunc(left, func() { l.valid() })
		return
	}
	l.expiry.Reset(left)
}

// valid returns the context that ends with the lease; nil if it has ended, and then a
// channel that is closed when the lease is valid again. The clock decides, not the
// timer: a process that was stopped for longer than its lease starts no hook when it
// is continued.
func (l *lease) valid() (ctx context.Context, extended <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ctx == nil:
	case time.Now().Before(l.until):
		if l.ctx.Err() == nil {
			return l.ctx, nil
		}
	case l.ctx.Err() == nil:
		l.log.Warn("keywords: lease ended without a renewal, hooks are stopped until it is renewed")
		l.cancel(errLapsed)
	}
	return nil, l.extended
}

// attach returns a context for hooks: it is ctx, and ends with the lease too.
func (l *lease) attach(ctx context.Context) (hooks context.Context, detach func(), err error) {
	own, _ := l.valid()
	if own == nil {
		return nil, nil, errLapsed
	}
	hooks, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(own, func() { cancel(context.Cause(own)) })
	return hooks, func() { stop(); cancel(nil) }, nil
}

// end ends the lease in this process.
func (l *lease) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if l.ctx != nil {
		l.cancel(cause)
	}
	if l.expiry != nil {
		l.expiry.Stop()
	}
}

// release gives the lease back to Redis and tells watchers and dispatchers that wait.
func (l *lease) release(ctx context.Context) {
	msg, err := storage.MsgPack.Marshal(&message{Dispatcher: l.name, Ended: true})
	if err == nil {
		err = luaRelease.Run(ctx, l.client, []string{l.service.owner(l.name)}, l.owner(), l.channel, msg).Err()
	}
	if err != nil {
		l.log.Warn("keywords: lease not released, it expires by itself", "expires_in", l.length, "error", err)
	}
}

// fenced is the error of a dispatcher whose lease another dispatcher has acquired.
func (l *lease) fenced() error {
	return &Error{Code: CodeFenced, Service: l.service.name, Text: "another dispatcher has taken over"}
}

// number returns the fencing number of the tenure.
func (l *lease) number() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// owner returns what the owner's key holds in this tenure.
func (l *lease) owner() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}
