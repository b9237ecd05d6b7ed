package keywords

import "errors"

const (
	exprMaxLen   = 4096 // bytes of an expression
	exprMaxDepth = 64   // parentheses, nots and minus signs inside each other
)

// expr is a condition on the values of keywords, in the language of KTL's
// waitFor:
//
//	$stage.SPEED > 3 and $stage.MODE == 'track'
//	$dome.STATE in (Open, Moving) or not $dome.FLAGS has 'CLOSED'
//
// From loose to tight: or ||; and &&; not !; == = != < <= > >= has in, not in;
// + -; * /; the minus sign. Parentheses group. A comparison is no operand of
// another without them.
//
//   - A keyword is $service.KEYWORD, ${service.KEYWORD}, or without the service
//     that of exprOptions. Only the form with braces may hold a '-', elsewhere a
//     minus. Services are lower-case; keywords are made upper-case.
//     $service.KEYWORD[2] is the third element of an array. ascii($service.KEYWORD)
//     is the text form, a string, of a value of any kind.
//   - Constants: whole numbers of 64 bits, other numbers as float64, 0x for
//     hexadecimal, true, false, strings in ' or " with Go's escapes. A bare word
//     (letters, digits, '_') is a string too, but and, or, not, in, has, true and
//     false only in quotes or another case.
//   - Numbers compare exactly, whole ones with others too. NaN is unequal to all
//     and neither less nor greater. A calculation of whole numbers is whole, or
//     float64 if the quotient isn't; one beyond 64 bits is an error, as is a
//     division by zero.
//   - Strings compare byte by byte, or by letters of any case with IgnoreCase.
//   - An enumerated value compares with a number, the name of an enumerator, of
//     which the number counts, or one of the same enumerators. A mask is equal to
//     a number or names joined by '|' or ',' (” is none), and has all bits of
//     either. Names may be in any case, as when they are written.
//   - A boolean is equal to the names of its enumerators, KTL's words in any case
//     (true t yes y on 1, false f no n off 0) and the numbers 1 and 0. Alone it is a
//     condition; no other value is.
//   - Bytes are equal to a string or bytes. All other pairs of kinds are errors, as
//     are names that don't exist: such a wait would never end.
//
// What has no value yet is unknown: it doesn't matter to an and that is false or
// an or or in that is true without it. Otherwise and and or stop at the left side
// if that decides.
type expr struct {
	root *exprNode
	refs []exprName
}

type exprOptions struct {
	// IgnoreCase compares strings without regard to case.
	IgnoreCase bool
	// Service is that of keywords without one. Empty: every keyword names its own.
	Service string
}

// exprName is a service and a keyword in it.
type exprName struct{ Service, Keyword string }

func (n exprName) String() string { return n.Service + "." + n.Keyword }

// errExprNoValue is in the chain of eval's error if, and only if, that may change
// when a keyword, or an element of an array, has a value.
var errExprNoValue = errors.New("has no value")

// names returns the keywords of the expression in the order in which it names
// them first, each once. The caller must not change them.
func (e *expr) names() []exprName { return e.refs }

// eval evaluates the expression with the values that lookup knows. It may be
// called by many goroutines, and without an error allocates nothing.
func (e *expr) eval(lookup func(exprName) (exprValue, bool)) (bool, error) {
	return e.root.condition(lookup)
}
