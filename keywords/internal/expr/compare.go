package expr

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kindError says which kinds an operator can't combine.
type kindError string

func (e kindError) Error() string { return string(e) }

func kindErrorf(format string, args ...any) error {
	return kindError(fmt.Sprintf(format, args...))
}

const unordered = 2 // result of compare for NaN, and for unequal values without an order

// satisfies reports whether the comparison op is true of a and b.
func satisfies(op operation, a, b *Value, fold bool) (bool, error) {
	order, err := a.compare(b, fold)
	if err != nil {
		return false, err
	}
	switch op {
	case opEqual:
		return order == 0, nil
	case opNotEqual:
		return order != 0, nil
	}
	for _, k := range [...]kind{a.kind, b.kind} {
		if !k.ordered() {
			return false, kindErrorf("%s is not less or greater", k)
		}
	}
	switch op {
	case opLess:
		return order == -1, nil
	case opLessEqual:
		return order == -1 || order == 0, nil
	case opGreater:
		return order == 1, nil
	default:
		return order == 1 || order == 0, nil
	}
}

// compare returns -1, 0, 1 or unordered.
func (v *Value) compare(w *Value, fold bool) (int, error) {
	if v.kind > w.kind {
		order, err := w.compare(v, fold)
		if order != unordered {
			order = -order
		}
		return order, err
	}
	switch {
	case v.kind == kindNothing:
	case w.kind <= kindMask:
		switch {
		case v.kind.number():
			return compareNumbers(v, w), nil
		case v.kind == w.kind && slices.Equal(v.labels, w.labels):
			return cmp.Compare(v.n, w.n), nil
		case v.kind == w.kind:
			return 0, kindErrorf("the enumerators or bits differ; ascii(…) compares the text")
		}
	case v.kind == kindBoolean && w.kind == kindBoolean:
		return cmp.Compare(v.n, w.n), nil
	case v.kind == kindInteger && w.kind == kindBoolean && (v.n == 0 || v.n == 1):
		return cmp.Compare(v.n, w.n), nil
	case w.kind == kindString && v.kind == kindString:
		return compareText(v.s, w.s, fold), nil
	case w.kind == kindString && v.kind == kindEnumerated:
		n, ok := v.number(w.s)
		if !ok {
			return 0, errors.New("no such enumerator")
		}
		return cmp.Compare(v.n, n), nil
	case w.kind == kindString && v.kind == kindMask:
		n, err := v.bits(w)
		return cmp.Compare(v.n, n), err
	case w.kind == kindString && v.kind == kindBoolean:
		n, ok := v.number(w.s)
		if !ok {
			n, ok = booleanWord(w.s)
		}
		if !ok {
			return 0, errors.New("not a word for true or false")
		}
		return cmp.Compare(v.n, n), nil
	case w.kind == kindBytes && v.kind == kindString:
		return equality(string(w.data.([]byte)) == v.s), nil
	case w.kind == kindBytes && v.kind == kindBytes:
		return equality(bytes.Equal(v.data.([]byte), w.data.([]byte))), nil
	case w.kind == kindArray:
		return 0, kindErrorf("an array compares by its elements, $…[0], or its text, ascii($…)")
	}
	return 0, kindErrorf("%s does not compare with %s", v.kind, w.kind)
}

func equality(equal bool) int {
	if equal {
		return 0
	}
	return unordered
}

// compareNumbers compares integers, enumerators and masks with each other and with floats,
// without rounding.
func compareNumbers(v, w *Value) int {
	switch {
	case v.kind != kindFloat && w.kind != kindFloat:
		return cmp.Compare(v.n, w.n)
	case v.kind != kindFloat:
		return compareFloat(v.n, w.f)
	case w.kind != kindFloat:
		order := compareFloat(w.n, v.f)
		if order != unordered {
			order = -order
		}
		return order
	case math.IsNaN(v.f) || math.IsNaN(w.f):
		return unordered
	}
	return cmp.Compare(v.f, w.f)
}

func compareFloat(n int64, f float64) int {
	switch {
	case math.IsNaN(f):
		return unordered
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f)
	return cmp.Or(cmp.Compare(n, int64(whole)), cmp.Compare(whole, f))
}

func compareText(a, b string, fold bool) int {
	if !fold {
		return strings.Compare(a, b)
	}
	for a != "" && b != "" {
		r, n := utf8.DecodeRuneInString(a)
		q, m := utf8.DecodeRuneInString(b)
		if order := cmp.Compare(foldRune(r), foldRune(q)); order != 0 {
			return order
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

// foldRune returns the smallest rune of all cases of r.
func foldRune(r rune) rune {
	for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
		if next <= r { // SimpleFold returns larger runes, then the smallest
			return next
		}
	}
}

// booleanWord returns 1 or 0 for a word that KTL reads as true or false.
func booleanWord(s string) (int64, bool) {
	for i, words := range [...][6]string{{"0", "false", "f", "no", "n", "off"}, {"1", "true", "t", "yes", "y", "on"}} {
		for _, word := range words {
			if strings.EqualFold(s, word) {
				return int64(i), true
			}
		}
	}
	return 0, false
}

// calculate adds, subtracts, multiplies or divides two numbers.
func calculate(op operation, v, w *Value) (Value, error) {
	for _, k := range [...]kind{v.kind, w.kind} {
		if !k.number() {
			return Value{}, kindErrorf("%s is not a number", k)
		}
	}
	if v.kind == kindInteger && w.kind == kindInteger {
		return calculateWhole(op, v.n, w.n)
	}
	a, b := v.float(), w.float()
	switch op {
	case opAdd:
		a += b
	case opSubtract:
		a -= b
	case opMultiply:
		a *= b
	default:
		if b == 0 {
			return Value{}, errDivisionByZero
		}
		a /= b
	}
	return Value{kind: kindFloat, f: a}, nil
}

var errDivisionByZero = errors.New("division by zero")

func calculateWhole(op operation, a, b int64) (Value, error) {
	var n int64
	ok := true
	switch op {
	case opAdd:
		n = a + b
		ok = (a^n)&(b^n) >= 0
	case opSubtract:
		n = a - b
		ok = (a^b)&(a^n) >= 0
	case opMultiply:
		n = a * b
		ok = b == 0 || n/b == a && (a != math.MinInt64 || b != -1)
	default:
		switch {
		case b == 0:
			return Value{}, errDivisionByZero
		case a%b != 0:
			return Value{kind: kindFloat, f: float64(a) / float64(b)}, nil
		}
		n = a / b
		ok = a != math.MinInt64 || b != -1
	}
	if !ok {
		return Value{}, errors.New("beyond 64 bits")
	}
	return Value{kind: kindInteger, n: n}, nil
}
