package keywords_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

func TestDefineTakesEveryType(t *testing.T) {
	roundTrip(t, keywords.KindBoolean, true, true, keywords.Spec[bool]{})
	roundTrip(t, keywords.KindInteger, int32(-7), int64(-7), keywords.Spec[int32]{})
	roundTrip(t, keywords.KindInteger64, int64(math.MinInt64), int64(math.MinInt64), keywords.Spec[int64]{})
	roundTrip(t, keywords.KindInteger64, math.MaxInt, int64(math.MaxInt), keywords.Spec[int]{})
	roundTrip(t, keywords.KindFloat, float32(0.1), float64(float32(0.1)), keywords.Spec[float32]{})
	roundTrip(t, keywords.KindDouble, 0.1, 0.1, keywords.Spec[float64]{})
	roundTrip(t, keywords.KindString, "a b", "a b", keywords.Spec[string]{})
	roundTrip(t, keywords.KindBytes, []byte{0, 1}, []byte{0, 1}, keywords.Spec[[]byte]{})
	roundTrip(t, keywords.KindIntegerArray, []int64{1, 2}, []int64{1, 2}, keywords.Spec[[]int64]{})
	roundTrip(t, keywords.KindBooleanArray, []bool{true, false}, []bool{true, false}, keywords.Spec[[]bool]{})
	roundTrip(t, keywords.KindFloatArray, []float32{0.1, -2}, []float64{float64(float32(0.1)), -2}, keywords.Spec[[]float32]{})
	roundTrip(t, keywords.KindDoubleArray, []float64{1, 2}, []float64{1, 2}, keywords.Spec[[]float64]{})
	roundTrip(t, keywords.KindStringArray, []string{"a", ""}, []string{"a", ""}, keywords.Spec[[]string]{})
	roundTrip(t, keywords.KindEnumerated, slew, int64(5), keywords.Spec[mode]{Enumerators: modes})
	roundTrip(t, keywords.KindEnumerated, int32(5), int64(5), keywords.Spec[int32]{Enumerators: modes})
	roundTrip(t, keywords.KindMask, flags(1<<31|1), int64(1<<31|1), keywords.Spec[flags]{Bits: bits})
	roundTrip(t, keywords.KindMask, uint32(2), int64(2), keywords.Spec[uint32]{Bits: bits})
}

func roundTrip[T keywords.Type](t *testing.T, kind keywords.Kind, v T, plain any, spec keywords.Spec[T]) {
	t.Helper()
	spec.Initial = new(v)
	k := keywords.Define("stage", "X", spec)
	d := k.Definition()
	require.Equal(t, kind, d.Kind)
	require.Equal(t, plain, d.Initial)
	require.Equal(t, plain, keywords.Encode(k, v))
	got, err := keywords.Decode(k, plain)
	require.NoError(t, err)
	require.Equal(t, v, got)
	_, err = keywords.Decode(k, struct{}{})
	require.ErrorIs(t, err, keywords.CodeMalformed)
	_, err = keywords.Decode(k, nil)
	require.ErrorIs(t, err, keywords.CodeMalformed)
	parsed, err := d.Parse(d.Text(plain))
	require.NoError(t, err)
	require.Equal(t, plain, parsed)

	bound, err := keywords.Bind[T](d)
	require.NoError(t, err)
	require.Equal(t, "stage.X", bound.String())
	require.Equal(t, plain, keywords.Encode(bound, v))
}

func TestNumbersThatDoNotFitAreNoValues(t *testing.T) {
	_, err := keywords.Decode(keywords.Define("s", "A", keywords.Spec[int32]{}), int64(math.MaxInt32+1))
	require.EqualError(t, err, "keywords: s.A: malformed: a Go int64 that no int32 can hold")
	_, err = keywords.Decode(keywords.Define("s", "A", keywords.Spec[mode]{Enumerators: modes}), int64(1)<<32)
	require.ErrorIs(t, err, keywords.CodeMalformed)
	_, err = keywords.Decode(keywords.Define("s", "A", keywords.Spec[flags]{Bits: bits}), int64(-1))
	require.ErrorIs(t, err, keywords.CodeMalformed)
}

