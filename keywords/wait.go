package keywords

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords/internal/expr"
)

// WaitFor returns the first value of a keyword for which until is true, the one
// that is there included. A ctx without a deadline waits for as long as it takes.
//
// What a dispatcher that is gone has left counts as well: the Quality of the value
// is [QualityStale] then. Who can't do with that waits with [Watch].
func WaitFor[T Type](ctx context.Context, c *Client, k Keyword[T], until func(v T) bool) (Value[T], error) {
	if until == nil {
		return Value[T]{}, errors.New("keywords: WaitFor: nil until")
	}
	for ev, err := range Watch(ctx, c, k) {
		if err != nil {
			return Value[T]{}, err
		}
		if ev.Kind != EventGone && until(ev.Value.V) {
			return ev.Value, nil
		}
	}
	return Value[T]{}, ErrClosed
}

// WaitOptions are the options of [WaitForExpr].
type WaitOptions struct {
	// IgnoreCase compares strings without regard to case.
	IgnoreCase bool
	// Service is that of keywords which name none: "$SPEED > 3".
	Service string
}

// WaitForExpr waits until a condition on the values of keywords, of any number of
// services, is true, in the language of KTL's waitFor:
//
//	$stage.SPEED > 3 and $stage.MODE == 'track'
//
// A keyword is $service.KEYWORD, or ${service.KEYWORD} if a name has a '-', with
// [i] behind it an element of an array. There are or, and, not, comparisons (==
// != < <= > >= in, and has for the bits of a mask), + - * /, parentheses, numbers,
// strings in quotes, and words, which are the names of enumerators. A keyword
// without a value is waited for. An expression that can't be read, or compares
// what can't be compared, is an error.
//
// Of several keywords of a service the values count that were there at one
// moment: a condition that is true for an instant only may be missed. Services
// have no moment in common. Stale values count, as with [WaitFor].
func WaitForExpr(ctx context.Context, c *Client, text string, opts ...WaitOptions) error {
	o, err := optional(opts)
	if err != nil {
		return err
	}
	e, err := expr.Parse(text, expr.Options(o))
	if err != nil {
		return err
	}
	var targets []target
	services := make(map[string]bool)
	for _, name := range e.Names() {
		targets = append(targets, target{service: name.Service, name: name.Keyword})
		services[name.Service] = true
	}
	defs := make(map[expr.Name]*Definition, len(targets)) // of those that have a value
	values := make(map[expr.Name]expr.Value, len(targets))
	lookup := func(name expr.Name) (expr.Value, bool) { v, ok := values[name]; return v, ok }
	// What is there is delivered at once: one event for each that has a value.
	for n, err := range c.events(ctx, nil, targets...) {
		if err != nil {
			return err
		}
		name := expr.Name{Service: n.service, Keyword: n.rec.name}
		if n.kind == EventGone {
			delete(values, name)
			delete(defs, name)
		} else if values[name], err = exprValue(n.def, n.rec.text); err != nil {
			return err
		} else {
			defs[name] = n.def
		}
		done, err := e.Eval(lookup)
		if done && err == nil && len(services) < len(targets) {
			// What was set together comes in one event after another.
			done, err = c.holds(ctx, e, defs)
		}
		switch {
		case done && err == nil:
			return nil
		case err != nil && !errors.Is(err, expr.ErrNoValue):
			return err
		}
	}
	return ErrClosed
}

// holds reports whether a condition is true of what Redis has, those of a service
// at one moment, however long Redis is away.
func (c *Client) holds(ctx context.Context, e *expr.Expr, defs map[expr.Name]*Definition) (bool, error) {
	for try := 0; ; try++ {
		values, err := c.values(ctx, defs)
		var reply redis.Error
		switch {
		case err == nil:
			return e.Eval(func(name expr.Name) (expr.Value, bool) { v, ok := values[name]; return v, ok })
		case ctx.Err() != nil:
			return false, redisio.Because(ctx.Err(), err)
		case c.isClosed():
			return false, ErrClosed
		case errors.As(err, &reply) && !redis.IsLoadingError(err), errors.Is(err, redis.ErrClosed):
			return false, err
		}
		select {
		case <-time.After(redisio.Backoff(try)):
		case <-ctx.Done():
		}
	}
}

// values reads keywords, those of a service in one transaction. What somebody else
// has written, and is no value, is left out.
func (c *Client) values(ctx context.Context, defs map[expr.Name]*Definition) (map[expr.Name]expr.Value, error) {
	services := make(map[string][]Definition)
	for name, def := range defs {
		services[name.Service] = append(services[name.Service], *def)
	}
	values := make(map[expr.Name]expr.Value, len(defs))
	for svc, defs := range services {
		recs, err := c.read(ctx, svc, defs)
		if err != nil {
			return nil, err
		}
		for i, r := range recs {
			if v, err := exprValue(&defs[i], r.text); r.ok && err == nil {
				values[expr.Name{Service: svc, Keyword: r.name}] = v
			}
		}
	}
	return values, nil
}

// exprValue is a value as expressions have it.
func exprValue(def *Definition, text string) (expr.Value, error) {
	v, err := def.Parse(text)
	if err != nil {
		return expr.Value{}, err
	}
	n, _ := v.(int64)
	switch def.Kind {
	case KindBoolean:
		on, _ := v.(bool)
		return expr.Boolean(on, enumerators(def), text), nil
	case KindEnumerated:
		return expr.Enumerated(n, enumerators(def), text), nil
	case KindMask:
		var labels []expr.Label
		for i, name := range def.Bits {
			if name != "" {
				labels = append(labels, expr.Label{Name: name, Number: 1 << i})
			}
		}
		return expr.Mask(n, labels, text), nil
	}
	return expr.NewValue(v, text), nil
}

// enumerators are the names of an enumerated keyword or a boolean, by number.
func enumerators(def *Definition) []expr.Label {
	var labels []expr.Label
	for _, number := range slices.Sorted(maps.Keys(def.Enumerators)) {
		labels = append(labels, expr.Label{Name: def.Enumerators[number], Number: int64(number)})
	}
	return labels
}
