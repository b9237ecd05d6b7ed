package bus

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// StreamMethod is a method that answers with a stream of items: its name, the
// type of its arguments and that of an item.
//
//	var Tail = bus.NewStream[TailArgs, Line]("tail")
type StreamMethod[A, I any] struct {
	name  string
	codec storage.Codec
}

// NewStream returns the stream method of that name, of which the same holds as
// of a [NewMethod]'s.
func NewStream[A, I any](name string) StreamMethod[A, I] {
	mustBeFree(name)
	return StreamMethod[A, I]{name: name}
}

// Name returns the method's name.
func (m StreamMethod[A, I]) Name() string { return m.name }

// WithCodec returns a copy whose arguments and items travel in another codec
// than [storage.MsgPack].
func (m StreamMethod[A, I]) WithCodec(codec storage.Codec) StreamMethod[A, I] {
	mustBeValid(m.name, codec)
	m.codec = codec
	return m
}

// StreamOptions are the options of [Stream] and [StreamRaw].
type StreamOptions struct {
	// Header is as that of [CallOptions].
	Header Header

	// Window is how many items may be under way, sent and not yet consumed, and
	// WindowBytes how many bytes of them; one item may be larger than that. The
	// handler waits in between. 0: 64 items and 1 MiB. At most 10,000 items and
	// 64 MiB: what is under way is memory of Redis.
	Window, WindowBytes int
}

func (o StreamOptions) window() (window, error) {
	if o.Window < 0 {
		return window{}, fmt.Errorf("StreamOptions.Window: %d is negative", o.Window)
	}
	if o.WindowBytes < 0 {
		return window{}, fmt.Errorf("StreamOptions.WindowBytes: %d is negative", o.WindowBytes)
	}
	if o.Window > maxWindowItems {
		return window{}, fmt.Errorf("StreamOptions.Window: %d is more than %d", o.Window, maxWindowItems)
	}
	if o.WindowBytes > maxWindowBytes {
		return window{}, fmt.Errorf("StreamOptions.WindowBytes: %d is more than %d", o.WindowBytes, maxWindowBytes)
	}
	return window{uint64(cmp.Or(o.Window, 64)), uint64(cmp.Or(o.WindowBytes, 1<<20))}, nil
}

// Stream has one worker run a stream method and yields its items in order, as
// they come. Ranging over it makes the call; ranging again makes another. It
// ends after the last item, or with one error: those of [Call], and
// [ErrStreamBroken]. A handler that fails, or whose worker is lost, never looks
// like an end.
//
// To break out of the loop cancels the context of the handler, and so does the
// end of ctx. If ctx has no deadline, ClientConfig.Timeout bounds the wait until
// a worker has begun, and then the stream lasts as long as both ends live.
func Stream[A, I any](ctx context.Context, c *Client, to Address, m StreamMethod[A, I], args A, opts ...StreamOptions) iter.Seq2[I, error] {
	return func(yield func(I, error) bool) {
		var zero I
		body, err := encode(m.codec, args)
		if err != nil {
			yield(zero, redisio.Wrap(fmt.Sprintf("bus: stream %s", m.name), err))
			return
		}
		for data, err := range c.stream(ctx, to, &request{method: m.name, body: body}, opts) {
			var item I
			if err == nil {
				if err = data.decode(&item); err != nil {
					item, err = zero, redisio.Wrap(fmt.Sprintf("bus: stream %s: item", m.name), err)
				}
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// StreamRaw is [Stream] on encoded values.
func StreamRaw(ctx context.Context, c *Client, to Address, method string, args Body, opts ...StreamOptions) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		if err := checkRaw("stream", method, args); err != nil {
			yield(Body{}, err)
			return
		}
		c.stream(ctx, to, &request{method: method, body: args}, opts)(yield)
	}
}

// stream is the untyped core of Stream.
func (c *Client) stream(ctx context.Context, to Address, req *request, opts []StreamOptions) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		left := false // by the caller
		o, err := optional(opts)
		if err == nil {
			req.window, err = o.window()
		}
		if err == nil {
			req.header = o.Header
			_, err = c.through(ctx, to, req, true, func(ctx context.Context, req *request) (*reply, error) {
				return &reply{}, c.follow(ctx, to, req, func(item Body) bool {
					left = !yield(item, nil)
					return !left
				})
			})
		}
		if err != nil && !left {
			yield(Body{}, failed("stream", req, to, err))
		}
	}
}

