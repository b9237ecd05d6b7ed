package keywords_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

type (
	mode  int32
	flags uint32
)

const (
	idle mode = iota
	track
	slew mode = 5
)

var (
	modes = []string{idle: "idle", track: "Track", slew: "slew"}
	bits  = []string{0: "open", 1: "lit", 4: "Too Hot", 31: "top"}

	boolean    = keywords.Define("s", "BOOLEAN", keywords.Spec[bool]{}).Definition()
	labelled   = keywords.Define("s", "LABELLED", keywords.Spec[bool]{Enumerators: []string{"Out", "In"}}).Definition()
	integer    = keywords.Define("s", "INTEGER", keywords.Spec[int32]{}).Definition()
	integer64  = keywords.Define("s", "INTEGER64", keywords.Spec[int]{}).Definition()
	float      = keywords.Define("s", "FLOAT", keywords.Spec[float32]{}).Definition()
	double     = keywords.Define("s", "DOUBLE", keywords.Spec[float64]{}).Definition()
	enumerated = keywords.Define("s", "ENUMERATED", keywords.Spec[mode]{Enumerators: modes}).Definition()
	filter     = keywords.Define("s", "FILTER", keywords.Spec[int32]{Enumerators: []string{"r", "R", "1", "I"}}).Definition()
	gear       = keywords.Define("s", "GEAR", keywords.Spec[int32]{Enumerators: []string{"3", "2", "1"}}).Definition()
	mask       = keywords.Define("s", "MASK", keywords.Spec[flags]{Bits: bits}).Definition()
	unnamed    = keywords.Define("s", "UNNAMED", keywords.Spec[uint32]{}).Definition()
	text       = keywords.Define("s", "STRING", keywords.Spec[string]{}).Definition()
	data       = keywords.Define("s", "BYTES", keywords.Spec[[]byte]{}).Definition()
	booleans   = keywords.Define("s", "BOOLEANS", keywords.Spec[[]bool]{}).Definition()
	in         = keywords.Define("s", "IN", keywords.Spec[[]bool]{Enumerators: []string{"Out", "In beam"}}).Definition()
	floats     = keywords.Define("s", "FLOATS", keywords.Spec[[]float32]{}).Definition()
	integers   = keywords.Define("s", "INTEGERS", keywords.Spec[[]int64]{}).Definition()
	doubles    = keywords.Define("s", "DOUBLES", keywords.Spec[[]float64]{}).Definition()
	texts      = keywords.Define("s", "STRINGS", keywords.Spec[[]string]{}).Definition()

	all = []keywords.Definition{boolean, labelled, integer, integer64, float, double, enumerated,
		filter, gear, mask, unnamed, text, data, booleans, in, integers, floats, doubles, texts}
)

