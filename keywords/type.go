package keywords

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Type is the constraint of keywords' Go types. An enumerated keyword has a type made from
// int32, a mask has one made from uint32:
//
//	type Mode int32  // Spec.Enumerators names its values
//	type Flags uint32 // Spec.Bits names its bits
type Type interface {
	bool | ~int32 | int64 | int | ~uint32 | float32 | float64 |
		string | []byte | []bool | []int64 | []float32 | []float64 | []string
}

// Kind is the kind of a keyword's values: those of KTL and some more. The zero Kind is
// invalid.
type Kind uint8

// The kinds, each with the Go type in which [Definition.Parse] returns its values and the
// other methods of Definition take them. Numbers have the types int64 or float64,
// whatever their width.
const (
	KindBoolean      Kind = iota + 1 // bool
	KindInteger                      // int64 that fits 32 bits
	KindInteger64                    // int64
	KindFloat                        // float64 that fits 32 bits
	KindDouble                       // float64
	KindEnumerated                   // int64, the number of an enumerator
	KindMask                         // int64; 32 bits, which may have names
	KindString                       // string, valid UTF-8
	KindBytes                        // []byte
	KindBooleanArray                 // []bool
	KindIntegerArray                 // []int64
	KindFloatArray                   // []float64, each fits 32 bits
	KindDoubleArray                  // []float64
	KindStringArray                  // []string, each valid UTF-8
)

var kindNames = [...]string{
	KindBoolean: "boolean", KindInteger: "integer", KindInteger64: "integer64", KindFloat: "float",
	KindDouble: "double", KindEnumerated: "enumerated", KindMask: "mask", KindString: "string",
	KindBytes: "bytes", KindBooleanArray: "boolean array", KindIntegerArray: "integer array",
	KindFloatArray: "float array", KindDoubleArray: "double array", KindStringArray: "string array",
}