// follow makes the call of a stream and hands its items to take, until that
// returns false.
func (c *Client) follow(ctx context.Context, to Address, req *request, take func(Body) bool) error {
	now := time.Now()
	end, _ := ctx.Deadline()
	begun := c.deadline(ctx, now)
	expired, stop := c.timers.until(now, begun)
	defer stop()
	results := make(chan result, req.window.items+streamNews)
	call, err := c.launchStream(ctx, to, req, now, begun, end, results)
	if err != nil {
		return err
	}
	defer func() { c.abandon(call) }()
	for told := (window{}); ; {
		select {
		case res := <-results:
			if res.err != nil {
				return res.err
			}
			expired = nil
			switch res.rep.kind {
			case kindReply:
				return res.rep.remote(req.method)
			case kindHeld:
				continue
			}
			if !take(res.rep.body) {
				return nil
			}
			spent := window{call.spent.items.Add(1), call.spent.bytes.Add(uint64(len(res.rep.body.Data)))}
			if 2*(spent.items-told.items) >= req.window.items || 2*(spent.bytes-told.bytes) >= req.window.bytes {
				told = spent
				c.credit(call)
			}
		case <-ctx.Done():
			return c.because(ctx.Err())
		case <-expired:
			return c.because(context.DeadlineExceeded)
		}
	}
}

// streamNews is how many results of a stream are no items of its window: that it
// has begun, its end, and an item too many.
const streamNews = 3

// launchAgain sends the request of a stream, again where that is allowed.
func (c *Client) launchStream(ctx context.Context, to Address, req *request, now, begun, end time.Time, results chan result) (*pendingCall, error) {
	ctx, cancel := withEnd(ctx, begun)
	defer cancel()
	for again := c.cfg.Retry.begin(false); ; now = time.Now() {
		call, err := c.begin(ctx, to, req, false, now, end, results)
		if err == nil {
			return call, nil
		}
		pause, ok := again.after(&err)
		if !ok || c.pause(ctx, nil, time.After(pause)) != nil {
			return nil, err
		}
	}
}

// item hands an item to the stream that it belongs to. It never waits: a worker
// that sends more than the window allows breaks the stream.
func (c *Client) deliverItem(rep *reply) {
	c.mu.Lock()
	call := c.calls[rep.id]
	c.mu.Unlock()
	switch {
	case call == nil, !call.stream, rep.seq <= call.received: // read twice, after a break
	case rep.seq != call.received+1, len(call.result) > cap(call.result)-streamNews:
		c.settle(call, nil, ErrStreamBroken)
	default:
		call.received = rep.seq
		call.result <- result{call, rep, nil}
	}
}

// credit tells the worker of a stream how much was consumed.
func (c *Client) credit(call *pendingCall) {
	c.mu.Lock()
	worker := call.worker
	c.mu.Unlock()
	if worker != "" {
		c.sendNotice(call, worker, notice{kind: kindCredit, id: call.id, spent: call.spent.load()})
	}
}

// streams returns the streams under way.
func (c *Client) streams() (open []*pendingCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if call.stream {
			open = append(open, call)
		}
	}
	return open
}

// remind repeats the credits, which may have been lost with Redis.
func (c *Client) repeatCredits() {
	for _, call := range c.streams() {
		c.credit(call)
	}
}

// breakStreams ends the streams whose items may have been lost with the inbox.
func (c *Client) breakStreams() {
	for _, call := range c.streams() {
		c.mu.Lock()
		begun := call.worker != ""
		c.mu.Unlock()
		if begun {
			c.settle(call, nil, ErrStreamBroken)
		}
	}
}

// HandleStream has h serve a stream method. Each send passes one item on, in
// order; it waits while the caller's window is full, and returns the error of
// ctx once nobody wants the stream any more. When h returns the stream ends,
// with an error if it returned one. A stream takes one of the worker's slots for
// as long as it lasts.
//
// It panics as [Handle] does.
func HandleStream[A, I any](w *Worker, m StreamMethod[A, I], h func(ctx context.Context, args A, send func(I) error) error, opts ...HandleOptions) {
	mustHandle(m.name, h == nil)
	w.register(m.name, &method{stream: true, args: typeOf[A](), result: typeOf[I]()}, opts, func(ctx context.Context, t *task) (Body, error) {
		var args A
		if err := t.body.decode(&args); err != nil {
			return Body{}, &refusal{CodeBadArguments, err.Error()}
		}
		return Body{}, h(ctx, args, func(item I) error { return t.outlet.send(ctx, item) })
	})
}
