package keywords

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

const (
	defaultDispatcher = "main"

	maxName    = 100     // bytes of a name (of a service, keyword, dispatcher, enumerator, bit or element) and of units
	maxHelp    = 1 << 14 // bytes
	maxHistory = 10_000  // values

	// Limits and defaults of MaxLen. A message of the bus holds 1 MiB; half a MiB as
	// base64, and the text of 16,384 numbers, fit.
	maxBytes, defaultBytes       = 1 << 19, 1 << 16
	maxElements, defaultElements = 1 << 14, 1 << 10

	minPeriod = time.Millisecond
)

// Definition describes a keyword without its Go type. [Define] makes it from a [Spec],
// dispatchers publish it in Redis, and files in JSON or KTL's XML contain it. Its methods
// check values and convert them to text and back; values have the Go type that [Kind]
// names. Several goroutines may use it at the same time.
//
// Call [Definition.Complete] on a Definition that was made by hand or changed. Otherwise
// the methods of a changed one work as before the change, and those of one made by hand
// complete it in every call, which is slow.
type Definition struct {
	Service    string `json:"service"`
	Name       string `json:"name"`
	Dispatcher string `json:"dispatcher,omitempty"` // defaults to "main"
	Kind       Kind   `json:"kind"`

	Units  string `json:"units,omitempty"`
	Help   string `json:"help,omitempty"`
	Format string `json:"format,omitempty"` // see Spec

	// Min and Max are inclusive limits, of the type of a value; see Spec. Nil: no limit.
	// In JSON they are numbers or arrays of numbers.
	Min any `json:"min,omitempty"`
	Max any `json:"max,omitempty"`
	// Initial is the first value; see Spec. Nil: none. In JSON it is a boolean, a
	// number, an array of numbers or strings, or the value's text.
	Initial any `json:"initial,omitempty"`

	MaxLen      int  `json:"max_len,omitempty"` // see Spec; completed, it is 0 only for kinds without a length
	ReadOnly    bool `json:"read_only,omitempty"`
	WriteOnly   bool `json:"write_only,omitempty"`
	Persist     bool `json:"persist,omitempty"`
	NoBroadcast bool `json:"no_broadcast,omitempty"`

	Enumerators map[int32]string `json:"enumerators,omitempty"` // names by number; those of booleans are for false (0) and true (1)
	Bits        []string         `json:"bits,omitempty"`        // of a mask, lowest first; see Spec
	Elements    []string         `json:"elements,omitempty"`    // of an array

	Alarm    Alarm         `json:"alarm,omitzero"`
	DeadBand float64       `json:"dead_band,omitempty"`
	Period   time.Duration `json:"period,omitempty"` // in JSON: seconds
	History  int           `json:"history,omitempty"`

	rules *rules // nil: not completed
}

// String returns "stage.SPEED".
func (d Definition) String() string { return d.Service + "." + d.Name }

