package keywords_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

func TestCheck(t *testing.T) {
	speed := keywords.Define("stage", "SPEED", keywords.Spec[float64]{Min: new(0.0), Max: new(20.0)}).Definition()
	count := keywords.Define("stage", "COUNT", keywords.Spec[int32]{Min: new(int32(-5))}).Definition()
	big := keywords.Define("stage", "BIG", keywords.Spec[int64]{Max: new(int64(1<<53 + 1))}).Definition()
	ratio := keywords.Define("stage", "RATIO", keywords.Spec[float32]{Max: new(float32(0.1))}).Definition()
	short := keywords.Define("stage", "SHORT", keywords.Spec[string]{MaxLen: 3}).Definition()
	every := keywords.Define("stage", "EVERY", keywords.Spec[[]float64]{Min: new([]float64{0}), MaxLen: 4}).Definition()
	each := keywords.Define("stage", "EACH", keywords.Spec[[]int64]{Min: new([]int64{0, 10}), Max: new([]int64{9, 19})}).Definition()
	ratios := keywords.Define("stage", "RATIOS", keywords.Spec[[]float32]{Min: new([]float32{0}), Max: new([]float32{0.5, 1})}).Definition()
	switches := keywords.Define("stage", "SWITCHES", keywords.Spec[[]bool]{Elements: []string{"left", "right"}}).Definition()
	named := keywords.Define("stage", "NAMED", keywords.Spec[[]float64]{Elements: []string{"x", "y", "z"}, Max: new([]float64{1})}).Definition()
	for _, row := range []struct {
		d    keywords.Definition
		v    any
		want string // empty: may be
	}{
		{speed, 0.0, ""},
		{speed, 20.0, ""},
		{speed, math.Copysign(0, -1), ""},
		{speed, 25.0, "range: 25 is above 20"},
		{speed, math.Nextafter(20, 21), "range: 20.000000000000004 is above 20"},
		{speed, -5e-324, "range: -5e-324 is below 0"},
		{speed, math.NaN(), "range: NaN is not above 0"},
		{speed, math.Inf(1), "range: +Inf is above 20"},
		{speed, int64(5), "malformed: a Go int64 is not a value of a keyword that is double"},
		{speed, "5", "malformed: a Go string is not a value of a keyword that is double"},
		{speed, nil, "malformed: a Go <nil> is not a value of a keyword that is double"},
		{double, math.NaN(), ""},
		{double, math.Inf(-1), ""},
		{boolean, true, ""},
		{boolean, int64(1), "malformed: a Go int64 is not a value of a keyword that is boolean"},
		{integer, int64(math.MaxInt32), ""},
		{integer, int64(math.MinInt32), ""},
		{integer, int64(math.MaxInt32 + 1), "range: 2147483648 is above 2147483647"},
		{integer, int64(math.MinInt32 - 1), "range: -2147483649 is below -2147483648"},
		{count, int64(-5), ""},
		{count, int64(-6), "range: -6 is below -5"},
		{count, int64(math.MaxInt32), ""},
		{count, int64(math.MaxInt32 + 1), "range: 2147483648 is above 2147483647"},
		{integer64, int64(math.MaxInt64), ""},
		{big, int64(1<<53 + 1), ""},
		{big, int64(1<<53 + 2), "range: 9007199254740994 is above 9007199254740993"},
		{float, 0.1, "malformed: 0.1 has more digits than 32 bits hold"},
		{float, float64(float32(0.1)), ""},
		{float, math.NaN(), ""},
		{ratio, float64(float32(0.1)), ""},
		{enumerated, int64(5), ""},
		{enumerated, int64(2), "enumerator: no enumerator 2: want one of idle, Track, slew"},
		{mask, int64(1<<31 + 1), ""},
		{mask, int64(0), ""},
		{mask, int64(5), "enumerator: no bit 0x4"},
		{mask, int64(-1), "enumerator: no bit 0xffffffff7fffffec"},
		{unnamed, int64(math.MaxUint32), ""},
		{unnamed, int64(1 << 32), "enumerator: no bit 0x100000000"},
		{short, "αb", ""},
		{short, "αβ", "range: 4 bytes, the limit is 3"},
		{short, "\xff", `malformed: "\xff" is not UTF-8`},
		{text, strings.Repeat("a", 65_536), ""},
		{text, strings.Repeat("a", 65_537), "range: 65537 bytes, the limit is 65536"},
		{data, make([]byte, 65_537), "range: 65537 bytes, the limit is 65536"},
		{data, []byte("\xff"), ""},
		{every, []float64{0, 1, 2, 3}, ""},
		{every, []float64{}, ""},
		{every, []float64(nil), ""},
		{every, []float64{0, 1, 2, 3, 4}, "range: 5 elements, the limit is 4"},
		{every, []float64{0, -1}, "range: element 1: -1 is below 0"},
		{every, []float64{math.NaN()}, "range: element 0: NaN is not above 0"},
		{each, []int64{9, 19}, ""},
		{each, []int64{9, 9}, "range: element 1: 9 is below 10"},
		{each, []int64{10, 10}, "range: element 0: 10 is above 9"},
		{each, []int64{0}, "range: 1 elements, want 2"},
		{ratios, []float64{float64(float32(0.1)), 1}, ""},
		{ratios, []float64{0.5, 0.1}, "malformed: element 1: 0.1 has more digits than 32 bits hold"},
		{ratios, []float64{0.75, 1}, "range: element 0: 0.75 is above 0.5"},
		{ratios, []float64{0.5}, "range: 1 elements, want 2"},
		{ratios, []float32{0.5, 1}, "malformed: a Go []float32 is not a value of a keyword that is float array"},
		{switches, []bool{true, false}, ""},
		{switches, []bool{true}, "range: 1 elements, want 2"},
		{switches, []int64{1, 0}, "malformed: a Go []int64 is not a value of a keyword that is boolean array"},
		{booleans, make([]bool, 1025), "range: 1025 elements, the limit is 1024"},
		{named, []float64{1, 1, 1}, ""},
		{named, []float64{1, 1}, "range: 2 elements, want 3"},
		{named, []float64{1, 1, 2}, "range: element 2: 2 is above 1"},
		{integers, make([]int64, 1025), "range: 1025 elements, the limit is 1024"},
		{texts, []string{"a", "\xff"}, `malformed: element 1: "\xff" is not UTF-8`},
		{texts, []string{strings.Repeat("a", 1<<19), "a"}, "range: 524289 bytes, the limit is 524288"},
	} {
		err := row.d.Check(row.v)
		if row.want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, "keywords: "+row.d.String()+": "+row.want)
		code, _, _ := strings.Cut(row.want, ":")
		require.ErrorIs(t, err, keywords.Code(code))
	}
}

