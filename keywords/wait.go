package keywords

import (
	"context"
	"errors"
)

// WaitFor returns the first value of a keyword for which until is true, the one
// that is there included. A ctx without a deadline waits for as long as it takes.
func WaitFor[T Type](ctx context.Context, c *Client, k Keyword[T], until func(v T) bool) (Value[T], error) {
	for ev, err := range Watch(ctx, c, k) {
		if err != nil {
			return Value[T]{}, err
		}
		if ev.Kind != Gone && until(ev.Value.V) {
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
func WaitForExpr(ctx context.Context, c *Client, text string, opts ...WaitOptions) error {
	o, err := optional(opts)
	if err != nil {
		return err
	}
	e, err := parseExpr(text, exprOptions(o))
	if err != nil {
		return err
	}
	var targets []target
	for _, name := range e.names() {
		targets = append(targets, target{service: name.Service, name: name.Keyword})
	}
	values := make(map[exprName]exprValue, len(targets))
	lookup := func(name exprName) (exprValue, bool) { v, ok := values[name]; return v, ok }
	// What is there is delivered at once: one event for each that has a value.
	for n, err := range c.events(ctx, nil, targets...) {
		if err != nil {
			return err
		}
		name := exprName{n.service, n.rec.name}
		if n.kind == Gone {
			delete(values, name)
		} else if values[name], err = exprOf(n.def, n.rec.text); err != nil {
			return err
		}
		switch done, err := e.eval(lookup); {
		case done && err == nil:
			return nil
		case err != nil && !errors.Is(err, errExprNoValue):
			return err
		}
	}
	return ErrClosed
}

// exprOf is a value as expressions have it.
func exprOf(def *Definition, text string) (exprValue, error) {
	v, err := def.Parse(text)
	if err != nil {
		return exprValue{}, err
	}
	n, _ := v.(int64)
	switch def.Kind {
	case Enumerated:
		var labels []exprLabel
		for number, name := range def.Enumerators {
			labels = append(labels, exprLabel{name, int64(number)})
		}
		return newExprEnumerated(n, labels, text), nil
	case Mask:
		var labels []exprLabel
		for i, name := range def.Bits {
			if name != "" {
				labels = append(labels, exprLabel{name, 1 << i})
			}
		}
		return newExprMask(n, labels, text), nil
	}
	return newExprValue(v, text), nil
}
