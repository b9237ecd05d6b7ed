package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// ModifyOptions are the options of [Modify] and [ModifyText].
type ModifyOptions struct {
	// IfRevision is the revision that the keyword must have, or the modify is
	// refused with CodeRevision. Zero: any.
	IfRevision Revision
}

// Modify has the dispatcher set a keyword, and returns the new revision when that
// is complete: its hooks have run, Postwrite perhaps excepted, and the value is
// committed. Its errors are
//
//   - an [*Error] for what the dispatcher refused: nothing has changed;
//   - [ErrNoDispatcher]: it was not carried out. Where there is no such keyword
//     either, or service, it is that [*Error] as well;
//   - [ErrIndeterminate]: the dispatcher died meanwhile; it may have been;
//   - [context.DeadlineExceeded] or [context.Canceled]: it may still be.
func Modify[T Type](ctx context.Context, c *Client, k Keyword[T], v T, opts ...ModifyOptions) (Revision, error) {
	o, err := optional(opts)
	if err != nil {
		return Revision{}, err
	}
	def := k.def
	return c.modify(ctx, def.Service, def.Dispatcher, askedChange{Name: def.Name, Text: def.Text(k.encode(v)), If: o.IfRevision.String()})
}

// ModifyText is [Modify] by name and text, as [Definition.Parse] takes it.
func ModifyText(ctx context.Context, c *Client, service, name, text string, opts ...ModifyOptions) (Revision, error) {
	o, err := optional(opts)
	if err != nil {
		return Revision{}, err
	}
	def, err := c.Describe(ctx, service, name)
	if err != nil {
		return Revision{}, err
	}
	return c.modify(ctx, service, def.Dispatcher, askedChange{Name: name, Text: text, If: o.IfRevision.String()})
}

// Setting is a keyword and what it is to be set to; see [ModifyMany].
type Setting struct {
	def    Definition
	change askedChange
}

// To returns what sets the keyword to v.
func (k Keyword[T]) To(v T, opts ...ModifyOptions) Setting {
	def := k.Definition()
	return def.To(def.Text(k.encode(v)), opts...)
}

// To returns what sets the keyword to the value that its dispatcher will read from
// a text, as [Definition.Parse] does: Keyword.To for those who don't have its Go
// type.
func (d Definition) To(text string, opts ...ModifyOptions) Setting {
	d.Dispatcher = cmp.Or(d.Dispatcher, DefaultDispatcher)
	s := Setting{def: d, change: askedChange{Name: d.Name, Text: text}}
	for _, o := range opts {
		s.change.If = o.IfRevision.String()
	}
	return s
}

// ModifyMany is [Modify] of several keywords of one dispatcher: all are accepted
// before the first is written, and all values are set in one step, or none. (What
// a Write hook has done before another failed, it has done.) It returns the
// revision of the last.
func ModifyMany(ctx context.Context, c *Client, all ...Setting) (Revision, error) {
	if len(all) == 0 {
		return Revision{}, errors.New("keywords: ModifyMany of nothing")
	}
	first := all[0].def
	changes := make([]askedChange, len(all))
	for i, s := range all {
		if s.def.Service != first.Service || s.def.Dispatcher != first.Dispatcher {
			return Revision{}, fmt.Errorf("keywords: ModifyMany: %s.%s has another dispatcher than %s.%s", s.def.Service, s.def.Name, first.Service, first.Name)
		}
		changes[i] = s.change
	}
	return c.modify(ctx, first.Service, first.Dispatcher, changes...)
}

// modify asks a dispatcher to carry out changes.
func (c *Client) modify(ctx context.Context, svc, disp string, changes ...askedChange) (Revision, error) {
	return c.ask(ctx, svc, disp, methodModify, asked{Changes: changes, Origin: c.origin})
}

func (c *Client) ask(ctx context.Context, svc, disp, method string, what asked) (Revision, error) {
	body, err := storage.MsgPack.Marshal(&what)
	if err != nil {
		return Revision{}, err
	}
	rep, err := bus.CallRaw(ctx, c.bus, bus.Group(workerType(svc, disp)), method, bus.Body{Data: body})
	name := what.Changes[0].Name
	if errors.Is(err, bus.ErrNoWorkers) {
		var unknown *Error
		if _, why := c.Describe(ctx, svc, name); errors.As(why, &unknown) {
			return Revision{}, fmt.Errorf("%w: %w", unknown, ErrNoDispatcher)
		}
	}
	if err != nil {
		return Revision{}, c.explain(svc, name, err)
	}
	return ParseRevision(string(rep.Data))
}

// codePrefix begins the bus's codes of our errors.
const codePrefix = "kw."

// wireError is an error as a dispatcher answers with it. Its text is that of the
// error; before it stand service and keyword, which may be those of another modify
// that a hook has asked for.
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

// explain returns the error of a call as callers of this package see it.
func (c *Client) explain(svc, name string, err error) error {
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
		return about(context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return about(context.Canceled)
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
