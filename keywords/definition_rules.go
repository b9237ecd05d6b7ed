package keywords

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// rules are the parts of a Definition that concern values, prepared for fast checks. They
// are never changed.
type rules struct {
	service, name string
	kind          Kind
	ints          limits[int64]
	floats        limits[float64]
	elements      int // the fixed length of an array; 0: up to maxLen
	maxLen        int
	numbers       map[string]int64 // of enumerators; of bits: 1, 2, 4, …
	names         map[int64]string // of enumerators
	bits          []string
	named         int64 // the bits that have names
	allowed       int64 // the bits that may be set: named, or all 32 if there are no names
	format        verb
	alarm         *Alarm // nil: none
}

func newRules(d *Definition) (*rules, error) {
	r := &rules{
		service: d.Service, name: d.Name, kind: d.Kind,
		maxLen: d.MaxLen, elements: len(d.Elements),
		numbers: make(map[string]int64), names: make(map[int64]string), bits: slices.Clone(d.Bits),
	}
	for n, name := range d.Enumerators {
		r.numbers[name], r.names[int64(n)] = int64(n), name
	}
	for i, name := range d.Bits {
		if name != "" {
			r.numbers[name] = 1 << i
			r.named |= 1 << i
		}
	}
	if r.allowed = r.named; r.named == 0 {
		r.allowed = math.MaxUint32
	}
	if d.Alarm != (Alarm{}) {
		r.alarm = new(d.Alarm.copy())
	}
	var err error
	if r.format, err = parseVerb(d.Format, d.Kind); err != nil {
		return nil, badField("Format", "%v", err)
	}
	return r, r.setLimits(cloneValue(d.Min), cloneValue(d.Max))
}

// maxChoices is how many enumerators or bits an error names.
const maxChoices = 20

// choices returns the names of the enumerators or bits, in the order of their numbers,
// for an error.
func (r *rules) choices() string {
	names := slices.SortedFunc(maps.Keys(r.numbers), func(a, b string) int { return cmp.Compare(r.numbers[a], r.numbers[b]) })
	switch {
	case len(names) == 0:
		return "a number"
	case len(names) > maxChoices:
		return fmt.Sprintf("%s … (%d)", strings.Join(names[:maxChoices], ", "), len(names))
	}
	return strings.Join(names, ", ")
}

// ready returns the rules of d. They are made on the spot for a definition that was not
// completed.
func (d *Definition) ready() (*rules, error) {
	if d.rules != nil {
		return d.rules, nil
	}
	done, err := d.Complete()
	return done.rules, err
}

// Check returns an error if the keyword can't have the value v: it has another kind, is
// beyond a limit, is too long, or is not an enumerator. The code of the [*Error] is
// CodeMalformed, CodeRange or CodeEnumerator. NaN is beyond any limit.
func (d Definition) Check(v any) error {
	r, err := d.ready()
	if err != nil {
		return err
	}
	return r.check(v)
}

// Severity returns the severity of v by the keyword's Alarm. Prev is the severity of the
// value before, on which hysteresis depends. NaN is SeverityInvalid, also without an
// Alarm. Hysteresis applies to the limits of both sides: a value that jumps from beyond a
// limit on one side to near a limit on the other keeps its severity.
func (d Definition) Severity(v any, prev Severity) Severity {
	r, err := d.ready()
	if err != nil {
		return SeverityInvalid
	}
	return r.severity(v, prev)
}

func (r *rules) errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Service: r.service, Keyword: r.name, Text: fmt.Sprintf(format, args...)}
}

// reason returns the part of an error that does not say which keyword it is about.
func reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Text
	}
	return err.Error()
}

