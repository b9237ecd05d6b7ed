package keywords

import "cmp"

// check refuses what n can't do with its left side and right, whatever the values
// of keywords are.
func (n *exprNode) check(right *exprNode) error {
	v, w := n.left.known(), &exprValue{}
	if right != nil {
		w = right.known()
	}
	var err error
	switch n.op {
	case exprNot:
		return n.left.checkCondition()
	case exprAnd, exprOr:
		return cmp.Or(n.left.checkCondition(), right.checkCondition())
	case exprNegate, exprAdd, exprSubtract, exprMultiply, exprDivide:
		err = cmp.Or(v.checkNumber(), w.checkNumber())
	case exprHas:
		if v.kind != exprNothing {
			_, err = exprHasBits(v, w)
		}
	default:
		op := n.op
		if op == exprIn {
			op = exprEqual
		}
		if v.kind != exprNothing && w.kind != exprNothing {
			_, err = exprCompare(op, v, w, false)
		}
	}
	if err != nil {
		return n.failed(right, err)
	}
	return nil
}

func (n *exprNode) checkCondition() error {
	if kind := n.known().kind; kind != exprNothing && kind != exprBoolean {
		return exprError(n.column, "%s is %s, not a condition", n, kind)
	}
	return nil
}

func (v *exprValue) checkNumber() error {
	if v.kind != exprNothing && !v.kind.number() {
		return exprKinds("%s is not a number", v.kind)
	}
	return nil
}

// known returns the value of a constant, a value of the same kind as others if
// that is known, or exprNothing.
func (n *exprNode) known() *exprValue {
	switch n.op {
	case exprConst:
		return &n.value
	case exprKeyword, exprElement:
		return &exprValue{}
	case exprASCII:
		return &exprValue{kind: exprString}
	case exprNegate, exprAdd, exprSubtract, exprMultiply, exprDivide:
		return &exprValue{kind: exprInteger} // 0 compares with all that a number compares with
	}
	return &exprValue{kind: exprBoolean}
}
