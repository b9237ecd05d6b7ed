package pubsub

import (
	"context"
	"errors"
	"runtime/debug"
)

// delivery is the typed end of a queue.
type delivery[T any] struct {
	c       *Client
	q       *queue
	from    Source[T]
	history *tracker   // nil: the topic has none
	through Handler    // the middleware, around sink; nil: there is none
	hand    func(item) // pass, or what calls it
	sink    func(context.Context, Message[T]) error
}

func newDelivery[T any](ctx context.Context, c *Client, from Source[T], opts []SubscribeOptions) (*delivery[T], error) {
	var o SubscribeOptions
	switch {
	case c == nil:
		return nil, errNilClient
	case len(opts) > 1:
		return nil, errors.New("more than one SubscribeOptions")
	case len(opts) == 1:
		o = opts[0]
	}
	s := from.spec()
	if s.name == "" {
		return nil, errors.New("a zero topic or pattern")
	}
	o, err := o.complete(s)
	if err != nil {
		return nil, err
	}
	q := &queue{c: c, spec: s, opts: o, done: make(chan struct{}), ended: func() {}}
	q.ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d := &delivery[T]{c: c, q: q, from: from}
	if !s.history.zero() {
		d.history = &tracker{c: c, spec: s, opts: o, begun: make(chan struct{})}
	}
	if len(c.cfg.Receiving) > 0 {
		d.through = wrap(c.cfg.Receiving, d.receive)
	}
	if t, ok := from.(Topic[T]); ok && s.keyed {
		q.keyOf = func(p *packet) string { return d.key(p, t.keyOf) }
	}
	q.deliver = d.deliver
	return d, nil
}

// start joins the queue to its channel.
func (d *delivery[T]) start(ctx context.Context, l *Listener) (recovered bool, err error) {
	q := d.q
	ctx, cancel := d.c.deadline(ctx)
	defer cancel()
	var from place
	if d.history != nil && !q.opts.Replay && q.opts.Overflow.complete() {
		if from, err = d.base(ctx); err != nil {
			return false, err
		}
	}
	if err := d.c.remember(q, l); err != nil {
		return false, err
	}
	err = d.c.hub.join(ctx, q)
	recovered = true
	if err == nil && d.history != nil && q.opts.Overflow.complete() {
		recovered, err = d.history.begin(ctx, from)
	}
	if err != nil {
		q.close(err)
		d.c.forget(q)
		return false, err
	}
	if d.history != nil {
		begins := len(d.history.prelude) > 0
		close(d.history.begun) // from here on it is the worker's
		if begins {
			q.push(&packet{start: true})
		}
	}
	return recovered, nil
}

// base returns the place after which the subscription begins.
func (d *delivery[T]) base(ctx context.Context) (place, error) {
	if after := d.q.opts.After; after != "" {
		return parseOffset(after)
	}
	return d.history.head(ctx)
}

// deliver hands a packet from the queue to the consumer.
func (d *delivery[T]) deliver(p *packet) {
	if d.history != nil {
		d.history.follow(d.q.ctx, p, d.hand)
		return
	}
	d.hand(item{p: p, body: p.payload, gap: p.gap})
}

// call passes an item on. An error or a panic of the host's functions ends the call
// and nothing else.
func (d *delivery[T]) call(it item) {
	defer func() {
		if v := recover(); v != nil {
			d.c.stats.panics.Add(1)
			d.c.logs.log.Error("pubsub: panic in a listener", "topic", d.q.spec.name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if err := d.pass(it); err != nil && d.q.ctx.Err() == nil {
		d.c.stats.failed.Add(1)
		d.c.logs.warn("pubsub: a listener failed", "topic", d.q.spec.name, "error", err)
	}
}

// pass takes an item through the middleware to the sink.
func (d *delivery[T]) pass(it item) error {
	if d.q.ctx.Err() != nil {
		return nil
	}
	if d.through == nil {
		return d.sink(d.q.ctx, d.message(it))
	}
	raw := &Packet{Codec: d.q.spec.codec, item: &it}
	if it.gap != nil {
		raw.Err = it.gap
	} else {
		raw.Err = it.err
		raw.Channel, raw.Payload = d.channel(it), it.body
		raw.original = raw.Payload
	}
	return d.through(d.q.ctx, raw)
}

// receive is the innermost handler.
func (d *delivery[T]) receive(ctx context.Context, raw *Packet) error {
	if raw.item != nil && (raw.Err != nil || same(raw.Payload, raw.original)) {
		return d.sink(ctx, d.message(*raw.item))
	}
	m := Message[T]{Channel: raw.Channel, Err: raw.Err}
	if raw.item != nil {
		m.Offset = raw.item.offset
		if raw.item.p != nil {
			m.Seq = raw.item.p.seq
		}
	}
	if m.Err == nil {
		m.Err = d.from.read(raw.Payload, &m.Value)
	}
	return d.sink(ctx, d.checked(m))
}

// same reports whether a payload is unchanged.
func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

func (d *delivery[T]) channel(it item) string {
	if k := d.q.spec.kind; k == exact || k == shard {
		return d.q.spec.name
	}
	return it.p.channel
}

// message decodes an item.
func (d *delivery[T]) message(it item) Message[T] {
	if it.gap != nil {
		d.c.stats.gaps.Add(1)
		return Message[T]{Err: it.gap}
	}
	m := Message[T]{Channel: d.channel(it), Offset: it.offset, Seq: it.p.seq}
	if m.Err = it.err; m.Err == nil {
		m.Value, m.Err = decode(it.p, it.body, d.from)
	}
	return d.checked(m)
}

// checked counts a message that could not be decoded, and clears its value.
func (d *delivery[T]) checked(m Message[T]) Message[T] {
	if m.Err != nil {
		d.c.stats.undecodable.Add(1)
		var zero T
		m.Value = zero
	}
	return m
}

// key returns the key for OverflowConflate. It runs on the goroutine that reads from
// Redis, which must survive a panic.
func (d *delivery[T]) key(p *packet, of func(T) string) (key string) {
	defer func() {
		if v := recover(); v != nil {
			d.c.stats.panics.Add(1)
			d.c.logs.warn("pubsub: panic in a topic's key", "topic", d.q.spec.name, "panic", v)
		}
	}()
	body := p.payload
	if d.history != nil {
		it, _, err := unpack(p)
		if err != nil {
			return "" // the consumer is told
		}
		body = it.body
	}
	v, err := decode(p, body, d.from)
	if err != nil {
		return ""
	}
	return of(v)
}
