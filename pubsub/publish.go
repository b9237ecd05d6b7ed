package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Publish publishes v and returns the number of receivers that Redis counted,
// matching patterns included. On a cluster Redis counts those of one server only. The
// message is written at most once, and messages that one goroutine publishes on a
// channel arrive in that order. The errors are
//
//   - [ErrTooLarge], or an error of the codec: v was not published;
//   - [storage.ErrQueueFull]: too many writes wait for Redis; v was not published;
//   - [storage.ErrIndeterminate]: the connection broke, or ctx or
//     Config.Timeout ended, before Redis answered: v may have been published. If
//     ctx or the Timeout ended, the error also matches [context.DeadlineExceeded]
//     or [context.Canceled];
//   - an error reply of Redis, such as NOPERM.
//
// While Redis is unreachable Publish waits.
func Publish[T any](ctx context.Context, c *Client, to Topic[T], v T) (receivers int, err error) {
	if c == nil {
		return 0, fmt.Errorf("pubsub: publish to %s: %w", to, errNilClient)
	}
	p := newPublish(ctx, c, to.s)
	p.done, p.reused = c.tokens.get(), true
	p.encode(v)
	receivers, err = p.wait(ctx)
	if !errors.Is(err, errGivenUp) {
		c.tokens.put(p.done)
	}
	return receivers, err
}

// PublishAsync publishes as [Publish] does, without waiting for Redis. Ctx, or
// Config.Timeout, bounds the time until Redis has answered.
func PublishAsync[T any](ctx context.Context, c *Client, to Topic[T], v T) *Future {
	if c == nil {
		f := &Future{publish{done: make(chan struct{}), err: fmt.Errorf("pubsub: publish to %s: %w", to, errNilClient)}}
		close(f.p.done)
		return f
	}
	f := &Future{newPublish(ctx, c, to.s)}
	f.p.done = make(chan struct{})
	f.p.encode(v)
	return f
}

// Future is the result of a [PublishAsync].
type Future struct{ p publish }

// Done returns a channel that is closed when the result is known.
func (f *Future) Done() <-chan struct{} { return f.p.done }

// Wait waits for the result and returns it, as [Publish] does. If ctx ends first, it
// returns the error of ctx.
func (f *Future) Wait(ctx context.Context) (receivers int, err error) { return f.p.wait(ctx) }

// publish is a message on its way to Redis.
type publish struct {
	c      *Client
	ctx    context.Context
	late   <-chan struct{} // closed when Config.Timeout is over; nil: ctx alone says
	spec   spec
	done   chan struct{} // gets a token, or is closed, once n and err are set
	reused bool          // it gets a token
	passed bool          // all middleware has passed it on
	n      int
	err    error
}

// tokens holds the empty channels of one client's Publish. They are not shared with
// other clients: a channel must not leave its bubble of testing/synctest.
type tokens struct{ empty sync.Pool }

func (t *tokens) get() chan struct{} {
	if done, ok := t.empty.Get().(chan struct{}); ok {
		return done
	}
	return make(chan struct{}, 1)
}

func (t *tokens) put(done chan struct{}) { t.empty.Put(done) }

func newPublish(ctx context.Context, c *Client, s spec) publish {
	p := publish{c: c, ctx: ctx, spec: s}
	if _, ok := ctx.Deadline(); !ok && c.cfg.Timeout > 0 {
		p.late = c.lateness.of(c.cfg.Timeout)
	}
	return p
}

// lateness returns channels that are closed when a timeout is over. Publishes that begin
// at about the same time share a timer, which is up to a sixteenth of the timeout late.
type lateness struct {
	mu     sync.Mutex
	shared chan struct{}
	until  time.Time // when it becomes too old to be shared
}

func (l *lateness) of(timeout time.Duration) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.shared == nil || now.After(l.until) {
		late := make(chan struct{})
		l.shared, l.until = late, now.Add(timeout/16)
		time.AfterFunc(timeout+timeout/16, func() { close(late) })
	}
	return l.shared
}

// Err tells the writer whether the publish is still wanted.
func (p *publish) Err() error {
	select {
	case <-p.late:
		return context.DeadlineExceeded
	default:
	}
	return p.ctx.Err()
}

// errGivenUp marks a wait that ended before the write did.
var errGivenUp = fmt.Errorf("%w", storage.ErrIndeterminate)

func (p *publish) wait(ctx context.Context) (receivers int, err error) {
	select {
	case <-p.done:
		return p.n, p.err
	default:
	}
	select {
	case <-p.done:
		return p.n, p.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.late:
		err = context.DeadlineExceeded
	}
	err = redisio.Because(err, redisio.Of(p.c.pool).Writer().Trouble())
	return 0, fmt.Errorf("pubsub: publish to %s: %w: %w", p.spec.name, errGivenUp, err)
}

// encode encodes a value and passes it to the middleware.
func (p *publish) encode(v any) {
	payload, err := p.spec.codec.Marshal(v)
	if err != nil {
		p.settle(0, err)
		return
	}
	if p.c.publishing == nil {
		if err := p.write(payload); err != nil {
			p.settle(0, err)
		}
		return
	}
	err = p.c.publishing(p.ctx, &Packet{Channel: p.spec.name, Codec: p.spec.codec, Payload: payload, publish: p})
	if !p.passed { // a middleware dropped it, perhaps with an error
		p.settle(0, err)
	}
}

// pass is the innermost handler of Config.Publishing.
func pass(_ context.Context, packet *Packet) error {
	p := packet.publish
	if p == nil || p.passed {
		return errors.New("pubsub: a middleware must pass on the packet that it got, once")
	}
	err := p.write(packet.Payload)
	p.passed = err == nil
	return err
}

// write queues a payload. The writer then calls written with the result, unless write
// returns an error.
func (p *publish) write(payload []byte) error {
	c := p.c
	if len(payload) > c.cfg.MaxMessage {
		return fmt.Errorf("%w: %d bytes, Config.MaxMessage is %d", ErrTooLarge, len(payload), c.cfg.MaxMessage)
	}
	select {
	case <-c.done:
		return ErrClosed
	default:
	}
	if err := p.Err(); err != nil {
		return err
	}
	w, sharded := redisio.Of(c.pool).Writer(), p.spec.kind == shard
	if p.spec.history.zero() {
		w.Publish(p, c.channel(p.spec), payload, sharded, p.written)
		return nil
	}
	command := "publish"
	if sharded {
		command = "spublish"
	}
	stream, meta := c.historyKeys(p.spec)
	w.Eval(p, p.written, publishScript, []string{stream, meta}, c.channel(p.spec), command, payload,
		p.spec.history.Size, p.spec.history.TTL.Milliseconds(), rand.Text()[:epochLen])
	return nil
}

// channel returns the name of a topic's channel in Redis.
func (c *Client) channel(s spec) string {
	name := s.name
	if s.kind == shard && !s.history.zero() {
		name = redisio.HashTag(name) // in the slot of the history
	}
	if c.prefix != "" {
		name = c.prefix + ":" + name
	}
	return name
}

// written is called by the writer with the result.
func (p *publish) written(n int64, err error) {
	if errors.Is(err, storage.ErrClosed) {
		err = ErrClosed
	}
	p.settle(int(n), err)
}

func (p *publish) settle(n int, err error) {
	if err != nil {
		p.c.stats.refused.Add(1)
		err = fmt.Errorf("pubsub: publish to %s: %w", p.spec.name, err)
	} else {
		p.c.stats.published.Add(1)
	}
	if p.n, p.err = n, err; p.reused {
		p.done <- struct{}{}
	} else {
		close(p.done)
	}
}
