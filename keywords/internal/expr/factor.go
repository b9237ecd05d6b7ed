package expr

import (
	"slices"
	"strconv"
)

// factor reads a constant, a keyword, an expression in parentheses, or a minus sign with
// its operand.
func (p *parser) factor() (*node, error) {
	n := p.node(opConst)
	t := p.token
	switch t.kind {
	case tokenNumber:
		return n, p.number(n, t.text)
	case tokenString:
		n.value = Value{kind: kindString, s: t.text}
		return n, p.next()
	case tokenKeyword:
		n.op = opKeyword
		return n, p.keyword(n)
	case tokenWord:
		if err := p.next(); err != nil {
			return nil, err
		}
		switch {
		case t.text == "true" || t.text == "false":
			n.value = boolean(t.text == "true")
		case t.text == "ascii" && p.token.operator() == "(":
			return n, p.ascii(n)
		default:
			n.word, n.value = true, Value{kind: kindString, s: t.text}
		}
		return n, nil
	}
	switch t.operator() {
	case "-":
		return p.minus(n)
	case "(":
		if err := p.enter(); err != nil {
			return nil, err
		}
		inner, err := p.parse(1)
		if err != nil {
			return nil, err
		}
		p.depth--
		return inner, p.expect(")")
	}
	return nil, p.unexpected("a value")
}

// minus reads a minus sign with its operand. A negative constant is read as one number, so
// that -9223372036854775808 is possible.
func (p *parser) minus(n *node) (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenNumber {
		p.depth--
		return n, p.number(n, "-"+p.token.text)
	}
	n.op = opNegate
	var err error
	if n.left, err = p.factor(); err != nil {
		return nil, err
	}
	p.depth--
	return p.fold(n)
}

func (p *parser) number(n *node, text string) error {
	v, err := parseNumber(text)
	if err != nil {
		return errorf(p.column(), "%w", err)
	}
	n.value = v
	return p.next()
}

// keyword reads the current token, a keyword, and an index if one follows.
func (p *parser) keyword(n *node) error {
	n.name = p.token.name
	if n.name.Service == "" {
		n.name.Service = p.opts.Service
	}
	if n.name.Service == "" {
		return errorf(n.column, "$%s names no service: $service.%[1]s", n.name.Keyword)
	}
	if !slices.Contains(p.names, n.name) {
		p.names = append(p.names, n.name)
	}
	if err := p.next(); err != nil {
		return err
	}
	if p.token.operator() == "[" {
		if err := p.next(); err != nil {
			return err
		}
		i, err := strconv.ParseUint(p.token.text, 10, 31)
		if p.token.kind != tokenNumber || err != nil {
			return p.unexpected("the number of an element, from 0")
		}
		n.op, n.index = opElement, int(i)
		if err := p.next(); err != nil {
			return err
		}
		if err := p.expect("]"); err != nil {
			return err
		}
	}
	n.missing = errorf(n.column, "%s %w", n, ErrNoValue)
	return nil
}

// ascii reads the keyword in parentheses that follows the word ascii.
func (p *parser) ascii(n *node) error {
	if err := p.next(); err != nil {
		return err
	}
	if p.token.kind != tokenKeyword {
		return p.unexpected("a keyword")
	}
	n.op = opASCII
	if err := p.keyword(n); err != nil {
		return err
	}
	if n.op == opElement {
		return errorf(n.column, "ascii takes a whole keyword")
	}
	return p.expect(")")
}