func (r *rules) check(v any) error {
	switch v := v.(type) {
	case bool:
		if r.kind == KindBoolean {
			return nil
		}
	case int64:
		switch r.kind {
		case KindInteger, KindInteger64:
			return r.inRange(r.ints.check(0, v))
		case KindEnumerated:
			if _, ok := r.names[v]; !ok {
				return r.errorf(CodeEnumerator, "no enumerator %d: want one of %s", v, r.choices())
			}
			return nil
		case KindMask:
			if v&^r.allowed != 0 {
				return r.errorf(CodeEnumerator, "no bit %#x", uint64(v&^r.allowed))
			}
			return nil
		}
	case float64:
		switch r.kind {
		case KindFloat:
			if !fits32(v) {
				return r.errorf(CodeMalformed, "%v has more digits than 32 bits hold", v)
			}
			return r.inRange(r.floats.check(0, v))
		case KindDouble:
			return r.inRange(r.floats.check(0, v))
		}
	case string:
		if r.kind == KindString {
			return r.checkString(v)
		}
	case []byte:
		if r.kind == KindBytes {
			return r.checkLen(len(v), "bytes")
		}
	case []bool:
		if r.kind == KindBooleanArray {
			return r.checkLen(len(v), "elements")
		}
	case []int64:
		if r.kind == KindIntegerArray {
			return checkNumbers(r, &r.ints, v)
		}
	case []float64:
		switch r.kind {
		case KindFloatArray:
			if i := slices.IndexFunc(v, func(f float64) bool { return !fits32(f) }); i >= 0 {
				return r.errorf(CodeMalformed, "element %d: %v has more digits than 32 bits hold", i, v[i])
			}
			return checkNumbers(r, &r.floats, v)
		case KindDoubleArray:
			return checkNumbers(r, &r.floats, v)
		}
	case []string:
		if r.kind == KindStringArray {
			return r.checkStrings(v)
		}
	}
	return r.errorf(CodeMalformed, "a Go %T is not a value of a keyword that is %v", v, r.kind)
}

// fits32 reports whether a number is one of 32 bits.
func fits32(f float64) bool { return float64(float32(f)) == f || f != f }

func (r *rules) inRange(wrong string) error {
	if wrong == "" {
		return nil
	}
	return r.errorf(CodeRange, "%s", wrong)
}

func (r *rules) checkLen(n int, of string) error {
	switch {
	case n > r.maxLen:
		return r.errorf(CodeRange, "%d %s, the limit is %d", n, of, r.maxLen)
	case r.elements > 0 && n != r.elements:
		return r.errorf(CodeRange, "%d %s, want %d", n, of, r.elements)
	}
	return nil
}

func (r *rules) checkString(s string) error {
	if !utf8.ValidString(s) {
		return r.errorf(CodeMalformed, "%.40q is not UTF-8", s)
	}
	return r.checkLen(len(s), "bytes")
}

func checkNumbers[N int64 | float64](r *rules, l *limits[N], list []N) error {
	if err := r.checkLen(len(list), "elements"); err != nil {
		return err
	}
	if l.min == nil && l.max == nil {
		return nil
	}
	for i, n := range list {
		if wrong := l.check(i, n); wrong != "" {
			return r.errorf(CodeRange, "element %d: %s", i, wrong)
		}
	}
	return nil
}

func (r *rules) checkStrings(list []string) error {
	if err := r.checkLen(len(list), "elements"); err != nil {
		return err
	}
	size := 0
	for i, s := range list {
		if !utf8.ValidString(s) {
			return r.errorf(CodeMalformed, "element %d: %.40q is not UTF-8", i, s)
		}
		size += len(s)
	}
	if size > maxBytes {
		return r.errorf(CodeRange, "%d bytes, the limit is %d", size, maxBytes)
	}
	return nil
}

// number returns the number of the enumerator, or the bit, with the given name. A name that
// differs in case is found if it is the only one. Ok is false if there is none.
func (r *rules) number(name string) (n int64, ok bool, err error) {
	if n, ok := r.numbers[name]; ok {
		return n, true, nil
	}
	var found []string
	for have := range r.numbers {
		if strings.EqualFold(have, name) {
			found = append(found, have)
		}
	}
	if len(found) > 1 {
		slices.Sort(found)
		return 0, false, r.errorf(CodeEnumerator, "%.40q may be any of %q", name, found)
	}
	if len(found) == 1 {
		return r.numbers[found[0]], true, nil
	}
	return 0, false, nil
}

func (r *rules) severity(v any, prev Severity) Severity {
	worst := SeverityNone
	check := func(f float64) {
		switch {
		case r.alarm != nil:
			worst = max(worst, r.alarm.severity(f, prev))
		case math.IsNaN(f):
			worst = SeverityInvalid
		}
	}
	switch v := v.(type) {
	case int64:
		if r.alarm != nil {
			check(float64(v))
		}
	case float64:
		check(v)
	case []int64:
		for _, n := range v {
			check(float64(n))
		}
	case []float64:
		for _, f := range v {
			check(f)
		}
	}
	return worst
}
