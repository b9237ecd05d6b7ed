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

// StreamMethod is a method that answers with a stream of items. It has a name, the
// type A of its arguments and the type I of an item.
//
//	var Tail = bus.NewStream[TailArgs, Line]("tail")
type StreamMethod[A, I any] struct {
	name  string
	codec storage.Codec
}

// NewStream returns the stream method of that name. It panics as [NewMethod] does.
func NewStream[A, I any](name string) StreamMethod[A, I] {
	mustBeFree(name)
	return StreamMethod[A, I]{name: name}
}

// Name returns the method's name.
func (m StreamMethod[A, I]) Name() string { return m.name }

// WithCodec returns a copy whose arguments and items are encoded by codec. The
// default is [storage.MsgPack].
func (m StreamMethod[A, I]) WithCodec(codec storage.Codec) StreamMethod[A, I] {
	mustBeValid(m.name, codec)
	m.codec = codec
	return m
}

// StreamOptions are the options of [Stream] and [StreamRaw].
type StreamOptions struct {
	// Header is sent beside the arguments, as [CallOptions].Header is.
	Header Header

	// Window is the number of items that may be sent and not yet consumed, and
	// WindowBytes their size; a single item may be larger. The handler's send waits
	// while either is reached. Such items are in Redis's memory. Default to 64 items
	// and 1 MiB; at most 10,000 items and 64 MiB.
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

// Stream runs a stream method in one worker and yields its items in order, as they
// arrive. Each range over it makes a call of its own. It ends after the last item, or
// with an error: one of [Call]'s, or [ErrStreamBroken]. If the handler fails or its
// worker is lost the stream ends with an error.
//
// A break out of the loop cancels the handler's context, and so does the end of ctx.
// If ctx has no deadline, ClientConfig.Timeout limits the wait until a worker has
// begun; the stream then lasts as long as the caller and the handler do.
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

// StreamRaw is [Stream] with encoded arguments and items.
func StreamRaw(ctx context.Context, c *Client, to Address, method string, args Body, opts ...StreamOptions) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		if err := checkRaw("stream", method, args); err != nil {
			yield(Body{}, err)
			return
		}
		c.stream(ctx, to, &request{method: method, body: args}, opts)(yield)
	}
}

// stream implements Stream and StreamRaw.
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

// follow makes the call of a stream and passes its items to take, until that returns
// false.
func (c *Client) follow(ctx context.Context, to Address, req *request, take func(Body) bool) error {
	now := time.Now()
	end, _ := ctx.Deadline()
	beginBy := c.deadline(ctx, now)
	expired, stop := c.timers.until(now, beginBy)
	defer stop()
	if end.IsZero() {
		req.beginBy = beginBy
	}
	results := make(chan result, req.window.items+streamNews)
	call, err := c.launchStream(ctx, to, req, now, beginBy, end, results)
	if err != nil {
		return err
	}
	defer func() { c.abandon(call) }()
	begun := false
	note := func(err error) error {
		if !begun || err != nil {
			call.note(err)
		}
		begun = true
		return err
	}
	for told := (window{}); ; {
		select {
		case res := <-results:
			if note(res.err) != nil {
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
			if !begun {
				note(ctx.Err())
			}
			return c.because(ctx.Err())
		case <-expired:
			note(context.DeadlineExceeded)
			return c.because(context.DeadlineExceeded)
		}
	}
}

// streamNews is the number of results of a stream that are not items of its window:
// that it has begun, its end, and an item too many.
const streamNews = 3

// launchStream sends the request of a stream, again where ClientConfig.Retry allows
// it.
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

// deliverItem passes an item to its stream. It never blocks: a worker that sends more
// than the window allows breaks the stream.
func (c *Client) deliverItem(rep *reply) {
	c.mu.Lock()
	call := c.calls[rep.id]
	c.mu.Unlock()
	switch {
	case call == nil, !call.stream, rep.seq <= call.received: // read again after a lost connection
	case rep.seq != call.received+1, len(call.result) > cap(call.result)-streamNews:
		c.settle(call, nil, ErrStreamBroken)
	default:
		call.received = rep.seq
		call.result <- result{call, rep, nil}
	}
}

// credit tells the worker of a stream how much of it was consumed.
func (c *Client) credit(call *pendingCall) {
	c.mu.Lock()
	worker := call.worker
	c.mu.Unlock()
	if worker != "" {
		c.sendNotice(call, worker, notice{kind: kindCredit, id: call.id, spent: call.spent.load()})
	}
}

// streams returns the open streams.
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

// repeatCredits sends the credits of all streams again: Redis may have lost them.
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

// HandleStream registers h as the handler of a stream method. Send sends one item; it
// waits while the caller's window is full, and returns the error of ctx once the
// caller has given up. When h returns the stream ends, with the error that h returned.
// A stream counts as one of the worker's running calls for as long as it lasts.
// HandleStream panics as [Handle] does.
func HandleStream[A, I any](w *Worker, m StreamMethod[A, I], h func(ctx context.Context, args A, send func(I) error) error, opts ...HandleOptions) {
	mustHandle(m.name, h == nil)
	w.register(m.name, &method{stream: true, args: typeOf[A](), result: typeOf[I]()}, opts, func(ctx context.Context, t *task) (Body, error) {
		var args A
		if err := t.body.decode(&args); err != nil {
			return Body{}, &refusal{CodeBadArguments, err.Error()}
		}
		return Body{}, h(ctx, args, func(item I) error { return t.sender.send(ctx, item) })
	})
}
