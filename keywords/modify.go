package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// ModifyOptions are the options of [Modify], [ModifyText] and [Keyword.To].
type ModifyOptions struct {
	// IfRevision is the revision that the keyword must have; otherwise the modify is
	// refused with CodeRevision. Zero: any revision.
	IfRevision Revision

	// Origin says for whom the client sets the keyword. Defaults to ClientConfig.Origin.
	Origin Origin
}

// Modify sets a keyword. It returns the new revision once the keyword's dispatcher
// has run the hooks, except perhaps Postwrite, and has committed the value. Its
// errors are
//
//   - an [*Error] if the dispatcher refused, or if a hook has failed or was aborted: the
//     value has not changed;
//   - [ErrNoDispatcher] if none lives: nothing has changed. If the keyword or the
//     service is unknown as well, the error is also that [*Error];
//   - [ErrIndeterminate] if the dispatcher died meanwhile: the value may have been set;
//   - [context.DeadlineExceeded] or [context.Canceled]: the value may still be set. If ctx
//     has no deadline, it is ClientConfig.Timeout; a long move needs more.
func Modify[T Type](ctx context.Context, c *Client, k Keyword[T], v T, opts ...ModifyOptions) (Revision, error) {
	o, err := optional(opts)
	if err == nil {
		err = k.check("Modify")
	}
	if err == nil {
		err = k.checkKind(ctx, c)
	}
	if err != nil {
		return Revision{}, err
	}
	def := k.def
	return c.modify(ctx, o.Origin, def.Service, def.Dispatcher, k.change(v, o))
}

// change returns the request to set the keyword to v.
func (k Keyword[T]) change(v T, o ModifyOptions) requestedChange {
	return requestedChange{Name: k.def.Name, Text: k.def.Text(k.encode(v)), If: o.IfRevision.String()}
}

// ModifyText is [Modify] by service, name and text, which [Definition.Parse] reads.
func ModifyText(ctx context.Context, c *Client, service, name, text string, opts ...ModifyOptions) (Revision, error) {
	o, err := optional(opts)
	if err != nil {
		return Revision{}, err
	}
	def, err := c.Describe(ctx, service, name)
	if err != nil {
		return Revision{}, err
	}
	return c.modify(ctx, o.Origin, service, def.Dispatcher, requestedChange{Name: name, Text: text, If: o.IfRevision.String()})
}

// Setting is a keyword and the value to set it to; see [ModifyMany].
type Setting struct {
	def    Definition
	change requestedChange
	origin Origin
}

// To returns the setting of the keyword to v.
func (k Keyword[T]) To(v T, opts ...ModifyOptions) Setting {
	if k.def == nil {
		return Setting{}
	}
	return k.def.To(k.def.Text(k.encode(v)), opts...)
}

// To returns the setting of the keyword to a value given as text, which its
// dispatcher reads as [Definition.Parse] does. It is [Keyword.To] without the Go type.
func (d Definition) To(text string, opts ...ModifyOptions) Setting {
	d.Dispatcher = cmp.Or(d.Dispatcher, defaultDispatcher)
	s := Setting{def: d, change: requestedChange{Name: d.Name, Text: text}}
	for _, o := range opts {
		s.change.If, s.origin = o.IfRevision.String(), o.Origin
	}
	return s
}

// ModifyMany is [Modify] of several keywords of one dispatcher. The dispatcher checks
// all settings before it runs the first Write hook, and commits all values in one
// step or none of them. (What a Write hook did before a later one failed is not
// undone.) ModifyMany returns the revision of the last value.
func ModifyMany(ctx context.Context, c *Client, settings ...Setting) (Revision, error) {
	if len(settings) == 0 {
		return Revision{}, errors.New("keywords: ModifyMany: no settings")
	}
	first, origin := settings[0].def, settings[0].origin
	changes := make([]requestedChange, len(settings))
	for i, s := range settings {
		switch {
		case s.def.Name == "":
			return Revision{}, fmt.Errorf("keywords: ModifyMany: setting %d: zero Setting, make it with Keyword.To or Definition.To", i)
		case s.def.Service != first.Service || s.def.Dispatcher != first.Dispatcher:
			return Revision{}, fmt.Errorf("keywords: ModifyMany: setting %d: %v has another dispatcher than %v", i, s.def, first)
		case s.origin != origin:
			return Revision{}, fmt.Errorf("keywords: ModifyMany: setting %d: ModifyOptions.Origin: not that of the first setting", i)
		}
		changes[i] = s.change
	}
	return c.modify(ctx, origin, first.Service, first.Dispatcher, changes...)
}

// modify asks a dispatcher to carry out changes, after those whose ModifyAsync was called
// before.
func (c *Client) modify(ctx context.Context, by Origin, svc, disp string, changes ...requestedChange) (Revision, error) {
	origin, err := c.originOf(by)
	if err != nil {
		return Revision{}, err
	}
	return c.ask(ctx, svc, disp, methodModify, request{Changes: changes, Origin: origin}, nil)
}

