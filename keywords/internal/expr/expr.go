// Package expr is the language of conditions on the values of keywords, that of
// KTL's waitFor:
//
//	$stage.SPEED > 3 and $stage.MODE == 'track'
//	$dome.STATE in (Open, Moving) or not $dome.FLAGS has 'CLOSED'
//
// The operators, from the loosest to the tightest: or ||; and &&; not !;
// == = != < <= > >= has in, not in; + -; * /; the minus sign. Parentheses group. A
// comparison is an operand of another comparison only in parentheses.
//
//   - A keyword is $service.KEYWORD or ${service.KEYWORD}, or either without the
//     service, which is then Options.Service. Only the form with braces may contain
//     a '-'; elsewhere that is a minus sign. Services are lower-case; keywords are
//     made upper-case. $service.KEYWORD[2] is the third element of an array.
//     ascii($service.KEYWORD) is the text form, a string, of a value of any kind.
//   - Constants are integers of 64 bits, other numbers as float64, 0x for
//     hexadecimal, true, false, and strings in ' or " with Go's escapes. A bare word
//     (letters, digits, '_') is a string too. The words and, or, not, in, has, true
//     and false are strings only in quotes or in another case.
//   - Numbers compare exactly, integers with floats too. NaN is unequal to
//     everything, and neither less nor greater. Arithmetic on integers yields an
//     integer, or a float64 where a quotient isn't one; a result beyond 64 bits and a
//     division by zero are errors.
//   - Strings compare byte by byte, or with Options.IgnoreCase by letters of any case.
//   - An enumerated value compares with a number, with the name of an enumerator,
//     whose number counts, and with a value of the same enumerators. A mask is equal
//     to a number or to names joined by '|' or ',' (the empty string is no bit), and
//     "has" all bits of either. Names may be in any case.
//   - A boolean is equal to the names of its enumerators, to KTL's words in any case
//     (true t yes y on 1, false f no n off 0), and to the numbers 1 and 0. A boolean
//     alone is a condition; a value of any other kind is not.
//   - Bytes are equal to a string or to bytes. All other pairs of kinds are errors,
//     as are names that don't exist: a wait for such a condition would never end.
//
// A keyword without a value makes what depends on it unknown. "and" is false if
// either side is false, and "or" and "in" are true if any operand is true, even when
// another operand is unknown. The right side of "and" and "or" is evaluated only if
// the left side doesn't decide.
package expr

import "errors"

const (
	MaxLen   = 4096 // bytes of an expression
	MaxDepth = 64   // nested parentheses, nots and minus signs
)

// Expr is a parsed expression. It may be used by many goroutines.
type Expr struct {
	root *node
	refs []Name
}

// Options are the options of [Parse].
type Options struct {
	// IgnoreCase compares strings without regard to case.
	IgnoreCase bool
	// Service is the service of keywords that name none. Empty: every keyword must
	// name its own.
	Service string
}

// Name is a service and a keyword in it.
type Name struct{ Service, Keyword string }

// String returns "stage.SPEED".
func (n Name) String() string { return n.Service + "." + n.Keyword }

// ErrNoValue is in the chain of the error that [Expr.Eval] returns if, and only if,
// the result may change once a keyword, or an element of an array, has a value.
var ErrNoValue = errors.New("has no value")

// Names returns the keywords of the expression in the order in which it names
// them first, each once. The caller must not change the slice.
func (e *Expr) Names() []Name { return e.refs }

// Lookup returns the value of a keyword, or false if it has none.
type Lookup = func(Name) (Value, bool)

// Eval evaluates the expression with the values that lookup returns. It allocates
// nothing unless it returns an error.
func (e *Expr) Eval(lookup Lookup) (bool, error) { return e.root.condition(lookup) }