func TestSlicesAreNotShared(t *testing.T) {
	limit, names := []float64{1}, []string{"a", "b"}
	k := keywords.Define("s", "A", keywords.Spec[[]float64]{Max: &limit, Elements: names})
	limit[0], names[0] = 9, "x"
	require.ErrorIs(t, k.Definition().Check([]float64{0, 5}), keywords.CodeRange)
	require.Equal(t, []string{"a", "b"}, k.Definition().Elements)

	mine := []float64{1, 2}
	inside := keywords.Encode(k, mine)
	mine[0] = 9
	require.Equal(t, []float64{1, 2}, inside)
	mine, err := keywords.Decode(k, inside)
	require.NoError(t, err)
	mine[0] = 9
	require.Equal(t, []float64{1, 2}, inside)
	require.Equal(t, []float64{}, keywords.Encode(k, nil))
}

func TestDefaults(t *testing.T) {
	require.Equal(t, "main", double.Dispatcher)
	require.Equal(t, 65_536, text.MaxLen)
	require.Equal(t, 65_536, data.MaxLen)
	require.Equal(t, 1024, integers.MaxLen)
	require.Zero(t, double.MaxLen)
	require.Equal(t, map[int32]string{0: "idle", 1: "Track", 5: "slew"}, enumerated.Enumerators)
}

// bad has its name, what Define panics with, and Define.
type bad struct {
	want   string
	define func()
}

func wrong[T keywords.Type](want string, spec keywords.Spec[T]) bad {
	return bad{"keywords: stage.SPEED: " + want, func() { keywords.Define("stage", "SPEED", spec) }}
}

func wrongName(want, service, name string) bad {
	return bad{want, func() { keywords.Define(service, name, keywords.Spec[bool]{}) }}
}

