package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// kind is the kind of a Value. Value.compare relies on the order of the constants.
type kind uint8

const (
	kindNothing kind = iota // of the zero Value, which compares with nothing
	kindInteger
	kindFloat
	kindEnumerated
	kindMask
	kindBoolean
	kindString
	kindBytes
	kindArray
)

func (k kind) String() string {
	return [...]string{"a value of no kind", "a number", "a number", "an enumerated value", "a mask",
		"a boolean", "a string", "a string of bytes", "an array"}[k]
}

func (k kind) number() bool { return k == kindInteger || k == kindFloat }

func (k kind) ordered() bool { return k.number() || k == kindEnumerated || k == kindString }

// Value is the value of a keyword or of an operand.
type Value struct {
	kind   kind
	n      int64   // of an integer, enumerated and mask; 1 is true
	f      float64 // of a float
	s      string  // of a string
	data   any     // []byte, []bool, []int64, []float64 or []string
	labels []Label // of enumerated, mask, boolean and an array of booleans
	ascii  string  // the text form of a keyword
}

// Label is the name of an enumerator's number or of a bit's value.
type Label struct {
	Name   string
	Number int64
}

// NewValue returns v, a bool, int64, float64, string, []byte, []bool, []int64,
// []float64 or []string, with its text form. A v of another type compares with nothing.
func NewValue(v any, ascii string) Value {
	e := Value{ascii: ascii}
	switch v := v.(type) {
	case bool:
		e.kind, e.n = kindBoolean, boolean(v).n
	case int64:
		e.kind, e.n = kindInteger, v
	case float64:
		e.kind, e.f = kindFloat, v
	case string:
		e.kind, e.s = kindString, v
	case []byte:
		e.kind, e.data = kindBytes, v
	case []bool, []int64, []float64, []string:
		e.kind, e.data = kindArray, v
	}
	return e
}

// Boolean returns v with its text form. Labels, which may be nil, name false (0)
// and true (1); they must not be changed.
func Boolean(v bool, labels []Label, ascii string) Value {
	b := boolean(v)
	b.labels, b.ascii = labels, ascii
	return b
}

// Booleans returns an array of booleans with its text form. Labels are as those of
// [Boolean], for each element.
func Booleans(v []bool, labels []Label, ascii string) Value {
	return Value{kind: kindArray, data: v, labels: labels, ascii: ascii}
}

// Enumerated returns the enumerator with number n and its text form. Labels must
// not be changed.
func Enumerated(n int64, labels []Label, ascii string) Value {
	return Value{kind: kindEnumerated, n: n, labels: labels, ascii: ascii}
}

// Mask returns the mask n with its text form. A label's number is the value of
// its bit: 1, 2, 4. Labels must not be changed.
func Mask(n int64, labels []Label, ascii string) Value {
	return Value{kind: kindMask, n: n, labels: labels, ascii: ascii}
}

func boolean(b bool) Value {
	v := Value{kind: kindBoolean}
	if b {
		v.n = 1
	}
	return v
}

// String returns the value as errors show it.
func (v Value) String() string {
	switch v.kind {
	case kindInteger:
		return strconv.FormatInt(v.n, 10)
	case kindFloat:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case kindBoolean:
		return strconv.FormatBool(v.n == 1)
	}
	return "'" + v.s + "'"
}

func (v *Value) float() float64 {
	if v.kind == kindInteger {
		return float64(v.n)
	}
	return v.f
}

func (v Value) element(i int) (Value, bool) {
	switch a := v.data.(type) {
	case []bool:
		if i < len(a) {
			return Boolean(a[i], v.labels, ""), true
		}
	case []int64:
		if i < len(a) {
			return Value{kind: kindInteger, n: a[i]}, true
		}
	case []float64:
		if i < len(a) {
			return Value{kind: kindFloat, f: a[i]}, true
		}
	case []string:
		if i < len(a) {
			return Value{kind: kindString, s: a[i]}, true
		}
	}
	return Value{}, false
}

// number returns the number of the label with the given name. A label in another case is
// used only if there is none in this one.
func (v *Value) number(name string) (int64, bool) {
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

// bits returns the bits of the mask v that the string w names.
func (v *Value) bits(w *Value) (int64, error) {
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

// hasBits returns 1 if the mask v has all bits of w, a number or names.
func hasBits(v, w *Value) (int64, error) {
	if v.kind != kindMask {
		return 0, kindErrorf("%s is not a mask", v.kind)
	}
	bits, err := w.n, error(nil)
	switch w.kind {
	case kindString:
		bits, err = v.bits(w)
	case kindInteger:
	default:
		err = kindErrorf("%s does not name bits", w.kind)
	}
	if err == nil && (bits <= 0 || bits > math.MaxUint32) {
		err = errors.New("want one or more of 32 bits")
	}
	if err == nil && v.n&bits == bits {
		return 1, nil
	}
	return 0, err
}
