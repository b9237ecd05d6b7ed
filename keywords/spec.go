package keywords

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Spec describes a keyword for [Define]. With the zero Spec a keyword may have any value
// of its type, and may be read and modified. A type made from int32 needs Enumerators.
type Spec[T Type] struct {
	// Units, such as "mm/s", and Help, a sentence or two, are for people.
	Units, Help string

	// Format is how Definition.Display prints a value, or each element of an array:
	// text with one verb of package fmt that suits the kind, such as "%.2f" or "%04d°".
	// With %s, %v and %q, boolean, enumerated and mask keywords print names. With %H,
	// floats are printed as degrees or hours, minutes and seconds: 12.5821 by "%.1H" as
	// 12:34:55.6, and read in that form too. KTL's "%d:%m:%.1s" is the same. Empty: the
	// value's text.
	Format string

	// Min and Max are the inclusive limits of a number. Nil: no limit. For an array
	// they have one element, which limits all elements, or one for each element, which
	// also fixes the array's length.
	Min, Max *T

	// MaxLen is the maximum length: of a string or bytes in bytes, at most 524,288, by
	// default 65,536; of an array in elements, at most 16,384, by default 1,024.
	MaxLen int

	// Initial is the value that the dispatcher sets when it starts. Nil: none. A
	// keyword with Persist gets it only if it has no value yet.
	Initial *T

	// ReadOnly keywords can be set only by their dispatcher's own code. WriteOnly
	// keywords can't be read.
	ReadOnly, WriteOnly bool

	// Persist keeps the value when the dispatcher starts again. By default the value is
	// Initial again, or removed.
	Persist bool

	// Enumerators are the names of an enumerated keyword's values, by number. A number
	// with an empty name is not a value. Those of a boolean, or of an array of booleans,
	// are the names that people see for false and true.
	//
	//	Enumerators: []string{Idle: "idle", Track: "track"}
	Enumerators []string

	// Bits are the names of a mask's bits, from the lowest. A bit with an empty name
	// can't be set. Without Bits all 32 can be set, by number.
	Bits []string

	// Elements are the names of an array's elements. They fix its length.
	Elements []string

	// Alarm says which numbers are alarming. Defaults to none.
	Alarm Alarm

	// DeadBand suppresses values of Set and of the Read hook that differ by at most this
	// much from the present value, in Units; of arrays, in each element. Modify is not
	// affected. Defaults to 0: any change is committed.
	DeadBand float64

	// NoBroadcast keywords are not published. Clients that watch them read them every
	// Period, or every second if Period is 0.
	NoBroadcast bool

	// Period is the time between two calls of the Read hook by the dispatcher. At least
	// 1 ms. Defaults to 0: the hook is called only on request.
	Period time.Duration

	// History is the number of values that are kept for the function History and for
	// WatchOptions.Every, at most 10,000. Redis may keep up to a hundred more. Defaults to 0.
	History int

	// Dispatcher is the name of the dispatcher that the keyword belongs to. Defaults to
	// "main".
	Dispatcher string
}

// Keyword is a defined keyword with the Go type of its values. Dispatchers and clients
// use the same Keyword. [Define] and [Bind] make it; functions refuse the zero Keyword.
type Keyword[T Type] struct {
	def  *Definition
	form form[T]
}

// Define returns the keyword name of a service. T determines its kind:
//
//	var Speed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "mm/s", Min: new(0.0), Max: new(20.0)})
//
// An int is integer64. An int32 is integer, or enumerated if Spec.Enumerators are given.
// A service's name consists of lower-case letters, digits, '_' and '-', a keyword's name
// of upper-case letters and the same; both begin with a letter or digit and have at most
// 100 bytes. Define panics, with an error that names the field, on a bad name or Spec.
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

// Bind returns the keyword of a definition that was loaded or published, for values of
// type T. T must suit the definition's kind: int and int64 suit integer and integer64, a
// type made from int32 any enumerated keyword, one made from uint32 any mask.
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

// checkKind returns an error if the keyword was published as a kind that is no T. It
// asks Redis at the first use of a keyword by a client. What can't be found out is no
// error here: what is done next finds it.
func (k Keyword[T]) checkKind(ctx context.Context, c *Client) error {
	key := k.def.Service + "." + k.def.Name
	kind, known := c.kinds.Load(key)
	if !known {
		def, err := c.Describe(ctx, k.def.Service, k.def.Name)
		var unknown *Error
		switch {
		case errors.As(err, &unknown):
			return nil // what is to be done says so
		case err != nil:
			return err
		}
		kind = def.Kind
		c.kinds.Store(key, kind)
	}
	return k.fits(kind.(Kind))
}

// fits returns an error if values of a kind are no Ts.
func (k Keyword[T]) fits(kind Kind) error {
	if slices.Contains(k.form.kinds, kind) {
		return nil
	}
	return k.def.rules.errorf(CodeKind, "its dispatcher defines it as %v, this program as %v", kind, k.def.Kind)
}

// decode returns v as a T.
func (k Keyword[T]) decode(v any) (T, error) {
	t, ok := k.form.decode(v)
	if !ok {
		return t, k.def.rules.errorf(CodeMalformed, "a Go %T that no %T can hold", v, t)
	}
	return t, nil
}

// encode returns v in its kind's Go type: see [Kind].
func (k Keyword[T]) encode(v T) any { return k.form.encode(v) }

func (f form[T]) optional(v *T) any {
	if v == nil {
		return nil
	}
	return f.encode(*v)
}
