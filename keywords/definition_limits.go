package keywords

import (
	"fmt"
	"math"
)

// limits are inclusive limits of numbers: each side has none, one for all, or one for each
// element of an array.
type limits[N int64 | float64] struct{ min, max []N }

func (r *rules) setLimits(low, high any) error {
	if (low != nil || high != nil) && !r.kind.isNumeric() {
		field := "Min"
		if low == nil {
			field = "Max"
		}
		return badField(field, "not for a keyword that is %v", r.kind)
	}
	var err error
	switch r.kind {
	case KindInteger:
		// The defaults are the limits of 32 bits; given limits are checked to be within.
		r.ints = limits[int64]{[]int64{math.MinInt32}, []int64{math.MaxInt32}}
		given := limits[int64]{}
		if given, err = limitsOf[int64](r, low, high); err == nil {
			if given.min != nil {
				r.ints.min = given.min
			}
			if given.max != nil {
				r.ints.max = given.max
			}
		}
	case KindInteger64, KindIntegerArray:
		r.ints, err = limitsOf[int64](r, low, high)
	case KindFloat, KindDouble, KindFloatArray, KindDoubleArray:
		r.floats, err = limitsOf[float64](r, low, high)
	}
	return err
}

func limitsOf[N int64 | float64](r *rules, low, high any) (l limits[N], err error) {
	side := func(field string, v any) ([]N, error) {
		if v == nil {
			return nil, nil
		}
		list, ok := v.([]N)
		if n, scalar := v.(N); scalar && !r.kind.isArray() {
			list, ok = []N{n}, true
		} else {
			ok = ok && r.kind.isArray()
		}
		if !ok || len(list) == 0 {
			return nil, badField(field, "%v, a Go %T, is not a value of a keyword that is %v", v, v, r.kind)
		}
		for _, n := range list {
			if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) || r.kind.floatSize() == 32 && float64(float32(f)) != f ||
				r.kind == KindInteger && int64(int32(n)) != int64(n) {
				return nil, badField(field, "%v can't limit a keyword that is %v", n, r.kind)
			}
		}
		switch {
		case len(list) > 1 && r.elements > 0 && len(list) != r.elements:
			return nil, badField(field, "%d limits for %d elements", len(list), r.elements)
		case len(list) > r.maxLen && r.kind.isArray():
			return nil, badField(field, "%d limits for a MaxLen of %d", len(list), r.maxLen)
		case len(list) > 1:
			r.elements = len(list)
		}
		return list, nil
	}
	if l.min, err = side("Min", low); err != nil {
		return l, err
	}
	if l.max, err = side("Max", high); err != nil {
		return l, err
	}
	for i := range max(len(l.min), len(l.max)) {
		if len(l.min) > 0 && len(l.max) > 0 && l.max[i%len(l.max)] < l.min[i%len(l.min)] {
			return l, badField("Max", "%v is below Min, %v", l.max[i%len(l.max)], l.min[i%len(l.min)])
		}
	}
	return l, nil
}

// check returns what is wrong with n, or "". The index i is that in an array.
func (l *limits[N]) check(i int, n N) string {
	if len(l.min) > 0 {
		if low := l.min[i%len(l.min)]; n < low {
			return fmt.Sprintf("%v is below %v", n, low)
		} else if n != n {
			return fmt.Sprintf("%v is not above %v", n, low)
		}
	}
	if len(l.max) > 0 {
		if high := l.max[i%len(l.max)]; n > high {
			return fmt.Sprintf("%v is above %v", n, high)
		} else if n != n {
			return fmt.Sprintf("%v is not below %v", n, high)
		}
	}
	return ""
}
