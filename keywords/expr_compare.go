package keywords

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

// exprKindError says which kinds don't go together.
type exprKindError string

func (e exprKindError) Error() string { return string(e) }

func exprKinds(format string, args ...any) error {
	return exprKindError(fmt.Sprintf(format, args...))
}

const exprUnordered = 2 // NaN, or unequal without an order

func exprCompare(op exprOp, a, b *exprValue, fold bool) (bool, error) {
	order, err := a.compare(b, fold)
	if err != nil {
		return false, err
	}
	switch op {
	case exprEqual:
		return order == 0, nil
	case exprNotEqual:
		return order != 0, nil
	}
	for _, k := range [...]exprKind{a.kind, b.kind} {
		if !k.ordered() {
			return false, exprKinds("%s is not less or greater", k)
		}
	}
	switch op {
	case exprLess:
		return order == -1, nil
	case exprLessEqual:
		return order == -1 || order == 0, nil
	case exprGreater:
		return order == 1, nil
	default:
		return order == 1 || order == 0, nil
	}
}

// compare returns -1, 0, 1 or exprUnordered.
func (v *exprValue) compare(w *exprValue, fold bool) (int, error) {
	if v.kind > w.kind {
		order, err := w.compare(v, fold)
		if order != exprUnordered {
			order = -order
		}
		return order, err
	}
	switch {
	case v.kind == exprNothing:
	case w.kind <= exprMask:
		switch {
		case v.kind.number():
			return exprCompareNumbers(v, w), nil
		case v.kind == w.kind && slices.Equal(v.labels, w.labels):
			return cmp.Compare(v.n, w.n), nil
		case v.kind == w.kind:
			return 0, exprKinds("their names differ; ascii(…) compares the text")
		}
	case v.kind == exprBoolean && w.kind == exprBoolean:
		return cmp.Compare(v.n, w.n), nil
	case v.kind == exprInteger && w.kind == exprBoolean && (v.n == 0 || v.n == 1):
		return cmp.Compare(v.n, w.n), nil
	case w.kind == exprString && v.kind == exprString:
		return exprCompareText(v.s, w.s, fold), nil
	case w.kind == exprString && v.kind == exprEnumerated:
		n, ok := v.number(w.s)
		if !ok {
			return 0, errors.New("no such enumerator")
		}
		return cmp.Compare(v.n, n), nil
	case w.kind == exprString && v.kind == exprMask:
		n, err := v.bits(w)
		return cmp.Compare(v.n, n), err
	case w.kind == exprString && v.kind == exprBoolean:
		n, ok := v.number(w.s)
		if !ok {
			n, ok = exprBooleanWord(w.s)
		}
		if !ok {
			return 0, errors.New("no word for true or false")
		}
		return cmp.Compare(v.n, n), nil
	case w.kind == exprBytes && v.kind == exprString:
		return exprEquality(string(w.data.([]byte)) == v.s), nil
	case w.kind == exprBytes && v.kind == exprBytes:
		return exprEquality(bytes.Equal(v.data.([]byte), w.data.([]byte))), nil
	case w.kind == exprArray:
		return 0, exprKinds("an array compares by its elements, $…[0], or its text, ascii($…)")
	}
	return 0, exprKinds("%s does not compare with %s", v.kind, w.kind)
}

func exprEquality(equal bool) int {
	if equal {
		return 0
	}
	return exprUnordered
}

// exprCompareNumbers compares integers, enumerators and masks with each other and
// with floats, never rounding one.
func exprCompareNumbers(v, w *exprValue) int {
	switch {
	case v.kind != exprFloat && w.kind != exprFloat:
		return cmp.Compare(v.n, w.n)
	case v.kind != exprFloat:
		return exprCompareFloat(v.n, w.f)
	case w.kind != exprFloat:
		order := exprCompareFloat(w.n, v.f)
		if order != exprUnordered {
			order = -order
		}
		return order
	case math.IsNaN(v.f) || math.IsNaN(w.f):
		return exprUnordered
	}
	return cmp.Compare(v.f, w.f)
}

func exprCompareFloat(n int64, f float64) int {
	switch {
	case math.IsNaN(f):
		return exprUnordered
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f)
	return cmp.Or(cmp.Compare(n, int64(whole)), cmp.Compare(whole, f))
}

func exprCompareText(a, b string, fold bool) int {
	if !fold {
		return strings.Compare(a, b)
	}
	for a != "" && b != "" {
		r, n := utf8.DecodeRuneInString(a)
		q, m := utf8.DecodeRuneInString(b)
		if order := cmp.Compare(exprFold(r), exprFold(q)); order != 0 {
			return order
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

// exprFold returns the same rune for all cases of one, the smallest of them.
func exprFold(r rune) rune {
	for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
		if next <= r { // around the orbit, or lower
			return next
		}
	}
}

// exprBooleanWord returns 1 or 0 for one of KTL's words.
func exprBooleanWord(s string) (int64, bool) {
	for i, words := range [...][6]string{{"0", "false", "f", "no", "n", "off"}, {"1", "true", "t", "yes", "y", "on"}} {
		for _, word := range words {
			if strings.EqualFold(s, word) {
				return int64(i), true
			}
		}
	}
	return 0, false
}

// exprCalculate adds, subtracts, multiplies or divides numbers.
func exprCalculate(op exprOp, v, w *exprValue) (exprValue, error) {
	for _, k := range [...]exprKind{v.kind, w.kind} {
		if !k.number() {
			return exprValue{}, exprKinds("%s is not a number", k)
		}
	}
	if v.kind == exprInteger && w.kind == exprInteger {
		return exprCalculateWhole(op, v.n, w.n)
	}
	a, b := v.float(), w.float()
	switch op {
	case exprAdd:
		a += b
	case exprSubtract:
		a -= b
	case exprMultiply:
		a *= b
	default:
		if b == 0 {
			return exprValue{}, errExprZero
		}
		a /= b
	}
	return exprValue{kind: exprFloat, f: a}, nil
}

var errExprZero = errors.New("division by zero")

func exprCalculateWhole(op exprOp, a, b int64) (exprValue, error) {
	var n int64
	ok := true
	switch op {
	case exprAdd:
		n = a + b
		ok = (a^n)&(b^n) >= 0
	case exprSubtract:
		n = a - b
		ok = (a^b)&(a^n) >= 0
	case exprMultiply:
		n = a * b
		ok = b == 0 || n/b == a && (a != math.MinInt64 || b != -1)
	default:
		switch {
		case b == 0:
			return exprValue{}, errExprZero
		case a%b != 0:
			return exprValue{kind: exprFloat, f: float64(a) / float64(b)}, nil
		}
		n = a / b
		ok = a != math.MinInt64 || b != -1
	}
	if !ok {
		return exprValue{}, errors.New("beyond 64 bits")
	}
	return exprValue{kind: exprInteger, n: n}, nil
}
