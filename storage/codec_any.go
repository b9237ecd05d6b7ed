package storage

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Decoded into an any, a whole number is an int64, or a uint64 if only that holds it,
// with every codec. encoding/json makes it a float64, which changes 9007199254740993;
// msgpack makes it signed or unsigned by its encoded size. So the numbers of such values
// are converted after decoding.

var anyTypes sync.Map // reflect.Type → bool

// holdsAny reports whether a value of the type can hold an interface value.
func holdsAny(v any) bool {
	t := reflect.TypeOf(v)
	if t == nil {
		return false
	}
	if known, ok := anyTypes.Load(t); ok {
		return known.(bool)
	}
	found := typeHoldsAny(t, map[reflect.Type]bool{})
	anyTypes.Store(t, found)
	return found
}

func typeHoldsAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return typeHoldsAny(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); (f.IsExported() || f.Anonymous) && typeHoldsAny(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

// settleNumbers converts the numbers in interface values.
func settleNumbers(v any) { settle(reflect.ValueOf(v)) }

func settle(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			settle(v.Elem())
		}
	case reflect.Interface:
		if v.IsNil() || !v.CanInterface() {
			return
		}
		switch n := v.Elem().Interface().(type) {
		case json.Number:
			if v.CanSet() {
				v.Set(reflect.ValueOf(number(n)))
			}
		case uint64:
			if n <= math.MaxInt64 && v.CanSet() {
				v.Set(reflect.ValueOf(int64(n)))
			}
		default:
			settle(v.Elem()) // maps and slices are shared, not copied
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			settle(v.Index(i))
		}
	case reflect.Map:
		if !typeHoldsAny(v.Type().Elem(), map[reflect.Type]bool{}) {
			return
		}
		for _, key := range v.MapKeys() { // elements can't be set in place
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(key))
			settle(elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() || f.Anonymous {
				settle(v.Field(i))
			}
		}
	}
}

// number returns n as an int64, uint64 or float64, or unchanged if none of these is
// exact.
func number(n json.Number) any {
	s := n.String()
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		return u
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && strings.ContainsAny(s, ".eE") {
		return f
	}
	return n
}
