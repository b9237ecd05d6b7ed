package keywords

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Spec is what [Define] is told of a keyword. The zero Spec is that of a keyword
// that may have any value of its type and be read and modified, save that a
// type made from int32 needs Enumerators.
type Spec[T Type] struct {
	// Units and Help are for people: "mm/s", and a sentence or two.
	Units, Help string

	// Format is how people are shown a value, or each element of an array: text
	// with one verb of fmt that suits the kind, such as "%.2f" or "%04d°".
	// Booleans, enumerated and mask keywords show names for %s, %v and %q. Empty:
	// the value's text.
	Format string

	// Min and Max are inclusive limits of numbers; nil is none. Of arrays, one
	// element limits all; more say how many elements the array has, and limit
	// each.
	Min, Max *T

	// MaxLen is the longest string or bytes, in bytes, up to 524,288, or array,
	// in elements, up to 16,384. 0: 65,536 and 1,024.
	MaxLen int

	// EventInitial is the value until there is another; nil: none.
	Initial *T

	// ReadOnly keywords are modified by nobody but their dispatcher's own code,
	// WriteOnly ones can't be read.
	ReadOnly, WriteOnly bool

	// Persist keeps the value when the dispatcher starts again. Otherwise it is
	// EventInitial again.
	Persist bool

	// Enumerators are the names of an enumerated keyword's values, by number; an
	// empty name is no value. Those of a boolean are what false and true are
	// called by people.
	//
	//	Enumerators: []string{Idle: "idle", Track: "track"}
	Enumerators []string

	// Bits are the names of a mask's bits, from the lowest; an empty name is no
	// bit. Without any, all 32 may be set, by number.
	Bits []string

	// Elements are the names of an array's elements, which then has so many.
	Elements []string

	// Alarm says which numbers are alarming. Zero: none is.
	Alarm Alarm

	// DeadBand is how far a number, or an element, must be from what was last
	// published to be published again, in Units. 0: any change is.
	DeadBand float64

	// NoBroadcast keywords are not published at all, but polled by who watches
	// them, every Period. Period is also how often the dispatcher reads one that
	// has a read hook. 0: never, and clients poll at their own pace. At least
	// 1 ms.
	NoBroadcast bool
	Period      time.Duration

	// History is how many of the last values are kept, up to 10,000. 0: none.
	History int

	// Dispatcher is the name of the dispatcher that owns the keyword. Empty:
	// main.
	Dispatcher string
}

// Keyword is a defined keyword and the Go type of its values. Dispatchers and
// clients share it. It is made by [Define] or [Bind]; the zero Keyword is none.
type Keyword[T Type] struct {
	def  *Definition
	form form[T]
}

// Define returns the keyword of that name of that service. T says its kind:
//
//	var Speed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "mm/s", Min: new(0.0), Max: new(20.0)})
//
// int is integer64, and int32 is integer, or enumerated if Spec.Enumerators are
// given. Services are lower-case letters, digits, '_' and '-', keywords the same
// in upper case; the first is a letter or digit, and 100 is the most. Define
// panics, with an error that names the field, on a bad name or Spec.
func Define[T Type](service, name string, spec Spec[T]) Keyword[T] {
	form := formOf[T]()
	kind := form.kinds[0]
	if len(spec.Enumerators) > 0 && slices.Contains(form.kinds, KindEnumerated) {
		kind = KindEnumerated
	}
	d := Definition{
		Service: service, Name: name, Dispatcher: spec.Dispatcher, Kind: kind,
		Units: spec.Units, Help: spec.Help, Format: spec.Format,
		Min: form.optional(spec.Min), Max: form.optional(spec.Max), Initial: form.optional(spec.Initial),
		MaxLen: spec.MaxLen, ReadOnly: spec.ReadOnly, WriteOnly: spec.WriteOnly,
		Persist: spec.Persist, NoBroadcast: spec.NoBroadcast,
		Bits: spec.Bits, Elements: spec.Elements, Alarm: spec.Alarm,
		DeadBand: spec.DeadBand, Period: spec.Period, History: spec.History,
	}
	for i, name := range spec.Enumerators {
		if name == "" {
			continue
		}
		if d.Enumerators == nil {
			d.Enumerators = make(map[int32]string)
		}
		d.Enumerators[int32(i)] = name
	}
	d, err := d.Complete()
	if err != nil {
		panic(err)
	}
	return Keyword[T]{&d, form}
}

// Bind returns the keyword of a definition that was loaded or published, for
// values of type T. The kind must be one that T may be: int and int64 may be
// integer too, and a type made from int32 or uint32 any enumerated or mask
// keyword.
func Bind[T Type](d Definition) (Keyword[T], error) {
	d, err := d.Complete()
	if err != nil {
		return Keyword[T]{}, err
	}
	form := formOf[T]()
	if !slices.Contains(form.kinds, d.Kind) {
		return Keyword[T]{}, fmt.Errorf("keywords: %v: a keyword that is %v has no values of type %v", d, d.Kind, reflect.TypeFor[T]())
	}
	return Keyword[T]{&d, form}, nil
}

// Service returns the name of the keyword's service.
func (k Keyword[T]) Service() string { return k.Definition().Service }

// Name returns the keyword's name.
func (k Keyword[T]) Name() string { return k.Definition().Name }

// String returns "stage.SPEED".
func (k Keyword[T]) String() string { return k.Definition().String() }

// Definition returns the keyword's definition. Its maps and slices must not be
// changed. That of the zero Keyword is the zero Definition.
func (k Keyword[T]) Definition() Definition {
	if k.def == nil {
		return Definition{}
	}
	return *k.def
}

// check returns an error if k is the zero Keyword. Caller is the function that got it.
func (k Keyword[T]) check(caller string) error {
	if k.def == nil {
		return fmt.Errorf("keywords: %s: zero Keyword, make it with Define or Bind", caller)
	}
	return nil
}

// decode returns v as a T.
func (k Keyword[T]) decode(v any) (T, error) {
	t, ok := k.form.decode(v)
	if !ok {
		return t, k.def.rules.errorf(CodeMalformed, "a Go %T is no %T", v, t)
	}
	return t, nil
}

// encode returns v as the other parts of this package have it: see [Kind].
func (k Keyword[T]) encode(v T) any { return k.form.encode(v) }

func (f form[T]) optional(v *T) any {
	if v == nil {
		return nil
	}
	return f.encode(*v)
}
