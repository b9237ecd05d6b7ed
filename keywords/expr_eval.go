package keywords

import (
	"errors"
	"fmt"
)

type exprOp uint8

const (
	exprConst   exprOp = iota
	exprKeyword        // name
	exprElement        // name, index
	exprASCII          // name
	exprNegate
	exprNot
	exprAnd
	exprOr
	exprIn // left, list
	exprHas
	exprEqual
	exprNotEqual
	exprLess
	exprLessEqual
	exprGreater
	exprGreaterEqual
	exprAdd
	exprSubtract
	exprMultiply
	exprDivide
)

var exprOps = [...]string{
	exprNegate: "-", exprNot: "not", exprAnd: "and", exprOr: "or", exprIn: "in", exprHas: "has",
	exprEqual: "==", exprNotEqual: "!=", exprLess: "<", exprLessEqual: "<=", exprGreater: ">", exprGreaterEqual: ">=",
	exprAdd: "+", exprSubtract: "-", exprMultiply: "*", exprDivide: "/",
}

// exprNode is never changed after parsing.
type exprNode struct {
	op          exprOp
	fold        bool // compare strings in any case
	word        bool // a constant without quotes, perhaps meant as a keyword
	column      int
	left, right *exprNode
	list        []*exprNode
	value       exprValue
	name        exprName
	index       int
	missing     error // made once: a keyword may have no value for long
}

type exprLookup = func(exprName) (exprValue, bool)

func (n *exprNode) condition(lookup exprLookup) (bool, error) {
	v, err := n.eval(lookup)
	if err == nil && v.kind != exprBoolean {
		err = exprError(n.column, "%s is %s, not a condition", n, v.kind)
	}
	return err == nil && v.n == 1, err
}

func (n *exprNode) eval(lookup exprLookup) (exprValue, error) {
	switch n.op {
	case exprConst:
		return n.value, nil
	case exprKeyword, exprElement, exprASCII:
		return n.keyword(lookup)
	case exprNot:
		ok, err := n.left.condition(lookup)
		return exprBool(!ok), err
	case exprAnd, exprOr:
		ok, err := n.logic(lookup)
		return exprBool(ok), err
	}
	left, err := n.left.eval(lookup)
	if err != nil {
		return exprValue{}, err
	}
	if n.op == exprIn {
		ok, err := n.in(&left, lookup)
		return exprBool(ok), err
	}
	var right exprValue
	if n.op != exprNegate {
		if right, err = n.right.eval(lookup); err != nil {
			return exprValue{}, err
		}
	}
	var v exprValue
	switch n.op {
	case exprNegate:
		v, err = exprCalculate(exprSubtract, &exprValue{kind: exprInteger}, &left)
	case exprAdd, exprSubtract, exprMultiply, exprDivide:
		v, err = exprCalculate(n.op, &left, &right)
	case exprHas:
		v.kind = exprBoolean
		v.n, err = exprHasBits(&left, &right)
	default:
		var ok bool
		ok, err = exprCompare(n.op, &left, &right, n.fold)
		v = exprBool(ok)
	}
	if err != nil {
		err = n.failed(n.right, err)
	}
	return v, err
}

func (n *exprNode) keyword(lookup exprLookup) (exprValue, error) {
	v, ok := lookup(n.name)
	if !ok {
		return v, n.missing
	}
	switch n.op {
	case exprASCII:
		return exprValue{kind: exprString, s: v.ascii}, nil
	case exprElement:
		if v.kind != exprArray {
			return v, exprError(n.column, "$%s is %s, not an array", n.name, v.kind)
		}
		if v, ok = v.element(n.index); !ok {
			return v, n.missing
		}
	}
	return v, nil
}

// logic is and and or: decided by one side alone if that is what decides, even
// if the other has no value.
func (n *exprNode) logic(lookup exprLookup) (bool, error) {
	decides := n.op == exprOr
	left, err := n.left.condition(lookup)
	if err == nil && left == decides || err != nil && !errors.Is(err, errExprNoValue) {
		return left, err
	}
	right, rightErr := n.right.condition(lookup)
	switch {
	case err == nil, rightErr == nil && right == decides, rightErr != nil && !errors.Is(rightErr, errExprNoValue):
		return right, rightErr
	}
	return false, err
}

func (n *exprNode) in(left *exprValue, lookup exprLookup) (bool, error) {
	var missing error
	for _, item := range n.list {
		v, err := item.eval(lookup)
		if errors.Is(err, errExprNoValue) {
			missing = err
			continue
		}
		if err != nil {
			return false, err
		}
		if ok, err := exprCompare(exprEqual, left, &v, n.fold); err != nil {
			return false, n.failed(item, err)
		} else if ok {
			return true, nil
		}
	}
	return false, missing
}

// failed says what n could not do with its left side and right.
func (n *exprNode) failed(right *exprNode, err error) error {
	what := exprOps[n.op] + n.left.String()
	word := n.left.word
	if right != nil {
		what = fmt.Sprintf("%s %s %s", n.left, exprOps[n.op], right)
		word = word || right.word
	}
	hint := ""
	if _, kinds := errors.AsType[exprKindError](err); kinds && word {
		hint = "; a keyword begins with $"
	}
	return exprError(n.column, "%s: %w%s", what, err, hint)
}

// String is for errors.
func (n *exprNode) String() string {
	switch n.op {
	case exprConst:
		return n.value.String()
	case exprKeyword:
		return "$" + n.name.String()
	case exprElement:
		return fmt.Sprintf("$%s[%d]", n.name, n.index)
	case exprASCII:
		return fmt.Sprintf("ascii($%s)", n.name)
	}
	return "(…)"
}

func exprError(column int, format string, args ...any) error {
	return fmt.Errorf("keywords: expression: column %d: %w", column, fmt.Errorf(format, args...))
}
