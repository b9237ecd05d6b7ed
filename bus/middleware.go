package bus

import (
	"context"
	"maps"
	"slices"
)

// Header travels beside the body of a call and of a reply. Its methods are those
// of a TextMapCarrier of OpenTelemetry, whose propagators write into it and read
// from it as it is.
type Header map[string]string

// Get returns the value of a key, "" if there is none.
func (h Header) Get(key string) string { return h[key] }

// Set sets the value of a key. The Header must not be nil.
func (h Header) Set(key, value string) { h[key] = value }

// Keys returns the keys, sorted.
func (h Header) Keys() []string { return slices.Sorted(maps.Keys(h)) }

// Request is a call as [Middleware] sees it: on its way out of a client, or into
// a handler.
type Request struct {
	// To is whom the client calls ("group calc"), or the id of the worker.
	To     string
	Method string
	// Header is never nil, and may be changed. So may Body.
	Header Header
	Body   Body
	// Stream tells a stream from a plain call.
	Stream bool
}

// Response is what a [Next] returns with a nil error.
type Response struct {
	From string // id of the worker
	// Header is what the worker's middleware sent beside the result. In a worker
	// it may be changed, once it is made.
	Header Header
	// Body is the result. Gathers and streams have none: their values are
	// passed on, one by one, before next returns.
	Body Body
}

// Next carries out a request. Its error is what the caller will see, or in a
// worker what the handler returned.
type Next func(ctx context.Context, req *Request) (*Response, error)

// Middleware wraps what carries out requests, of a client
// ([ClientConfig].Middleware) or of a worker ([WorkerConfig].Middleware). The
// first of several is the outermost. It runs once for each [Call], [Send],
// [Gather] and [Stream], and for each request that a worker hands to a handler;
// calls to the built-in methods pass those of the client only.
type Middleware func(next Next) Next

// wrap puts middleware around next.
func wrap(chain []Middleware, next Next) Next {
	for _, m := range slices.Backward(chain) {
		next = m(next)
	}
	return next
}

// through runs do behind the client's middleware, which may run it more than
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
