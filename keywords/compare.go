package keywords

import (
	"bytes"
	"math"
	"slices"
)

// near reports whether two values of one kind differ by at most band; arrays, in each
// element. With a band of 0 it reports equality. NaN is near itself, and 0 near -0.
func near(a, b any, band float64) bool {
	switch a := a.(type) {
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case int64:
		b, ok := b.(int64)
		return ok && nearInts(a, b, band)
	case float64:
		b, ok := b.(float64)
		return ok && nearFloats(a, b, band)
	case string:
		b, ok := b.(string)
		return ok && a == b
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	case []bool:
		b, ok := b.([]bool)
		return ok && slices.Equal(a, b)
	case []int64:
		b, ok := b.([]int64)
		return ok && slices.EqualFunc(a, b, func(a, b int64) bool { return nearInts(a, b, band) })
	case []float64:
		b, ok := b.([]float64)
		return ok && slices.EqualFunc(a, b, func(a, b float64) bool { return nearFloats(a, b, band) })
	case []string:
		b, ok := b.([]string)
		return ok && slices.Equal(a, b)
	}
	return a == nil && b == nil
}

func nearInts(a, b int64, band float64) bool {
	return a == b || float64(uint64(max(a, b))-uint64(min(a, b))) <= band
}

func nearFloats(a, b, band float64) bool {
	return a == b || a != a && b != b || math.Abs(a-b) <= band
}

// cloneValue returns v, a copy if it is a slice.
func cloneValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return bytes.Clone(v)
	case []bool:
		return slices.Clone(v)
	case []int64:
		return slices.Clone(v)
	case []float64:
		return slices.Clone(v)
	case []string:
		return slices.Clone(v)
	}
	return v
}