// same reports whether two definitions are published alike.
func (d *Definition) same(other *Definition) bool {
	if reflect.DeepEqual(d, other) {
		return true
	}
	a, errA := storage.JSON.Marshal(d) // NaN differs from itself
	b, errB := storage.JSON.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Complete returns the definition with its defaults filled in, or an error with a
// [*FieldError] in its chain. The result shares no memory with d.
func (d Definition) Complete() (Definition, error) {
	d.Dispatcher = cmp.Or(d.Dispatcher, defaultDispatcher)
	d.Enumerators, d.Bits, d.Elements = maps.Clone(d.Enumerators), slices.Clone(d.Bits), slices.Clone(d.Elements)
	d.Alarm = d.Alarm.copy()
	d.Min, d.Max, d.Initial = cloneValue(d.Min), cloneValue(d.Max), cloneValue(d.Initial)
	d.rules = nil
	if err := d.complete(); err != nil {
		return d, fmt.Errorf("keywords: %s.%s: %w", d.Service, d.Name, err)
	}
	return d, nil
}

func (d *Definition) complete() error {
	for _, check := range []func() error{d.checkNames, d.checkNamed, d.checkText, d.completeLen, d.checkRest} {
		if err := check(); err != nil {
			return err
		}
	}
	r, err := newRules(d)
	if err != nil {
		return err
	}
	if d.Initial != nil {
		if err := r.check(d.Initial); err != nil {
			return badField("Initial", "%s", reason(err))
		}
	}
	d.rules = r
	return nil
}

func (d *Definition) checkNames() error {
	if err := checkServiceName(d.Service); err != nil {
		return badField("Service", "%v", err)
	}
	if err := checkKeywordName(d.Name); err != nil {
		return badField("Name", "%v", err)
	}
	if err := checkServiceName(d.Dispatcher); err != nil {
		return badField("Dispatcher", "%v", err)
	}
	if !d.Kind.isKnown() {
		return badField("Kind", "no %v", d.Kind)
	}
	return nil
}

// checkNamed checks the names of enumerators, bits and elements.
func (d *Definition) checkNamed() error {
	of := func(field string, given bool, kinds ...Kind) error {
		if given && !slices.Contains(kinds, d.Kind) {
			return badField(field, "not for a keyword that is %v", d.Kind)
		}
		return nil
	}
	if err := cmp.Or(
		of("Enumerators", len(d.Enumerators) > 0, KindBoolean, KindBooleanArray, KindEnumerated),
		of("Bits", len(d.Bits) > 0, KindMask),
		of("Elements", len(d.Elements) > 0, KindBooleanArray, KindIntegerArray, KindFloatArray, KindDoubleArray, KindStringArray),
	); err != nil {
		return err
	}
	numbers := slices.Sorted(maps.Keys(d.Enumerators))
	seen := make(map[string]bool)
	for _, n := range numbers {
		name := d.Enumerators[n]
		if err := checkLabel(name, seen); err != nil {
			return badField("Enumerators", "%d: %v", n, err)
		}
		if !d.Kind.isBoolean() {
			continue
		}
		if n != 0 && n != 1 {
			return badField("Enumerators", "%d: a boolean has 0 and 1", n)
		}
		if strings.EqualFold(name, boolText(n == 0)) {
			return badField("Enumerators", "%d: name %q means the other value", n, name)
		}
	}
	if d.Kind == KindEnumerated && len(numbers) == 0 {
		return badField("Enumerators", "none")
	}
	for i, name := range d.Bits {
		switch err := checkLabel(name, seen); {
		case name == "":
		case err != nil:
			return badField("Bits", "%d: %v", i, err)
		case strings.ContainsAny(name, ",|"):
			return badField("Bits", "%d: name %q: ',' and '|' are separators", i, name)
		case strings.EqualFold(name, noBits):
			return badField("Bits", "%d: name %q means a mask without bits", i, name)
		case strings.HasPrefix(name, "0x"), strings.HasPrefix(name, "0X"):
			return badField("Bits", "%d: name %q reads as a number", i, name)
		}
	}
	if len(d.Bits) > 32 {
		return badField("Bits", "%d, the limit is 32", len(d.Bits))
	}
	if len(d.Elements) > maxElements {
		return badField("Elements", "%d, the limit is %d", len(d.Elements), maxElements)
	}
	for i, name := range d.Elements {
		if err := checkLabel(name, seen); err != nil {
			return badField("Elements", "%d: %v", i, err)
		}
	}
	return nil
}

func (d *Definition) checkText() error {
	switch {
	case len(d.Units) > maxName:
		return badField("Units", "%d bytes, the limit is %d", len(d.Units), maxName)
	case !isPrintable(d.Units):
		return badField("Units", "%q is not printable text", d.Units)
	case len(d.Help) > maxHelp:
		return badField("Help", "%d bytes, the limit is %d", len(d.Help), maxHelp)
	case !utf8.ValidString(d.Help):
		return badField("Help", "not UTF-8")
	}
	return nil
}

func (d *Definition) completeLen() error {
	standard, limit := 0, 0
	if n := len(d.Elements); n > 0 && d.MaxLen != 0 && d.MaxLen != n {
		return badField("MaxLen", "%d, want %d", d.MaxLen, n)
	}
	switch {
	case d.Kind == KindString, d.Kind == KindBytes:
		standard, limit = defaultBytes, maxBytes
	case d.Kind.isArray():
		standard, limit = defaultElements, maxElements
		if len(d.Elements) > 0 {
			standard = len(d.Elements)
		}
	}
	switch {
	case d.MaxLen != 0 && limit == 0:
		return badField("MaxLen", "not for a keyword that is %v", d.Kind)
	case d.MaxLen < 0 || d.MaxLen > limit:
		return badField("MaxLen", "%d, want 1 to %d", d.MaxLen, limit)
	}
	d.MaxLen = cmp.Or(d.MaxLen, standard)
	return nil
}

func (d *Definition) checkRest() error {
	switch {
	case d.ReadOnly && d.WriteOnly:
		return badField("WriteOnly", "the keyword is ReadOnly too")
	case !(d.DeadBand >= 0) || math.IsInf(d.DeadBand, 0):
		return badField("DeadBand", "%v, want a finite number, 0 or more", d.DeadBand)
	case d.DeadBand > 0 && !d.Kind.isNumeric():
		return badField("DeadBand", "not for a keyword that is %v", d.Kind)
	case d.Period != 0 && d.Period < minPeriod:
		return badField("Period", "%v, want 0 or %v and more", d.Period, minPeriod)
	case d.History < 0 || d.History > maxHistory:
		return badField("History", "%d, want 0 to %d", d.History, maxHistory)
	}
	return d.Alarm.check(d.Kind)
}

// checkServiceName checks the name of a service or dispatcher: lower-case
// letters, digits, '_' and '-', the first a letter or digit.
func checkServiceName(name string) error { return checkName(name, 'a', "lower-case") }

// checkKeywordName checks the name of a keyword: the same with upper-case letters.
func checkKeywordName(name string) error { return checkName(name, 'A', "upper-case") }

func checkName(name string, a byte, letters string) error {
	if err := redisio.CheckName(name); err != nil {
		return err
	}
	if len(name) > maxName {
		return fmt.Errorf("name %.32q…: %d bytes, the limit is %d", name, len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= a && c < a+26, c >= '0' && c <= '9', i > 0 && (c == '_' || c == '-'):
		default:
			return fmt.Errorf("name %q: want %s letters, digits, '_' and '-', the first a letter or digit", name, letters)
		}
	}
	return nil
}

// checkLabel checks the name of an enumerator, bit or element, and that it is not in
// seen, to which it adds it. Names that differ in case only are different: "R" and "r"
// may be two filters.
func checkLabel(name string, seen map[string]bool) error {
	switch {
	case name == "":
		return fmt.Errorf("empty name")
	case len(name) > maxName:
		return fmt.Errorf("name %.32q…: %d bytes, the limit is %d", name, len(name), maxName)
	case !isPrintable(name) || strings.TrimSpace(name) != name:
		return fmt.Errorf("name %q: control characters and spaces at the ends are not allowed", name)
	case seen[name]:
		return fmt.Errorf("name %q: given twice", name)
	}
	seen[name] = true
	return nil
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
