package keywords

import (
	"fmt"
	"unicode/utf8"
)

// parseExpr reads an expression. An error names the column, counted in letters
// from 1.
func parseExpr(text string, opts exprOptions) (*expr, error) {
	switch {
	case len(text) > exprMaxLen:
		return nil, fmt.Errorf("keywords: expression of %d bytes, the limit is %d", len(text), exprMaxLen)
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("keywords: expression is not UTF-8")
	}
	if err := exprCheckService(opts.Service); err != nil && opts.Service != "" {
		return nil, fmt.Errorf("keywords: expression: default %w", err)
	}
	p := &exprParser{lexer: exprLexer{text: text}, opts: opts}
	if err := p.next(); err != nil {
		return nil, err
	}
	root, err := p.parse(1)
	switch {
	case err != nil:
		return nil, err
	case p.token.kind != exprTokenEnd:
		return nil, p.unexpected("an operator")
	}
	if err := root.checkCondition(); err != nil {
		return nil, err
	}
	if len(p.names) == 0 {
		return nil, exprError(1, "no keyword; one begins with $")
	}
	return &expr{root, p.names}, nil
}

type exprParser struct {
	lexer exprLexer
	token exprToken
	opts  exprOptions
	names []exprName
	depth int
}

// exprLevels are the binary operators, loose to tight. Not stands between and and
// the comparisons.
var exprLevels = map[string]struct {
	level int
	op    exprOp
}{
	"or": {1, exprOr}, "||": {1, exprOr},
	"and": {2, exprAnd}, "&&": {2, exprAnd},
	"==": {exprComparison, exprEqual}, "=": {exprComparison, exprEqual}, "!=": {exprComparison, exprNotEqual},
	"<": {exprComparison, exprLess}, "<=": {exprComparison, exprLessEqual},
	">": {exprComparison, exprGreater}, ">=": {exprComparison, exprGreaterEqual},
	"has": {exprComparison, exprHas}, "in": {exprComparison, exprIn}, "not": {exprComparison, exprNot},
	"+": {5, exprAdd}, "-": {5, exprSubtract},
	"*": {6, exprMultiply}, "/": {6, exprDivide},
}

const (
	exprNotLevel   = 3
	exprComparison = 4
)

// parse reads operands joined by operators of at least level.
func (p *exprParser) parse(level int) (*exprNode, error) {
	left, err := p.prefix(level)
	if err != nil {
		return nil, err
	}
	compared := false
	for {
		next, ok := exprLevels[p.token.operator()]
		if !ok || next.level < level {
			return left, nil
		}
		if next.level == exprComparison {
			if compared {
				return nil, exprError(p.column(), "a comparison of a comparison: join two with and")
			}
			compared = true
		}
		n := p.node(next.op)
		n.left = left
		if err := p.next(); err != nil {
			return nil, err
		}
		switch next.op {
		case exprNot, exprIn:
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

// prefix reads what parse begins with: nots where level allows them, or a factor.
func (p *exprParser) prefix(level int) (*exprNode, error) {
	op := p.token.operator()
	if level > exprNotLevel || op != "not" && op != "!" {
		return p.factor()
	}
	n := p.node(exprNot)
	if err := p.enter(); err != nil {
		return nil, err
	}
	var err error
	if n.left, err = p.parse(exprNotLevel); err != nil {
		return nil, err
	}
	p.depth--
	return p.fold(n)
}

// in reads the list behind in, or behind the not of not in.
func (p *exprParser) in(n *exprNode) (*exprNode, error) {
	if n.op == exprNot {
		if p.token.operator() != "in" {
			return nil, p.unexpected("in")
		}
		list := *n
		list.op = exprIn
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
		item, err := p.parse(exprComparison + 1)
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

func (p *exprParser) next() (err error) {
	p.token, err = p.lexer.next()
	return err
}

// enter goes one deeper, to the token behind this.
func (p *exprParser) enter() error {
	if p.depth++; p.depth > exprMaxDepth {
		return exprError(p.column(), "nested deeper than %d", exprMaxDepth)
	}
	return p.next()
}

func (p *exprParser) expect(operator string) error {
	if p.token.operator() != operator {
		return p.unexpected(operator)
	}
	return p.next()
}

func (p *exprParser) unexpected(want string) error {
	if p.token.kind == exprTokenEnd {
		return exprError(p.column(), "the end instead of %s", want)
	}
	return exprError(p.column(), "%q instead of %s", p.token.text, want)
}

func (p *exprParser) column() int { return p.lexer.column(p.token.at) }

func (p *exprParser) node(op exprOp) *exprNode {
	return &exprNode{op: op, fold: p.opts.IgnoreCase, column: p.column()}
}

// fold checks what can be known of a node without values, and makes one of
// constants a constant.
func (p *exprParser) fold(n *exprNode) (*exprNode, error) {
	if err := n.check(n.right); err != nil {
		return nil, err
	}
	if n.left.op != exprConst || n.right != nil && n.right.op != exprConst || n.op == exprAnd || n.op == exprOr {
		return n, nil
	}
	v, err := n.eval(nil)
	return &exprNode{column: n.column, value: v}, err
}