func TestNear(t *testing.T) {
	nan := math.NaN()
	for _, row := range []struct {
		a, b any
		band float64
		want bool
	}{
		{true, true, 0, true},
		{true, false, 1, false},
		{true, int64(1), 0, false},
		{int64(3), int64(3), 0, true},
		{int64(3), int64(4), 0, false},
		{int64(3), int64(4), 1, true},
		{int64(3), int64(5), 1.5, false},
		{int64(math.MinInt64), int64(math.MaxInt64), 1e18, false},
		{int64(math.MinInt64), int64(math.MaxInt64), 2e19, true},
		{1.0, 1.5, 0.5, true},
		{1.0, 1.5, 0.4, false},
		{0.0, math.Copysign(0, -1), 0, true},
		{nan, nan, 0, true},
		{nan, 1.0, 1e9, false},
		{math.Inf(1), math.Inf(1), 0, true},
		{math.Inf(1), 1.0, 1e9, false},
		{"a", "a", 0, true},
		{"a", "b", 9, false},
		{[]byte("a"), []byte("a"), 0, true},
		{[]byte(nil), []byte{}, 0, true},
		{[]int64{1, 2}, []int64{1, 3}, 1, true},
		{[]int64{1, 2}, []int64{1, 3}, 0, false},
		{[]int64{1, 2}, []int64{1}, 9, false},
		{[]bool{true, false}, []bool{true, false}, 0, true},
		{[]bool{true, false}, []bool{true, true}, 9, false},
		{[]bool{true}, []int64{1}, 9, false},
		{[]float64{1, nan}, []float64{1.1, nan}, 0.2, true},
		{[]string{"a"}, []string{"a"}, 0, true},
		{[]string{"a"}, []string{"b"}, 9, false},
		{nil, nil, 0, true},
		{nil, 0.0, 0, false},
		{0.0, nil, 0, false},
	} {
		require.Equal(t, row.want, keywords.Near(row.a, row.b, row.band), "%v %v %v", row.a, row.b, row.band)
	}
}

func TestSeverity(t *testing.T) {
	const none, minor, major, invalid = keywords.SeverityNone, keywords.SeverityMinor, keywords.SeverityMajor, keywords.SeverityInvalid
	temp := keywords.Define("s", "TEMP", keywords.Spec[float64]{Alarm: keywords.Alarm{
		LowMajor: new(-10.0), LowMinor: new(0.0), HighMinor: new(30.0), HighMajor: new(40.0), Hysteresis: 2,
	}}).Definition()
	for _, row := range []struct {
		v          float64
		prev, want keywords.Severity
	}{
		{15, none, none},
		{30, none, minor},
		{29.9, none, none},
		{29.9, minor, minor},
		{28, minor, none}, // all of the hysteresis away
		{40, none, major},
		{39, minor, minor},
		{39, major, major},
		{38, major, minor},
		{29, major, minor},
		{28, major, none},
		{0, none, minor},
		{1.9, minor, minor},
		{2, minor, none},
		{-10, none, major},
		{-8.5, major, major},
		{-8, major, minor},
		{math.Inf(1), none, major},
		{math.NaN(), none, invalid},
		{29, invalid, none},
	} {
		require.Equal(t, row.want, temp.Severity(row.v, row.prev), "%v after %v", row.v, row.prev)
	}
	require.Equal(t, invalid, double.Severity(math.NaN(), none))
	require.Equal(t, none, double.Severity(1e300, major))
	high := keywords.Define("s", "HIGH", keywords.Spec[[]int64]{Alarm: keywords.Alarm{HighMajor: new(5.0)}}).Definition()
	require.Equal(t, none, high.Severity([]int64{4, 4}, none))
	require.Equal(t, major, high.Severity([]int64{4, 5}, none))
	require.Equal(t, invalid, doubles.Severity([]float64{1, math.NaN()}, none))
	require.Equal(t, none, text.Severity("x", none))
	hot := keywords.Define("s", "HOT", keywords.Spec[[]float32]{Alarm: keywords.Alarm{HighMinor: new(0.5)}}).Definition()
	require.Equal(t, minor, hot.Severity([]float64{0, 0.5}, none))

	for s := none; s <= invalid; s++ {
		name, err := s.MarshalText()
		require.NoError(t, err)
		var got keywords.Severity
		require.NoError(t, got.UnmarshalText(name))
		require.Equal(t, s, got)
	}
	require.EqualError(t, new(keywords.Severity).UnmarshalText([]byte("bad")), `keywords: no severity "bad"`)
	require.Equal(t, "severity 9", keywords.Severity(9).String())
}