// String returns the kind's name: boolean, integer, integer64, float, double,
// enumerated, mask, string, bytes, boolean array, integer array, float array, double
// array, string array.
func (k Kind) String() string {
	if !k.isKnown() {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.isKnown() {
		return nil, fmt.Errorf("keywords: no %v", k)
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads the name of a kind, in any case, or one that only KTL has:
// basic and keyword mean string.
func (k *Kind) UnmarshalText(text []byte) error {
	name := strings.ToLower(string(text))
	switch i := slices.Index(kindNames[:], name); {
	case i > 0:
		*k = Kind(i)
	case name == "basic", name == "keyword":
		*k = KindString
	default:
		return fmt.Errorf("keywords: no kind %.40q", text)
	}
	return nil
}

func (k Kind) isKnown() bool { return k > 0 && int(k) < len(kindNames) }

func (k Kind) isArray() bool { return k >= KindBooleanArray }

func (k Kind) isNumeric() bool {
	return k >= KindInteger && k <= KindDouble || k >= KindIntegerArray && k <= KindDoubleArray
}

// isBoolean reports whether values are booleans or arrays of them.
func (k Kind) isBoolean() bool { return k == KindBoolean || k == KindBooleanArray }

// isFloat reports whether values are floats or arrays of them.
func (k Kind) isFloat() bool {
	return k == KindFloat || k == KindDouble || k == KindFloatArray || k == KindDoubleArray
}

// floatSize returns how many bits the floats of values have.
func (k Kind) floatSize() int {
	if k == KindFloat || k == KindFloatArray {
		return 32
	}
	return 64
}

// form converts values of T to their kind's Go type and back. Define and Bind choose it
// once, so that no call has to find out what T is.
type form[T Type] struct {
	kinds  []Kind // that T suits; the first is the default
	encode func(T) any
	decode func(any) (T, bool)
}

func formOf[T Type]() form[T] {
	var zero T
	// same is for a T that is its kind's Go type.
	same := func(kinds ...Kind) form[T] {
		return form[T]{
			kinds:  kinds,
			encode: func(v T) any { return v },
			decode: func(v any) (T, bool) { t, ok := v.(T); return t, ok },
		}
	}
	switch any(zero).(type) {
	case bool:
		return same(KindBoolean)
	case int64:
		return same(KindInteger64, KindInteger)
	case float64:
		return same(KindDouble)
	case string:
		return same(KindString)
	case []byte:
		return formOfSlice[T, byte](KindBytes)
	case []bool:
		return formOfSlice[T, bool](KindBooleanArray)
	case []int64:
		return formOfSlice[T, int64](KindIntegerArray)
	case []float32:
		return form[T]{
			kinds:  []Kind{KindFloatArray},
			encode: func(v T) any { return convertEach[float64](any(v).([]float32)) },
			decode: func(v any) (t T, ok bool) {
				s, ok := v.([]float64)
				if !ok {
					return t, false
				}
				return any(convertEach[float32](s)).(T), true
			},
		}
	case []float64:
		return formOfSlice[T, float64](KindDoubleArray)
	case []string:
		return formOfSlice[T, string](KindStringArray)
	case int:
		return form[T]{
			kinds:  []Kind{KindInteger64, KindInteger},
			encode: func(v T) any { return int64(any(v).(int)) },
			decode: func(v any) (t T, ok bool) {
				n, ok := v.(int64)
				if !ok || int64(int(n)) != n { // int may have 32 bits
					return t, false
				}
				return any(int(n)).(T), true
			},
		}
	case int32:
		return form[T]{
			kinds:  []Kind{KindInteger, KindEnumerated},
			encode: func(v T) any { return int64(any(v).(int32)) },
			decode: func(v any) (t T, ok bool) {
				n, ok := v.(int64)
				if !ok || int64(int32(n)) != n {
					return t, false
				}
				return any(int32(n)).(T), true
			},
		}
	case float32:
		return form[T]{
			kinds:  []Kind{KindFloat},
			encode: func(v T) any { return float64(any(v).(float32)) },
			decode: func(v any) (t T, ok bool) {
				f, ok := v.(float64)
				if !ok {
					return t, false
				}
				return any(float32(f)).(T), true
			},
		}
	}
	// A named type of the host. A type parameter that may also be a slice can't be
	// converted without reflection, which costs 5 ns here.
	if reflect.TypeFor[T]().Kind() == reflect.Int32 {
		return form[T]{
			kinds:  []Kind{KindEnumerated},
			encode: func(v T) any { return reflect.ValueOf(v).Int() },
			decode: func(v any) (t T, ok bool) {
				n, ok := v.(int64)
				if !ok || int64(int32(n)) != n {
					return t, false
				}
				reflect.ValueOf(&t).Elem().SetInt(n)
				return t, true
			},
		}
	}
	return form[T]{
		kinds:  []Kind{KindMask},
		encode: func(v T) any { return int64(reflect.ValueOf(v).Uint()) },
		decode: func(v any) (t T, ok bool) {
			n, ok := v.(int64)
			if !ok || int64(uint32(n)) != n {
				return t, false
			}
			reflect.ValueOf(&t).Elem().SetUint(uint64(n))
			return t, true
		},
	}
}

// formOfSlice copies in both directions, so that a caller or watcher that changes its
// slice affects no other.
func formOfSlice[T Type, E any](kind Kind) form[T] {
	clone := func(s []E) []E { return append(make([]E, 0, len(s)), s...) }
	return form[T]{
		kinds:  []Kind{kind},
		encode: func(v T) any { return clone(any(v).([]E)) },
		decode: func(v any) (t T, ok bool) {
			s, ok := v.([]E)
			if !ok {
				return t, false
			}
			return any(clone(s)).(T), true
		},
	}
}

// convertEach returns the numbers of from as Ts.
func convertEach[T, F float32 | float64](from []F) []T {
	to := make([]T, len(from))
	for i, f := range from {
		to[i] = T(f)
	}
	return to
}
