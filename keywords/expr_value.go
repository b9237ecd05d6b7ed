package keywords

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// exprKind is ordered for [exprValue.compare].
type exprKind uint8

const (
	exprNothing exprKind = iota // the zero exprValue compares with nothing
	exprInteger
	exprFloat
	exprEnumerated
	exprMask
	exprBoolean
	exprString
	exprBytes
	exprArray
)

func (k exprKind) String() string {
	return [...]string{"a value of no kind", "a number", "a number", "an enumerated value", "a mask",
		"a boolean", "a string", "a string of bytes", "an array"}[k]
}

func (k exprKind) number() bool { return k == exprInteger || k == exprFloat }

func (k exprKind) ordered() bool { return k.number() || k == exprEnumerated || k == exprString }

// exprValue is the value of a keyword or of a part of an expression.
type exprValue struct {
	kind   exprKind
	n      int64       // of an integer, enumerated and mask; 1 is true
	f      float64     // of a float
	s      string      // of a string
	data   any         // []byte, []int64, []float64 or []string
	labels []exprLabel // of enumerated, mask and boolean
	ascii  string      // the text form of a keyword
}

// exprLabel is the name of an enumerator's number or of a bit's value.
type exprLabel struct {
	Name   string
	Number int64
}

// newExprValue returns a bool, int64, float64, string, []byte, []int64, []float64
// or []string with its text form. Any other v compares with nothing.
func newExprValue(v any, ascii string) exprValue {
	e := exprValue{ascii: ascii}
	switch v := v.(type) {
	case bool:
		e.kind, e.n = exprBoolean, exprBool(v).n
	case int64:
		e.kind, e.n = exprInteger, v
	case float64:
		e.kind, e.f = exprFloat, v
	case string:
		e.kind, e.s = exprString, v
	case []byte:
		e.kind, e.data = exprBytes, v
	case []int64, []float64, []string:
		e.kind, e.data = exprArray, v
	}
	return e
}

// newExprEnumerated returns the enumerator n with its text form; labels are made
// once, and not changed.
func newExprEnumerated(n int64, labels []exprLabel, ascii string) exprValue {
	return exprValue{kind: exprEnumerated, n: n, labels: labels, ascii: ascii}
}

// newExprMask returns the mask n with its text form. A label's number is the
// value of its bit: 1, 2, 4.
func newExprMask(n int64, labels []exprLabel, ascii string) exprValue {
	return exprValue{kind: exprMask, n: n, labels: labels, ascii: ascii}
}

func exprBool(b bool) exprValue {
	v := exprValue{kind: exprBoolean}
	if b {
		v.n = 1
	}
	return v
}

// String is for errors.
func (v exprValue) String() string {
	switch v.kind {
	case exprInteger:
		return strconv.FormatInt(v.n, 10)
	case exprFloat:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case exprBoolean:
		return strconv.FormatBool(v.n == 1)
	}
	return "'" + v.s + "'"
}

func (v *exprValue) float() float64 {
	if v.kind == exprInteger {
		return float64(v.n)
	}
	return v.f
}

func (v exprValue) element(i int) (exprValue, bool) {
	switch a := v.data.(type) {
	case []int64:
		if i < len(a) {
			return exprValue{kind: exprInteger, n: a[i]}, true
		}
	case []float64:
		if i < len(a) {
			return exprValue{kind: exprFloat, f: a[i]}, true
		}
	case []string:
		if i < len(a) {
			return exprValue{kind: exprString, s: a[i]}, true
		}
	}
	return exprValue{}, false
}

// number returns the number of a label, that in another case only if there is
// none in this one.
func (v *exprValue) number(name string) (int64, bool) {
	for _, l := range v.labels {
		if l.Name == name {
			return l.Number, true
		}
	}
	for _, l := range v.labels {
		if strings.EqualFold(l.Name, name) {
			return l.Number, true
		}
	}
	return 0, false
}

// bits returns those of a mask that w names.
func (v *exprValue) bits(w *exprValue) (int64, error) {
	var bits int64
	for name := range strings.FieldsFuncSeq(w.s, func(r rune) bool { return r == '|' || r == ',' }) {
		n, ok := v.number(strings.TrimSpace(name))
		if !ok {
			return 0, fmt.Errorf("no bit '%s'", name)
		}
		bits |= n
	}
	return bits, nil
}

// exprHasBits returns 1 if the mask v has all bits of w, a number or names.
func exprHasBits(v, w *exprValue) (int64, error) {
	if v.kind != exprMask {
		return 0, exprKinds("%s is not a mask", v.kind)
	}
	bits, err := w.n, error(nil)
	switch w.kind {
	case exprString:
		bits, err = v.bits(w)
	case exprInteger:
	default:
		err = exprKinds("%s does not name bits", w.kind)
	}
	if err == nil && (bits <= 0 || bits > math.MaxUint32) {
		err = errors.New("no bits of 32")
	}
	if err == nil && v.n&bits == bits {
		return 1, nil
	}
	return 0, err
}