func TestParseAndText(t *testing.T) {
	inf := math.Inf(1)
	for _, row := range []struct {
		d     keywords.Definition
		text  string // as it is written back
		value any
		also  []string // what is read as the same
	}{
		{boolean, "true", true, []string{"1", "t", "T", "TRUE", "True", "yes", "Yes", "y", "on", "ON", " true\n"}},
		{boolean, "false", false, []string{"0", "f", "F", "FALSE", "no", "NO", "n", "off", "Off"}},
		{labelled, "true", true, []string{"In", "in", "1", "yes"}},
		{labelled, "false", false, []string{"Out", "OUT", "0", "off"}},
		{integer, "0", int64(0), []string{"-0", "+0", "0.0", "0x0"}},
		{integer, "12", int64(12), []string{"+12", " 12 ", "012", "12.0", "1.2e1", "0xc", "0XC", "+0x0c"}},
		{integer, "-12", int64(-12), []string{"-12.0", "-0xc"}},
		{integer, "2147483647", int64(math.MaxInt32), []string{"0x7fffffff", "2147483647.0"}},
		{integer, "-2147483648", int64(math.MinInt32), nil},
		{integer64, "9223372036854775807", int64(math.MaxInt64), []string{"0x7fffffffffffffff"}},
		{integer64, "-9223372036854775808", int64(math.MinInt64), nil},
		{integer64, "9007199254740993", int64(1<<53 + 1), []string{"9007199254740993.0", "9007199254740.993e3", "90071992547409930e-1", "0.9007199254740993e+16"}},
		{integer64, "1000000000000000000", int64(1e18), []string{"1e18", "+1E18", ".001e21"}},
		{integer64, "-1000000000000000000", int64(-1e18), []string{"-1e18"}},
		{integer64, "0", int64(0), []string{"0e99", "-0.0e-99", "0e1000000000"}},
		{float, "0.1", float64(float32(0.1)), []string{"1e-1", "0.10", ".1", "0.100000001490116"}},
		{float, "3.4028235e+38", float64(math.MaxFloat32), nil},
		{float, "1e-45", float64(math.SmallestNonzeroFloat32), nil},
		{double, "3.5", 3.5, []string{"+3.5", "35e-1", "3.50"}},
		{double, "20", 20.0, []string{"20.", "2e1"}},
		{double, "0.1", 0.1, nil},
		{double, "0.30000000000000004", 0.1 + float64(0.2), nil},
		{double, "1e+21", 1e21, nil},
		{double, "5e-324", 5e-324, nil},
		{double, "1.7976931348623157e+308", math.MaxFloat64, nil},
		{double, "-0", math.Copysign(0, -1), []string{"-0.0"}},
		{double, "Inf", inf, []string{"inf", "+Inf", "Infinity"}},
		{double, "-Inf", -inf, []string{"-inf", "-infinity"}},
		{double, "NaN", math.NaN(), []string{"nan", "NAN"}},
		{float, "NaN", math.NaN(), nil},
		{float, "Inf", inf, nil},
		{enumerated, "idle", int64(0), []string{"0", "IDLE", " Idle "}},
		{enumerated, "Track", int64(1), []string{"1", "track", "1.0"}},
		{enumerated, "slew", int64(5), []string{"5"}},
		{filter, "r", int64(0), []string{"0"}},
		{filter, "R", int64(1), nil},
		{filter, "1", int64(2), []string{"2"}}, // the name wins
		{filter, "I", int64(3), []string{"i", "3"}},
		{gear, "3", int64(0), []string{"0"}},
		{gear, "1", int64(2), nil},
		{mask, "none", int64(0), []string{"0", "None", "0x0"}},
		{mask, "open", int64(1), []string{"1", "OPEN", "open,open", "0x1"}},
		{mask, "open,Too Hot", int64(17), []string{"17", "too hot | open", "open, 16", "open|0x10"}},
		{mask, "open,lit,Too Hot,top", int64(1<<31 + 19), []string{"0x80000013"}},
		{mask, "open,0x4", int64(5), []string{"5", "open|4"}}, // no such bit, but exact
		{unnamed, "0x80000001", int64(1<<31 + 1), []string{"0x80000000,1", "2147483649"}},
		{unnamed, "none", int64(0), []string{"0"}},
		{text, "", "", nil},
		{text, "  as it\nis, \"α\"\x00 ", "  as it\nis, \"α\"\x00 ", nil},
		{data, "", []byte{}, []string{" "}},
		{data, "AP/+", []byte{0, 255, 254}, []string{" AP/+\n"}},
		{data, "AA==", []byte{0}, []string{"AA", "AA="}},
		{integers, "", []int64{}, []string{" ", "[]", "( )"}},
		{integers, "7", []int64{7}, []string{"[7]", "7.0"}},
		{integers, "1 -2 9223372036854775807", []int64{1, -2, math.MaxInt64},
			[]string{"1, -2, 9223372036854775807", "[1,-2,9223372036854775807]", "{1 -2\t9223372036854775807}", "(1 , -2 9223372036854775807)"}},
		{booleans, "", []bool{}, []string{"[]"}},
		{booleans, "true false true", []bool{true, false, true}, []string{"[true,false,true]", "1 0 1", "yes, no, ON"}},
		{in, "true false", []bool{true, false}, []string{`"in beam" out`, "[1, Out]"}},
		{floats, "0.1 NaN -Inf 3.4028235e+38", []float64{float64(float32(0.1)), math.NaN(), -inf, math.MaxFloat32}, []string{"[1e-1, nan, -inf, 3.4028235e38]"}},
		{doubles, "0.1 NaN -Inf", []float64{0.1, math.NaN(), -inf}, []string{"[0.1, nan, -inf]"}},
		{texts, "", []string{}, []string{"[]"}},
		{texts, `""`, []string{""}, []string{`[""]`}},
		{texts, `a b "c d" "" "e,f" "\"\\\n\r\t"`, []string{"a", "b", "c d", "", "e,f", "\"\\\n\r\t"},
			[]string{`["a", "b", "c d", "", "e,f", "\"\\` + "\n\r\t" + `"]`}},
		{texts, `"[a" "b]"`, []string{"[a", "b]"}, nil},
		{texts, "α 'β'", []string{"α", "'β'"}, nil},
	} {
		require.Equal(t, row.text, row.d.Text(row.value), "%v", row.d)
		for _, in := range append([]string{row.text}, row.also...) {
			v, err := row.d.Parse(in)
			require.NoError(t, err, "%v %q", row.d, in)
			require.IsType(t, row.value, v, "%v %q", row.d, in)
			require.True(t, keywords.Near(row.value, v, 0), "%v %q: %v", row.d, in, v)
			require.Equal(t, row.text, row.d.Text(v), "%v %q", row.d, in)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct {
		d    keywords.Definition
		code keywords.Code
		text []string
	}{
		{boolean, keywords.CodeMalformed, []string{"", "2", "-1", "tru", "yess", "1.0", "true false"}},
		{labelled, keywords.CodeMalformed, []string{"", "Inn"}},
		{integer, keywords.CodeMalformed, []string{"", "a", "1 2", "1.5", "0x", "0xg", "0x-1", "--1", "1_000", "NaN", "1e", "٣", ".",
			"0.99999999999999999999", "1.00000000000000000001", "1e-1", "1e-400", "1e-1000000000", "15e-1"}},
		{integer, keywords.CodeRange, []string{"2147483648", "-2147483649", "1e10", "0x80000000", "99999999999999999999", "2147483648.0", "1e400", "Inf"}},
		{integer64, keywords.CodeRange, []string{"9223372036854775808", "-9223372036854775809", "0x8000000000000000", "1e30",
			"9223372036854775808.0", "9223372036854775807e1", "1e308"}},
		{float, keywords.CodeMalformed, []string{"", "1,5", "1.5 mm", "e", "١"}},
		{float, keywords.CodeRange, []string{"3.5e38", "-1e39"}},
		{booleans, keywords.CodeMalformed, []string{"2", "true,", "true nope"}},
		{floats, keywords.CodeMalformed, []string{"1 x"}},
		{floats, keywords.CodeRange, []string{"1 3.5e38"}},
		{double, keywords.CodeMalformed, []string{"", "1.2.3", "Inf5", "nane", "0x"}},
		{double, keywords.CodeRange, []string{"1e309", "-1e999"}},
		{enumerated, keywords.CodeEnumerator, []string{"", "run", "2", "-1", "idle,Track", "99999999999"}},
		{filter, keywords.CodeEnumerator, []string{"4", filter.Text(int64(4))}},
		{gear, keywords.CodeEnumerator, []string{"4", gear.Text(int64(3)), gear.Text(int64(4))}},
		{mask, keywords.CodeEnumerator, []string{"", "shut", "open,", "open,,lit", "-1", "0x100000000", "open lit"}},
		{data, keywords.CodeMalformed, []string{"A", "A*==", "AP/+ AP/+"}},
		{integers, keywords.CodeMalformed, []string{"a", "1,,2", ",1", "1,", "[1", "1]", "[1)", "1.5", "1 [2]", `"1`, `"1"2`}},
		{integers, keywords.CodeRange, []string{"1 9223372036854775808"}},
		{doubles, keywords.CodeMalformed, []string{"1 b", "1;2"}},
		{doubles, keywords.CodeRange, []string{"1e999"}},
		{texts, keywords.CodeMalformed, []string{`a"b"`, `"a"b`, `"a`, `"a\`, `"a\x"`, "a(b)", "a,,b", "a,"}},
	} {
		for _, text := range row.text {
			v, err := row.d.Parse(text)
			require.ErrorIs(t, err, row.code, "%v %q", row.d, text)
			require.Nil(t, v)
			var e *keywords.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, row.d.Name, e.Keyword)
		}
	}
	_, err := keywords.Define("s", "E", keywords.Spec[int32]{Enumerators: []string{"go", "Go"}}).Definition().Parse("GO")
	require.EqualError(t, err, `keywords: s.E: enumerator: "GO" may be any of ["Go" "go"]`)
	_, err = integers.Parse("1 x")
	require.EqualError(t, err, `keywords: s.INTEGERS: malformed: element 1: "x" is not an integer`)
	_, err = data.Parse(strings.Repeat("*", 1000))
	require.Less(t, len(err.Error()), 100)
}

func TestDisplay(t *testing.T) {
	with := func(d keywords.Definition, format string) keywords.Definition {
		d.Format = format
		d, err := d.Complete()
		require.NoError(t, err)
		return d
	}
	for _, row := range []struct {
		d     keywords.Definition
		value any
		want  string
	}{
		{double, 3.5, "3.5"},
		{with(double, "%.2f"), 3.14159, "3.14"},
		{with(double, "%+6.1f°"), 3.14159, "  +3.1°"},
		{with(double, "%.0f%%"), 42.0, "42%"},
		{with(double, "%.2f"), math.NaN(), "NaN"},
		{with(integer, "%04d"), int64(42), "0042"},
		{with(integer, "%#x"), int64(42), "0x2a"},
		{labelled, true, "In"},
		{with(labelled, "%t"), true, "true"},
		{with(labelled, "%-4s|"), false, "Out |"},
		{boolean, true, "true"},
		{enumerated, int64(5), "slew"},
		{with(enumerated, "%q"), int64(5), `"slew"`},
		{with(enumerated, "%d"), int64(5), "5"},
		{enumerated, int64(4), "4"},
		{with(mask, "%032b"), int64(3), "00000000000000000000000000000011"},
		{with(mask, "<%s>"), int64(3), "<open,lit>"},
		{with(text, "%.3s"), "abcdef", "abc"},
		{with(data, "%x"), []byte{1, 255}, "01ff"},
		{with(doubles, "%.1f"), []float64{1, 2.25}, "1.0 2.2"},
		{with(integers, "%3d"), []int64{1, 20}, "  1  20"},
		{with(texts, "%q"), []string{"a", "b c"}, `"a" "b c"`},
		{with(floats, "%.1f"), []float64{1, 2.25}, "1.0 2.2"},
		{floats, []float64{float64(float32(0.1))}, "0.1"},
		{booleans, []bool{true, false}, "true false"},
		{in, []bool{true, false}, `"In beam" Out`},
		{with(in, "%q"), []bool{true, false}, `"In beam" "Out"`},
		{with(in, "%t"), []bool{true, false}, "true false"},
	} {
		require.Equal(t, row.want, row.d.Display(row.value), "%v %v", row.d, row.value)
	}
}

// Whatever text is read, its value is written so that it is read as the same.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "true", "1", "-0", "0x1f", "1e300", "NaN", "open|4,top", "a \"b\\n\" c",
		"[1, 2 3]", "AP/+", "\xff", "1\u00a02", "9007199254740993", "\"\u0085\" \u2028", "i", "ı"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, d := range all {
			v, err := d.Parse(in)
			if err != nil {
				continue
			}
			out := d.Text(v)
			again, err := d.Parse(out)
			require.NoError(t, err, "%v %q → %v → %q", d, in, v, out)
			require.True(t, keywords.Near(v, again, 0), "%v %q → %v → %q → %v", d, in, v, out, again)
			require.Equal(t, out, d.Text(again), d)
			d.Display(v)
			_ = d.Check(v)
		}
	})
}

// Whatever the numbers and strings are, they survive their text, bit by bit.
func FuzzValue(f *testing.F) {
	f.Add(uint64(0x7ff0000000000001), "a", "")
	f.Add(uint64(1), "\" \\ ,", "[\n]")
	f.Fuzz(func(t *testing.T, n uint64, s1, s2 string) {
		same := func(d keywords.Definition, v any) any {
			got, err := d.Parse(d.Text(v))
			require.NoError(t, err, "%v %v", d, v)
			require.True(t, keywords.Near(v, got, 0), "%v %v", d, v)
			return got
		}
		same(integer, int64(int32(n)))
		same(integer64, int64(n))
		same(mask, int64(uint32(n)))
		if f64 := math.Float64frombits(n); f64 == f64 {
			require.Equal(t, n, math.Float64bits(same(double, f64).(float64)))
			same(doubles, []float64{f64, -f64})
		}
		if f32 := math.Float32frombits(uint32(n)); f32 == f32 {
			require.Equal(t, uint32(n), math.Float32bits(float32(same(float, float64(f32)).(float64))))
		}
		same(text, s1)
		same(data, []byte(s1))
		same(texts, []string{s1, s2, s1 + s2})
		same(booleans, []bool{n&1 > 0, n&2 > 0, n&4 > 0})
		same(floats, []float64{float64(math.Float32frombits(uint32(n))), float64(math.Float32frombits(uint32(n >> 32)))})
		same(integers, []int64{int64(n), int64(len(s1))})
	})
}

func TestFloatsOf32BitsAreExact(t *testing.T) {
	d := float
	for n := uint32(0); n < 0x7f800000; n += 997 * 31 {
		f := math.Float32frombits(n)
		v, err := d.Parse(d.Text(float64(f)))
		require.NoError(t, err)
		require.Equal(t, float64(f), v, fmt.Sprint(n))
		require.NoError(t, d.Check(v))
	}
}