// originOf returns the origin of a modify as a dispatcher gets it.
func (c *Client) originOf(by Origin) (string, error) {
	if by == (Origin{}) {
		return c.origin, nil
	}
	if err := by.check("ModifyOptions"); err != nil {
		return "", err
	}
	return by.String(), nil
}

// ask calls a method of a dispatcher: in its place in line, or if that is nil after those
// that are in line.
func (c *Client) ask(ctx context.Context, svc, disp, method string, req request, p *place) (Revision, error) {
	typ := workerType(svc, disp)
	var queued func()
	var before <-chan struct{}
	if p != nil {
		req.Client, req.Turn, queued, before = c.line.client, p.turn, p.leave, p.before
	} else {
		before = c.line.end(typ)
	}
	body, err := storage.MsgPack.Marshal(&req)
	if err != nil {
		return Revision{}, err
	}
	c.stats.requests.Add(1)
	reply, err := c.call(ctx, before, typ, method, body, queued)
	if err == nil {
		return ParseRevision(string(reply))
	}
	name := req.Changes[0].Name
	var refused, unknown *Error
	if errors.Is(err, bus.ErrNoWorkers) {
		if _, why := c.Describe(ctx, svc, name); errors.As(why, &unknown) {
			c.stats.failed.Add(1)
			return Revision{}, &unservedError{unknown}
		}
	}
	if err = explainCall(svc, name, err); errors.As(err, &refused) {
		c.stats.refused.Add(1)
	} else {
		c.stats.failed.Add(1)
	}
	return Revision{}, err
}

// call calls a dispatcher, once the channel before is closed.
func (c *Client) call(ctx context.Context, before <-chan struct{}, typ, method string, body []byte, queued func()) ([]byte, error) {
	wait := before != nil && !closed(before)
	if c.cfg.Bus == nil && !wait {
		return busio.CallOnce(ctx, c.bus, typ, method, body, queued)
	}
	// A wait counts, and a shared client of the bus has a Timeout of its own and stays open
	// when this client is closed.
	if c.ctx.Err() != nil {
		return nil, bus.ErrClosed
	}
	bounded, cancel := c.bounded(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if wait {
		select {
		case <-before:
		case <-bounded.Done():
		}
	}
	reply, err := busio.CallOnce(bounded, c.bus, typ, method, body, queued)
	if err != nil && c.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = bus.ErrClosed
	}
	return reply, err
}

// unservedError is ErrNoDispatcher for a keyword or service that is unknown as well.
type unservedError struct{ unknown *Error }

func (e *unservedError) Error() string { return e.unknown.Error() + ", and no dispatcher lives" }

func (e *unservedError) Unwrap() []error { return []error{e.unknown, ErrNoDispatcher} }

// codePrefix begins the codes of the bus that stand for errors of this package.
const codePrefix = "kw."

// wireError returns err as a dispatcher answers with it. An [*Error] is sent as
// service, keyword and text, since a hook may return the error of a modify of another
// keyword.
func wireError(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return bus.Errorf(bus.Code(codePrefix+string(own.Code)), "%s\x00%s\x00%s", own.Service, own.Keyword, own.Text)
	}
	switch {
	case errors.Is(err, ErrIndeterminate):
		return bus.Errorf(codePrefix+"indeterminate", "")
	case errors.Is(err, ErrQueueFull):
		return bus.Errorf(codePrefix+"queue_full", "")
	}
	return err
}

// explainCall returns the error of a call to a dispatcher as callers of this package
// see it.
func explainCall(svc, name string, err error) error {
	about := func(err error) error { return redisio.Wrap(fmt.Sprintf("keywords: %s.%s", svc, name), err) }
	var answered *bus.Error
	switch {
	case errors.As(err, &answered):
		code, ours := strings.CutPrefix(string(answered.Code), codePrefix)
		switch {
		case ours && code == "indeterminate", answered.Code == bus.CodeStopped:
			return about(ErrIndeterminate)
		case ours && code == "queue_full":
			return about(ErrQueueFull)
		case ours:
			service, text, _ := strings.Cut(answered.Text, "\x00")
			keyword, text, _ := strings.Cut(text, "\x00")
			return &Error{Code: Code(code), Service: cmp.Or(service, svc), Keyword: keyword, Text: text}
		}
		return &Error{Code: CodeRejected, Service: svc, Keyword: name, Text: answered.Text}
	case errors.Is(err, bus.ErrNoWorkers):
		return about(ErrNoDispatcher)
	case errors.Is(err, bus.ErrWorkerLost):
		return about(ErrIndeterminate)
	case errors.Is(err, bus.ErrQueueFull):
		return about(ErrQueueFull)
	case errors.Is(err, bus.ErrClosed):
		return about(ErrClosed)
	case errors.Is(err, context.DeadlineExceeded):
		return about(redisio.Because(context.DeadlineExceeded, redisio.Reason(err)))
	case errors.Is(err, context.Canceled):
		return about(redisio.Because(context.Canceled, redisio.Reason(err)))
	}
	return about(err)
}

func optional[O any](opts []O) (o O, err error) {
	switch {
	case len(opts) > 1:
		return o, fmt.Errorf("keywords: more than one %T", o)
	case len(opts) == 1:
		o = opts[0]
	}
	return o, nil
}