func TestDefinePanics(t *testing.T) {
	const rule = "letters, digits, '_' and '-', the first a letter or digit"
	for _, row := range []bad{
		wrongName(`keywords: .SPEED: Service: empty name`, "", "SPEED"),
		wrongName(`keywords: Stage.SPEED: Service: name "Stage": want lower-case `+rule, "Stage", "SPEED"),
		wrongName(`keywords: a:b.SPEED: Service: name "a:b": want lower-case `+rule, "a:b", "SPEED"),
		wrongName(`keywords: a.b.SPEED: Service: name "a.b": want lower-case `+rule, "a.b", "SPEED"),
		wrongName(`keywords: a*.SPEED: Service: name "a*": '*' is not allowed`, "a*", "SPEED"),
		wrongName(`keywords: stage.: Name: empty name`, "stage", ""),
		wrongName(`keywords: stage.Speed: Name: name "Speed": want upper-case `+rule, "stage", "Speed"),
		wrongName(`keywords: stage._A: Name: name "_A": want upper-case `+rule, "stage", "_A"),
		wrongName(`keywords: stage.ÄB: Name: name "ÄB": want upper-case `+rule, "stage", "ÄB"),
		wrongName(`keywords: stage.A B: Name: name "A B": ' ' is not allowed`, "stage", "A B"),
		wrongName(`keywords: stage.`+strings.Repeat("A", 101)+`: Name: name "`+strings.Repeat("A", 32)+`"…: 101 bytes, the limit is 100`, "stage", strings.Repeat("A", 101)),
		wrong(`Dispatcher: name "Main": want lower-case `+rule, keywords.Spec[bool]{Dispatcher: "Main"}),
		wrong(`Units: "\xff" is not printable text`, keywords.Spec[bool]{Units: "\xff"}),
		wrong(`Units: 101 bytes, the limit is 100`, keywords.Spec[bool]{Units: strings.Repeat("a", 101)}),
		wrong(`Help: not UTF-8`, keywords.Spec[bool]{Help: "\xff"}),
		wrong(`Help: 16385 bytes, the limit is 16384`, keywords.Spec[bool]{Help: strings.Repeat("a", 16385)}),
		wrong(`Format: "%d": %d is not for a keyword that is double`, keywords.Spec[float64]{Format: "%d"}),
		wrong(`Format: "%f %f": more than one verb`, keywords.Spec[float64]{Format: "%f %f"}),
		wrong(`Format: "%%": no verb`, keywords.Spec[float64]{Format: "%%"}),
		wrong(`Format: "x": no verb`, keywords.Spec[float64]{Format: "x"}),
		wrong(`Format: "%5.": nothing after %`, keywords.Spec[float64]{Format: "%5."}),
		wrong(`Format: "%.101f": more than 100 places`, keywords.Spec[float64]{Format: "%.101f"}),
		wrong(`Format: "%*d": %* is not for a keyword that is integer`, keywords.Spec[int32]{Format: "%*d"}),
		wrong(`Format: "%[1]d": %[ is not for a keyword that is integer`, keywords.Spec[int32]{Format: "%[1]d"}),
		wrong(`Format: "%s": %s is not for a keyword that is bytes`, keywords.Spec[[]byte]{Format: "%s"}),
		wrong(`Min: not for a keyword that is boolean`, keywords.Spec[bool]{Min: new(true)}),
		wrong(`Max: not for a keyword that is string`, keywords.Spec[string]{Max: new("a")}),
		wrong(`Min: not for a keyword that is enumerated`, keywords.Spec[mode]{Enumerators: modes, Min: new(idle)}),
		wrong(`Max: 5 is below Min, 10`, keywords.Spec[float64]{Min: new(10.0), Max: new(5.0)}),
		wrong(`Max: 5 is below Min, 10`, keywords.Spec[int]{Min: new(10), Max: new(5)}),
		wrong(`Min: NaN can't limit a keyword that is double`, keywords.Spec[float64]{Min: new(math.NaN())}),
		wrong(`Max: +Inf can't limit a keyword that is double`, keywords.Spec[float64]{Max: new(math.Inf(1))}),
		wrong(`Min: [], a Go []int64, is not a value of a keyword that is integer array`, keywords.Spec[[]int64]{Min: new([]int64{})}),
		wrong(`Max: 1 is below Min, 2`, keywords.Spec[[]int64]{Min: new([]int64{0, 2}), Max: new([]int64{1})}),
		wrong(`Max: 3 limits for 2 elements`, keywords.Spec[[]int64]{Min: new([]int64{0, 2}), Max: new([]int64{1, 3, 4})}),
		wrong(`Max: 3 limits for 2 elements`, keywords.Spec[[]int64]{Elements: []string{"x", "y"}, Max: new([]int64{1, 3, 4})}),
		wrong(`Max: 2 limits for 1 elements`, keywords.Spec[[]int64]{Elements: []string{"x"}, Max: new([]int64{1, 3})}),
		wrong(`Max: 3 limits for a MaxLen of 2`, keywords.Spec[[]int64]{MaxLen: 2, Max: new([]int64{1, 3, 4})}),
		wrong(`MaxLen: not for a keyword that is double`, keywords.Spec[float64]{MaxLen: 3}),
		wrong(`MaxLen: -1, want 1 to 524288`, keywords.Spec[string]{MaxLen: -1}),
		wrong(`MaxLen: 524289, want 1 to 524288`, keywords.Spec[[]byte]{MaxLen: 524289}),
		wrong(`MaxLen: 16385, want 1 to 16384`, keywords.Spec[[]string]{MaxLen: 16385}),
		wrong(`MaxLen: 2, want 3`, keywords.Spec[[]float64]{MaxLen: 2, Elements: []string{"x", "y", "z"}}),
		wrong(`Initial: 25 is above 20`, keywords.Spec[float64]{Max: new(20.0), Initial: new(25.0)}),
		wrong(`Initial: no enumerator 2: want one of idle, Track, slew`, keywords.Spec[mode]{Enumerators: modes, Initial: new(mode(2))}),
		wrong(`Initial: 1 elements, want 2`, keywords.Spec[[]int64]{Elements: []string{"x", "y"}, Initial: new([]int64{1})}),
		wrong(`WriteOnly: the keyword is ReadOnly too`, keywords.Spec[bool]{ReadOnly: true, WriteOnly: true}),
		wrong(`Enumerators: none`, keywords.Spec[mode]{}),
		wrong(`Enumerators: none`, keywords.Spec[mode]{Enumerators: []string{""}}),
		wrong(`Enumerators: not for a keyword that is double`, keywords.Spec[float64]{Enumerators: modes}),
		wrong(`Enumerators: not for a keyword that is integer64`, keywords.Spec[int]{Enumerators: modes}),
		wrong(`Enumerators: 1: name "a": given twice`, keywords.Spec[mode]{Enumerators: []string{"a", "a"}}),
		wrong(`Enumerators: 0: name " a": control characters and spaces at the ends are not allowed`, keywords.Spec[mode]{Enumerators: []string{" a"}}),
		wrong(`Enumerators: 0: name "a\n": control characters and spaces at the ends are not allowed`, keywords.Spec[mode]{Enumerators: []string{"a\n"}}),
		wrong(`Enumerators: 2: a boolean has 0 and 1`, keywords.Spec[bool]{Enumerators: []string{"a", "b", "c"}}),
		wrong(`Enumerators: 1: name "false" means the other value`, keywords.Spec[bool]{Enumerators: []string{"a", "false"}}),
		wrong(`Enumerators: 0: name "TRUE" means the other value`, keywords.Spec[bool]{Enumerators: []string{"TRUE"}}),
		wrong(`Bits: not for a keyword that is integer`, keywords.Spec[int32]{Bits: bits}),
		wrong(`Bits: 33, the limit is 32`, keywords.Spec[flags]{Bits: append(make([]string, 32), "a")}),
		wrong(`Bits: 1: name "a": given twice`, keywords.Spec[flags]{Bits: []string{"a", "a"}}),
		wrong(`Bits: 0: name "a,b": ',' and '|' are separators`, keywords.Spec[flags]{Bits: []string{"a,b"}}),
		wrong(`Bits: 0: name "None" means a mask without bits`, keywords.Spec[flags]{Bits: []string{"None"}}),
		wrong(`Bits: 0: name "0x1" reads as a number`, keywords.Spec[flags]{Bits: []string{"0x1"}}),
		wrong(`Elements: not for a keyword that is bytes`, keywords.Spec[[]byte]{Elements: []string{"x"}}),
		wrong(`Elements: 1: empty name`, keywords.Spec[[]int64]{Elements: []string{"x", ""}}),
		wrong(`Alarm: not for a keyword that is string`, keywords.Spec[string]{Alarm: keywords.Alarm{Hysteresis: 1}}),
		wrong(`Alarm.HighMajor: 1 is below HighMinor, 2`, keywords.Spec[int]{Alarm: keywords.Alarm{HighMinor: new(2.0), HighMajor: new(1.0)}}),
		wrong(`Alarm.LowMinor: NaN is not a finite number`, keywords.Spec[int]{Alarm: keywords.Alarm{LowMinor: new(math.NaN())}}),
		wrong(`Alarm.Hysteresis: -1, want a finite number, 0 or more`, keywords.Spec[int]{Alarm: keywords.Alarm{Hysteresis: -1}}),
		wrong(`Alarm: no value between 0 and 4 is without alarm with a hysteresis of 2`, keywords.Spec[int]{Alarm: keywords.Alarm{LowMinor: new(0.0), HighMinor: new(4.0), Hysteresis: 2}}),
		wrong(`DeadBand: not for a keyword that is boolean`, keywords.Spec[bool]{DeadBand: 1}),
		wrong(`DeadBand: NaN, want a finite number, 0 or more`, keywords.Spec[float64]{DeadBand: math.NaN()}),
		wrong(`Period: -1s, want 0 or 1ms and more`, keywords.Spec[bool]{Period: -time.Second}),
		wrong(`Period: 1µs, want 0 or 1ms and more`, keywords.Spec[bool]{Period: time.Microsecond}),
		wrong(`History: -1, want 0 to 10000`, keywords.Spec[bool]{History: -1}),
		wrong(`History: 10001, want 0 to 10000`, keywords.Spec[bool]{History: 10001}),
	} {
		require.PanicsWithError(t, row.want, row.define, row.want)
	}
}

