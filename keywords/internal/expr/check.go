package expr

import "cmp"

// check returns an error if n can't combine its left side with right, whatever values the
// keywords have.
func (n *node) check(right *node) error {
	v, w := n.left.known(), &Value{}
	if right != nil {
		w = right.known()
	}
	var err error
	switch n.op {
	case opNot:
		return n.left.checkCondition()
	case opAnd, opOr:
		return cmp.Or(n.left.checkCondition(), right.checkCondition())
	case opNegate, opAdd, opSubtract, opMultiply, opDivide:
		err = cmp.Or(v.checkNumber(), w.checkNumber())
	case opHas:
		if v.kind != kindNothing {
			_, err = hasBits(v, w)
		}
	default:
		op := n.op
		if op == opIn {
			op = opEqual
		}
		if v.kind != kindNothing && w.kind != kindNothing {
			_, err = satisfies(op, v, w, false)
		}
	}
	if err != nil {
		return n.failed(right, err)
	}
	return nil
}

func (n *node) checkCondition() error {
	if kind := n.known().kind; kind != kindNothing && kind != kindBoolean {
		return errorf(n.column, "%s is %s, not a condition", n, kind)
	}
	return nil
}

func (v *Value) checkNumber() error {
	if v.kind != kindNothing && !v.kind.number() {
		return kindErrorf("%s is not a number", v.kind)
	}
	return nil
}

// known returns the value of a constant; of another node, some value of its kind, or the
// zero Value if the kind depends on keywords.
func (n *node) known() *Value {
	switch n.op {
	case opConst:
		return &n.value
	case opKeyword, opElement:
		return &Value{}
	case opASCII:
		return &Value{kind: kindString}
	case opNegate, opAdd, opSubtract, opMultiply, opDivide:
		return &Value{kind: kindInteger} // 0 compares with all that a number compares with
	}
	return &Value{kind: kindBoolean}
}
