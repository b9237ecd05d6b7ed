package bus

import (
	"context"
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
// built-in methods.
type Middleware func(next Next) Next

// wrap wraps next in middleware.
func wrap(chain []Middleware, next Next) Next {
	for _, m := range slices.Backward(chain) {
		next = m(next)
	}
	return next
}

// through runs do wrapped in the client's middleware, which may call it more than
// once.
func (c *Client) through(ctx context.Context, to Destination, req *request, stream bool, do func(context.Context, *request) (*reply, error)) (*reply, error) {
	if len(c.cfg.Middleware) == 0 {
		return do(ctx, req)
	}
	next := wrap(c.cfg.Middleware, func(ctx context.Context, r *Request) (*Response, error) {
		out := *req
		out.header, out.body = r.Header, r.Body
		rep, err := do(ctx, &out)
		if err != nil {
			return nil, err
		}
		return &Response{From: rep.from, Header: rep.header, Body: rep.body}, nil
	})
	header := maps.Clone(req.header)
	if header == nil {
		header = Header{}
	}
	resp, err := next(ctx, &Request{To: to.String(), Method: req.method, Header: header, Body: req.body, Stream: stream})
	if err != nil {
		return nil, err
	}
	if resp == nil {
		resp = &Response{}
	}
	return &reply{from: resp.From, header: resp.Header, body: resp.Body}, nil
}