func TestBind(t *testing.T) {
	d := keywords.Definition{Service: "stage", Name: "MODE", Kind: keywords.KindEnumerated, Enumerators: map[int32]string{-1: "unknown", 1: "track"}}
	k, err := keywords.Bind[mode](d)
	require.NoError(t, err)
	v, err := k.Definition().Parse("-1")
	require.NoError(t, err)
	got, err := keywords.Decode(k, v)
	require.NoError(t, err)
	require.Equal(t, mode(-1), got)
	require.Equal(t, "unknown", k.Definition().Text(v))
	require.Equal(t, "stage", k.Service())
	require.Equal(t, "MODE", k.Name())

	_, err = keywords.Bind[float64](d)
	require.EqualError(t, err, "keywords: stage.MODE: a keyword that is enumerated has no values of type float64")
	_, err = keywords.Bind[float64](float)
	require.EqualError(t, err, "keywords: s.FLOAT: a keyword that is float has no values of type float64")
	_, err = keywords.Bind[mode](integer)
	require.Error(t, err)
	_, err = keywords.Bind[int](integer)
	require.NoError(t, err)
	_, err = keywords.Bind[mode](keywords.Definition{Service: "stage", Name: "MODE"})
	require.EqualError(t, err, "keywords: stage.MODE: Kind: no kind 0")
}

