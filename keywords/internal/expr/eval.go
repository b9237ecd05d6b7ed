package expr

import (
	"errors"
	"fmt"
)

type operation uint8

const (
	opConst   operation = iota
	opKeyword           // name
	opElement           // name, index
	opASCII             // name
	opNegate
	opNot
	opAnd
	opOr
	opIn // left, list
	opHas
	opEqual
	opNotEqual
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opAdd
	opSubtract
	opMultiply
	opDivide
)

var symbols = [...]string{
	opNegate: "-", opNot: "not", opAnd: "and", opOr: "or", opIn: "in", opHas: "has",
	opEqual: "==", opNotEqual: "!=", opLess: "<", opLessEqual: "<=", opGreater: ">", opGreaterEqual: ">=",
	opAdd: "+", opSubtract: "-", opMultiply: "*", opDivide: "/",
}

// node is an operator or operand of an expression. It is not changed after parsing.
type node struct {
	op          operation
	fold        bool // compare strings without regard to case
	word        bool // a string without quotes, which may be meant as a keyword
	column      int
	left, right *node
	list        []*node
	value       Value
	name        Name
	index       int
	missing     error // the error of a keyword without a value, made once
}

func (n *node) condition(lookup Lookup) (bool, error) {
	v, err := n.eval(lookup)
	if err == nil && v.kind != kindBoolean {
		err = errorf(n.column, "%s is %s, not a condition", n, v.kind)
	}
	return err == nil && v.n == 1, err
}

func (n *node) eval(lookup Lookup) (Value, error) {
	switch n.op {
	case opConst:
		return n.value, nil
	case opKeyword, opElement, opASCII:
		return n.keyword(lookup)
	case opNot:
		ok, err := n.left.condition(lookup)
		return boolean(!ok), err
	case opAnd, opOr:
		ok, err := n.logic(lookup)
		return boolean(ok), err
	}
	left, err := n.left.eval(lookup)
	if err != nil {
		return Value{}, err
	}
	if n.op == opIn {
		ok, err := n.in(&left, lookup)
		return boolean(ok), err
	}
	var right Value
	if n.op != opNegate {
		if right, err = n.right.eval(lookup); err != nil {
			return Value{}, err
		}
	}
	var v Value
	switch n.op {
	case opNegate:
		v, err = calculate(opSubtract, &Value{kind: kindInteger}, &left)
	case opAdd, opSubtract, opMultiply, opDivide:
		v, err = calculate(n.op, &left, &right)
	case opHas:
		v.kind = kindBoolean
		v.n, err = hasBits(&left, &right)
	default:
		var ok bool
		ok, err = satisfies(n.op, &left, &right, n.fold)
		v = boolean(ok)
	}
	if err != nil {
		err = n.failed(n.right, err)
	}
	return v, err
}

func (n *node) keyword(lookup Lookup) (Value, error) {
	v, ok := lookup(n.name)
	if !ok {
		return v, n.missing
	}
	switch n.op {
	case opASCII:
		return Value{kind: kindString, s: v.ascii}, nil
	case opElement:
		if v.kind != kindArray {
			return v, errorf(n.column, "$%s is %s, not an array", n.name, v.kind)
		}
		if v, ok = v.element(n.index); !ok {
			return v, n.missing
		}
	}
	return v, nil
}

// logic evaluates "and" and "or". A side that decides does so even if the other has no
// value.
func (n *node) logic(lookup Lookup) (bool, error) {
	decides := n.op == opOr
	left, err := n.left.condition(lookup)
	if err == nil && left == decides || err != nil && !errors.Is(err, ErrNoValue) {
		return left, err
	}
	right, rightErr := n.right.condition(lookup)
	switch {
	case err == nil, rightErr == nil && right == decides, rightErr != nil && !errors.Is(rightErr, ErrNoValue):
		return right, rightErr
	}
	return false, err
}

func (n *node) in(left *Value, lookup Lookup) (bool, error) {
	var missing error
	for _, item := range n.list {
		v, err := item.eval(lookup)
		if errors.Is(err, ErrNoValue) {
			missing = err
			continue
		}
		if err != nil {
			return false, err
		}
		if ok, err := satisfies(opEqual, left, &v, n.fold); err != nil {
			return false, n.failed(item, err)
		} else if ok {
			return true, nil
		}
	}
	return false, missing
}

// failed returns err with the operation of n and its operands.
func (n *node) failed(right *node, err error) error {
	what := symbols[n.op] + n.left.String()
	word := n.left.word
	if right != nil {
		what = fmt.Sprintf("%s %s %s", n.left, symbols[n.op], right)
		word = word || right.word
	}
	hint := ""
	if _, kinds := errors.AsType[kindError](err); kinds && word {
		hint = "; a keyword begins with $"
	}
	return errorf(n.column, "%s: %w%s", what, err, hint)
}

// String returns the node as errors show it.
func (n *node) String() string {
	switch n.op {
	case opConst:
		return n.value.String()
	case opKeyword:
		return "$" + n.name.String()
	case opElement:
		return fmt.Sprintf("$%s[%d]", n.name, n.index)
	case opASCII:
		return fmt.Sprintf("ascii($%s)", n.name)
	}
	return "(…)"
}

// Err is in every error of an expression that can't be parsed or evaluated.
var Err = errors.New("keywords: expression")

func errorf(column int, format string, args ...any) error {
	return fmt.Errorf("%w: column %d: %w", Err, column, fmt.Errorf(format, args...))
}
