package expr

import (
	"fmt"
	"unicode/utf8"
)

// Parse parses an expression. An error names the column, counted in characters from 1.
func Parse(text string, opts Options) (*Expr, error) {
	switch {
	case len(text) > MaxLen:
		return nil, fmt.Errorf("%w of %d bytes, the limit is %d", Err, len(text), MaxLen)
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("%w is not UTF-8", Err)
	}
	if err := checkService(opts.Service); err != nil && opts.Service != "" {
		return nil, fmt.Errorf("%w: default %w", Err, err)
	}
	p := &parser{lexer: lexer{text: text}, opts: opts}
	if err := p.next(); err != nil {
		return nil, err
	}
	root, err := p.parse(1)
	switch {
	case err != nil:
		return nil, err
	case p.token.kind != tokenEnd:
		return nil, p.unexpected("an operator")
	}
	if err := root.checkCondition(); err != nil {
		return nil, err
	}
	if len(p.names) == 0 {
		return nil, errorf(1, "no keyword; one begins with $")
	}
	return &Expr{root, p.names}, nil
}

type parser struct {
	lexer lexer
	token token
	opts  Options
	names []Name
	depth int
}

// levels are the binary operators with their precedence: a higher level binds tighter.
// The prefix "not" has notLevel; here "not" is the first word of "not in".
var levels = map[string]struct {
	level int
	op    operation
}{
	"or": {1, opOr}, "||": {1, opOr},
	"and": {2, opAnd}, "&&": {2, opAnd},
	"==": {comparisonLevel, opEqual}, "=": {comparisonLevel, opEqual}, "!=": {comparisonLevel, opNotEqual},
	"<": {comparisonLevel, opLess}, "<=": {comparisonLevel, opLessEqual},
	">": {comparisonLevel, opGreater}, ">=": {comparisonLevel, opGreaterEqual},
	"has": {comparisonLevel, opHas}, "in": {comparisonLevel, opIn}, "not": {comparisonLevel, opNot},
	"+": {5, opAdd}, "-": {5, opSubtract},
	"*": {6, opMultiply}, "/": {6, opDivide},
}

const (
	notLevel        = 3
	comparisonLevel = 4
)

// parse reads operands joined by operators of at least level.
func (p *parser) parse(level int) (*node, error) {
	left, err := p.prefix(level)
	if err != nil {
		return nil, err
	}
	compared := false
	for {
		next, ok := levels[p.token.operator()]
		if !ok || next.level < level {
			return left, nil
		}
		if next.level == comparisonLevel {
			if compared {
				return nil, errorf(p.column(), "a comparison of a comparison: join two with and")
			}
			compared = true
		}
		n := p.node(next.op)
		n.left = left
		if err := p.next(); err != nil {
			return nil, err
		}
		switch next.op {
		case opNot, opIn:
			left, err = p.in(n)
		default:
			if n.right, err = p.parse(next.level + 1); err == nil {
				left, err = p.fold(n)
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// prefix reads an operand: a "not" with its operand where level allows it, or a factor.
func (p *parser) prefix(level int) (*node, error) {
	op := p.token.operator()
	if level > notLevel || op != "not" && op != "!" {
		return p.factor()
	}
	n := p.node(opNot)
	if err := p.enter(); err != nil {
		return nil, err
	}
	var err error
	if n.left, err = p.parse(notLevel); err != nil {
		return nil, err
	}
	p.depth--
	return p.fold(n)
}

// in reads the list of "in", or the rest of "not in".
func (p *parser) in(n *node) (*node, error) {
	if n.op == opNot {
		if p.token.operator() != "in" {
			return nil, p.unexpected("in")
		}
		list := *n
		list.op = opIn
		if err := p.next(); err != nil {
			return nil, err
		}
		in, err := p.in(&list)
		n.left = in
		return n, err
	}
	if p.token.operator() != "(" {
		return nil, p.unexpected("(")
	}
	for {
		if err := p.next(); err != nil {
			return nil, err
		}
		item, err := p.parse(comparisonLevel + 1)
		if err != nil {
			return nil, err
		}
		if err := n.check(item); err != nil {
			return nil, err
		}
		n.list = append(n.list, item)
		switch p.token.operator() {
		case ",":
		case ")":
			return n, p.next()
		default:
			return nil, p.unexpected(", or )")
		}
	}
}

func (p *parser) next() (err error) {
	p.token, err = p.lexer.next()
	return err
}

// enter reads the next token, one level of nesting deeper.
func (p *parser) enter() error {
	p.depth++
	if p.depth > MaxDepth {
		return errorf(p.column(), "nested deeper than %d", MaxDepth)
	}
	return p.next()
}

func (p *parser) expect(operator string) error {
	if p.token.operator() != operator {
		return p.unexpected(operator)
	}
	return p.next()
}

func (p *parser) unexpected(want string) error {
	if p.token.kind == tokenEnd {
		return errorf(p.column(), "the expression ends, want %s", want)
	}
	return errorf(p.column(), "found %q, want %s", p.token.text, want)
}

func (p *parser) column() int { return p.lexer.column(p.token.at) }

func (p *parser) node(op operation) *node {
	return &node{op: op, fold: p.opts.IgnoreCase, column: p.column()}
}

// fold checks a node as far as that is possible without values, and replaces one that has
// only constant operands by its value.
func (p *parser) fold(n *node) (*node, error) {
	if err := n.check(n.right); err != nil {
		return nil, err
	}
	if n.left.op != opConst || n.right != nil && n.right.op != opConst || n.op == opAnd || n.op == opOr {
		return n, nil
	}
	v, err := n.eval(nil)
	return &node{column: n.column, value: v}, err
}