func TestADefinitionMadeByHandJudges(t *testing.T) {
	d := keywords.Definition{Service: "stage", Name: "SPEED", Kind: keywords.KindDouble, Max: 20.0}
	require.NoError(t, d.Check(20.0))
	require.ErrorIs(t, d.Check(20.5), keywords.CodeRange)
	v, err := d.Parse("2.50")
	require.NoError(t, err)
	require.Equal(t, "2.5", d.Text(v))
	require.Equal(t, "2.5", d.Display(v))

	d.Max = "20"
	require.EqualError(t, d.Check(20.0), "keywords: stage.SPEED: Max: 20, a Go string, is not a value of a keyword that is double")
	_, err = d.Parse("2")
	require.Error(t, err)
	require.Equal(t, "2", d.Text(2.0))
	require.Equal(t, "2", d.Display(2.0))
	require.Equal(t, keywords.SeverityInvalid, d.Severity(2.0, keywords.SeverityNone))
}

func TestKinds(t *testing.T) {
	for k := keywords.KindBoolean; k <= keywords.KindStringArray; k++ {
		var got keywords.Kind
		require.NoError(t, got.UnmarshalText([]byte(k.String())))
		require.Equal(t, k, got)
	}
	var got keywords.Kind
	for name, want := range map[string]keywords.Kind{"DOUBLE": keywords.KindDouble, "basic": keywords.KindString, "Keyword": keywords.KindString, "Float Array": keywords.KindFloatArray} {
		require.NoError(t, got.UnmarshalText([]byte(name)))
		require.Equal(t, want, got)
	}
	for _, name := range []string{"", "kind 0", "doubles"} {
		require.EqualError(t, got.UnmarshalText([]byte(name)), fmt.Sprintf("keywords: no kind %q", name))
	}
	require.Equal(t, "kind 15", keywords.Kind(15).String())
	_, err := keywords.Kind(15).MarshalText()
	require.EqualError(t, err, "keywords: no kind 15")
}

func TestErrorsReadWell(t *testing.T) {
	require.EqualError(t, &keywords.Error{Code: keywords.CodeUnknownKeyword, Service: "stage", Keyword: "SPED"}, "keywords: stage.SPED: unknown_keyword")
	require.EqualError(t, &keywords.Error{Code: keywords.CodeUnknownService, Service: "stag"}, "keywords: stag: unknown_service")
	require.EqualError(t, &keywords.Error{Code: keywords.CodeMalformed, Text: "x"}, "keywords: malformed: x")
	require.NotErrorIs(t, &keywords.Error{Code: keywords.CodeRange}, keywords.CodeMalformed)
}
