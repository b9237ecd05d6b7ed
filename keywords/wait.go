package keywords

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/heliograph/heliograph/keywords/internal/expr"
)

// WaitFor waits until a keyword has a value for which until returns true, and returns the
// value. The present value counts. If ctx has no deadline, WaitFor waits without limit.
//
// Values with [QualityStale] count too. WaitFor may miss a value that is replaced at once;
// callers that need every value use [Watch].
func WaitFor[T Type](ctx context.Context, c *Client, k Keyword[T], until func(v T) bool) (Value[T], error) {
	if until == nil {
		return Value[T]{}, errors.New("keywords: WaitFor: nil until")
	}
	for ev, err := range Watch(ctx, c, k) {
		if err != nil {
			return Value[T]{}, err
		}
		if ev.Err != nil {
			return Value[T]{}, ev.Err
		}
		if ev.Kind != EventGone && ev.Kind != EventRedefined && until(ev.Value.V) {
			return ev.Value, nil
		}
	}
	return Value[T]{}, ErrClosed
}

// WaitOptions are the options of [WaitForExpr].
type WaitOptions struct {
	// IgnoreCase compares strings without regard to case.
	IgnoreCase bool
	// Service is the service of keywords that name none, as in "$SPEED > 3".
	Service string
}

// WaitForExpr waits until a condition on the values of keywords, of one or several
// services, is true. The condition is written in the language of KTL's waitFor:
//
//	$stage.SPEED > 3 and $stage.MODE == 'track'
//
// A keyword is $service.KEYWORD, or ${service.KEYWORD} if a name contains a '-'; with [i]
// after it, it is an element of an array. The operators are or, and, not, == != < <= > >=,
// in, has for the bits of a mask, and + - * /. There are parentheses, numbers, strings in
// quotes, and words, which are names of enumerators. An expression that can't be parsed,
// or compares values that can't be compared, is an ErrExpression.
//
// A keyword without a value makes what depends on it unknown. "and" is false if any operand
// is false, and "or" and "in" are true if any operand is true, even when others have no
// value.
//
// The values of several keywords of a service are those of the same moment. A condition
// that is true only for a moment may be missed. Values of different services may be of
// different moments. Values with [QualityStale] count.
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
	defs := make(map[expr.Name]*Definition, len(targets)) // of the keywords that have a value
	values := make(map[expr.Name]expr.Value, len(targets))
	lookup := func(name expr.Name) (expr.Value, bool) { v, ok := values[name]; return v, ok }
	// Present values come first: one event for each keyword that has one.
	for n, err := range c.events(ctx, nil, targets...) {
		if err != nil {
			return err
		}
		name := expr.Name{Service: n.service, Keyword: n.rec.name}
		if n.kind == EventRedefined {
			continue // its dispatcher is about to commit the value again
		} else if n.kind == EventGone {
			delete(values, name)
			delete(defs, name)
		} else if values[name], err = exprValue(n.def, n.rec.text); err != nil {
			return err
		} else {
			defs[name] = n.def
		}
		done, err := e.Eval(lookup)
		if done && err == nil && len(services) < len(targets) {
			// Values that were set together come as separate events: read them again, as
			// of one moment.
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

// holds reports whether a condition is true of the values in Redis, where those of a
// service are of one moment. It tries again while Redis is unreachable, or refuses for a
// reason that passes.
func (c *Client) holds(ctx context.Context, e *expr.Expr, defs map[expr.Name]*Definition) (bool, error) {
	var values map[expr.Name]expr.Value
	err := c.persist(ctx, func() (err error) { values, err = c.values(ctx, defs); return err })
	if err != nil {
		return false, err
	}
	return e.Eval(func(name expr.Name) (expr.Value, bool) { v, ok := values[name]; return v, ok })
}

// values reads keywords, those of one service in one transaction. Text that is not a value
// of its keyword is left out.
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

// exprValue returns a value in the form that expressions take.
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
	case KindBooleanArray:
		list, _ := v.([]bool)
		return expr.Booleans(list, enumerators(def), text), nil
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

// enumerators returns the names of an enumerated keyword or of booleans, by number.
func enumerators(def *Definition) []expr.Label {
	var labels []expr.Label
	for _, number := range slices.Sorted(maps.Keys(def.Enumerators)) {
		labels = append(labels, expr.Label{Name: def.Enumerators[number], Number: int64(number)})
	}
	return labels
}
