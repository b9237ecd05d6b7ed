package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Header is sent beside the body of a request or of a reply. It is a TextMapCarrier of
// OpenTelemetry.
type Header map[string]string

// Get returns the value of a key, "" if there is none.
func (h Header) Get(key string) string { return h[key] }

// Set sets the value of a key. The Header must not be nil.
func (h Header) Set(key, value string) { h[key] = value }

// Keys returns the keys, sorted.
func (h Header) Keys() []string { return slices.Sorted(maps.Keys(h)) }

// Request is a call on its way out of a client or into a handler, as [Middleware] sees
// it.
type Request struct {
	// To is the destination in a client ("group calc"), and the worker's id in a worker.
	To     string
	Method string
	// Header is never nil. Header and Body may be changed.
	Header Header
	Body   Body
	// Stream says that the method is a stream.
	Stream bool
}

// Response is the result of a [Next].
type Response struct {
	From string // id of the worker
	// Header is sent beside the result by the worker's middleware, which may set it.
	Header Header
	// Body is the result. It is empty for a Gather or Stream, whose values are yielded
	// before next returns.
	Body Body
}

// Next carries out a request. Its error is the one that the caller gets or, in a
// worker, the one that the handler returned.
type Next func(ctx context.Context, req *Request) (*Response, error)

// Middleware wraps the function that carries out requests, in a client
// ([ClientConfig].Middleware) or in a worker ([WorkerConfig].Middleware). The first of
// several is the outermost. In a client it runs once for each [Call], [Send], [Gather]
// and [Stream]; in a worker once for each handler that runs, except those of the
// built-in methods. It wraps only once, in [NewClient] or [NewWorker]: what its outer
// function declares is shared by all requests. The context that it gives to next must
// come from the one that it got.
type Middleware func(next Next) Next

// wrap wraps next in middleware of the configuration's field. It returns nil if there is
// none.
func wrap(field string, chain []Middleware, next Next) (Next, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	for i, m := range slices.Backward(chain) {
		if next = m(next); next == nil {
			return nil, fmt.Errorf("bus: %s[%d] returned nil", field, i)
		}
	}
	return next, nil
}

// errForeignContext refuses a context that does not lead to its request.
var errForeignContext = errors.New("bus: middleware called next with a context that does not come from its own")

// outgoing is a request of a client in its middleware. Its context leads to it.
type outgoing struct {
	req *request
	do  func(context.Context, *request) (*reply, error)
}

// outgoingKey is the key of an outgoing.
type outgoingKey struct{}

// carryOut is what the middleware of a client wraps.
func carryOut(ctx context.Context, r *Request) (*Response, error) {
	o, ok := ctx.Value(outgoingKey{}).(outgoing)
	if !ok {
		return nil, errForeignContext
	}
	out := *o.req
	out.header, out.body = r.Header, r.Body
	rep, err := o.do(ctx, &out)
	if err != nil {
		return nil, err
	}
	return &Response{From: rep.from, Header: rep.header, Body: rep.body}, nil
}

// through runs do in the client's middleware, which may call it more than once.
func (c *Client) through(ctx context.Context, to Destination, req *request, stream bool, do func(context.Context, *request) (*reply, error)) (*reply, error) {
	if c.chain == nil {
		return do(ctx, req)
	}
	header := maps.Clone(req.header)
	if header == nil {
		header = Header{}
	}
	ctx = context.WithValue(ctx, outgoingKey{}, outgoing{req, do})
	resp, err := c.chain(ctx, &Request{To: to.String(), Method: req.method, Header: header, Body: req.body, Stream: stream})
	if err != nil {
		return nil, err
	}
	if resp == nil {
		resp = &Response{}
	}
	return &reply{from: resp.From, header: resp.Header, body: resp.Body}, nil
}

// taskKey is the key of the request that a handler's context leads to.
type taskKey struct{}

// handle is what the middleware of a worker wraps.
func (w *Worker) handle(ctx context.Context, r *Request) (*Response, error) {
	t, ok := ctx.Value(taskKey{}).(*task)
	if !ok {
		return nil, errForeignContext
	}
	t.ctx.header, t.body = r.Header, r.Body
	body, err := t.method.call(ctx, t)
	if err != nil {
		return nil, err
	}
	return &Response{From: w.info.ID, Header: Header{}, Body: body}, nil
}

// through runs a handler in the worker's middleware.
func (w *Worker) through(t *task) (Body, error) {
	if t.ctx.header == nil {
		t.ctx.header = Header{}
	}
	ctx := context.WithValue(&t.ctx, taskKey{}, t)
	resp, err := w.chain(ctx, &Request{To: w.info.ID, Method: t.request.method, Header: t.ctx.header, Body: t.body, Stream: t.method.stream})
	if err != nil || resp == nil {
		return Body{}, err
	}
	t.answer = resp.Header
	return resp.Body, nil
}
