package keywords_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

func TestDefinitionInJSON(t *testing.T) {
	full := keywords.Define("stage", "SPEED", keywords.Spec[float64]{
		Units: "mm/s", Help: "How fast.", Format: "%.2f", Min: new(0.0), Max: new(20.5), Initial: new(0.1),
		Alarm: keywords.Alarm{HighMinor: new(18.0), Hysteresis: 0.5}, DeadBand: 0.01,
		Period: 100 * time.Millisecond, History: 10, Persist: true, NoBroadcast: true, Dispatcher: "slow",
	}).Definition()
	out, err := json.Marshal(full)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":1,"service":"stage","name":"SPEED","dispatcher":"slow","kind":"double",
		"units":"mm/s","help":"How fast.","format":"%.2f","min":0,"max":20.5,"initial":0.1,
		"alarm":{"high_minor":18,"hysteresis":0.5},"dead_band":0.01,"period":0.1,"history":10,
		"persist":true,"no_broadcast":true}`, string(out))

	for _, d := range append([]keywords.Definition{
		full,
		keywords.Define("s", "A", keywords.Spec[int64]{Min: new(int64(math.MinInt64)), Max: new(int64(1<<53 + 1))}).Definition(),
		keywords.Define("s", "B", keywords.Spec[float64]{Initial: new(math.NaN())}).Definition(),
		keywords.Define("s", "C", keywords.Spec[[]float64]{Min: new([]float64{0, 1}), Initial: new([]float64{0, math.Inf(1)})}).Definition(),
		keywords.Define("s", "D", keywords.Spec[mode]{Enumerators: modes, Initial: new(slew)}).Definition(),
		keywords.Define("s", "E", keywords.Spec[flags]{Bits: bits, Initial: new(flags(3))}).Definition(),
		keywords.Define("s", "F", keywords.Spec[[]byte]{Initial: new([]byte{0, 255}), MaxLen: 2}).Definition(),
		keywords.Define("s", "G", keywords.Spec[[]string]{Initial: new([]string{"", "a b"}), Elements: []string{"x", "y"}}).Definition(),
		keywords.Define("s", "H", keywords.Spec[string]{Initial: new(""), ReadOnly: true}).Definition(),
		keywords.Define("s", "I", keywords.Spec[bool]{Initial: new(true), WriteOnly: true, Enumerators: []string{"out", "in"}}).Definition(),
		keywords.Define("s", "J", keywords.Spec[float32]{Max: new(float32(0.1))}).Definition(),
		keywords.Define("s", "K", keywords.Spec[[]int64]{Max: new([]int64{math.MaxInt64}), Initial: new([]int64{1<<53 + 1})}).Definition(),
		keywords.Define("s", "M", keywords.Spec[[]bool]{Initial: new([]bool{true, false}), Elements: []string{"x", "y"}, Enumerators: []string{"out", "in"}}).Definition(),
		keywords.Define("s", "N", keywords.Spec[[]float32]{Max: new([]float32{0.1}), Initial: new([]float32{0.1, float32(math.Inf(-1))})}).Definition(),
		keywords.Define("s", "L", keywords.Spec[string]{Period: 1_234_567 * time.Nanosecond}).Definition(),
	}, all...) {
		out, err := json.Marshal(d)
		require.NoError(t, err)
		var got keywords.Definition
		require.NoError(t, json.Unmarshal(out, &got), string(out))
		require.True(t, keywords.Near(d.Initial, got.Initial, 0), string(out))
		require.IsType(t, d.Initial, got.Initial)
		if f, ok := d.Initial.(float64); !ok || f == f { // require has no NaN that equals itself
			require.Equal(t, d, got, string(out))
		}
		again, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))
	}

	out, err = json.Marshal(keywords.Define("s", "A", keywords.Spec[[]float32]{Initial: new([]float32{0.1})}).Definition())
	require.NoError(t, err)
	require.Contains(t, string(out), `"initial":[0.1]`)

	_, err = json.Marshal(keywords.Definition{Service: "s", Name: "A"})
	require.ErrorContains(t, err, "keywords: s.A: Kind: no kind 0")
	out, err = json.Marshal(keywords.Definition{Service: "s", Name: "A", Kind: keywords.KindBoolean})
	require.NoError(t, err)
	require.JSONEq(t, `{"version":1,"service":"s","name":"A","dispatcher":"main","kind":"boolean"}`, string(out))
}

func TestFieldsOfNewerProgramsAreSkipped(t *testing.T) {
	var d keywords.Definition
	require.NoError(t, json.Unmarshal([]byte(`{"service":"s","name":"A","kind":"double","colour":"red","max":"20"}`), &d))
	require.Equal(t, 20.0, d.Max)
	require.ErrorIs(t, d.Check(20.5), keywords.CodeRange)
	require.EqualError(t, json.Unmarshal([]byte(`{"version":2,"service":"s","name":"A","kind":"double"}`), &d),
		"keywords: s.A: version: 2, this program reads up to 1")
	require.Equal(t, 20.0, d.Max, "what can't be read changes nothing")
}

func TestLoadDefinitions(t *testing.T) {
	defs, err := keywords.LoadDefinitions(strings.NewReader(`[
		{"service": "stage", "name": "SPEED", "kind": "double", "min": 0, "max": 20, "initial": "1.50"},
		{"service": "stage", "name": "MODE", "kind": "enumerated", "enumerators": {"-1": "lost", "1": "track"}, "initial": "lost"},
		{"service": "stage", "name": "POS", "kind": "float array", "min": 0, "max": ["1", 2], "initial": [0.5, "1"]},
		{"service": "stage", "name": "ON", "kind": "boolean", "initial": "yes"},
		{"service": "stage", "name": "BIG", "kind": "integer64", "max": 9007199254740993, "initial": null}
	]`))
	require.NoError(t, err)
	require.Len(t, defs, 5)
	require.Equal(t, 1.5, defs[0].Initial)
	require.Equal(t, int64(-1), defs[1].Initial)
	require.Equal(t, []float64{0}, defs[2].Min)
	require.Equal(t, []float64{1, 2}, defs[2].Max)
	require.Equal(t, []float64{0.5, 1}, defs[2].Initial)
	require.Equal(t, true, defs[3].Initial)
	require.NoError(t, defs[4].Check(int64(9007199254740993)))
	require.Error(t, defs[4].Check(int64(9007199254740994)))

	for in, want := range map[string]string{
		`{}`:   "keywords: definitions: want a JSON array: json: cannot unmarshal object into Go value of type []json.RawMessage",
		`[`:    "keywords: definitions: want a JSON array: unexpected end of JSON input",
		`[{}]`: "keywords: definition 0: .: kind: missing",
		`[{"service":"s","name":"A","kind":"duble"}]`:                                              `keywords: definition 0: s.A: no kind "duble"`,
		`[{"service":"s","name":"A","kind":"double","mim":0}]`:                                     `keywords: definition 0: s.A: unknown field "mim"`,
		`[{"service":"s","name":"a","kind":"double"}]`:                                             `keywords: definition 0: s.a: Name: name "a": want upper-case letters, digits, '_' and '-', the first a letter or digit`,
		`[{"service":"s","name":"A","kind":"double","min":"low"}]`:                                 `keywords: definition 0: s.A: min: "low" is not a number`,
		`[{"service":"s","name":"A","kind":"double","min":true}]`:                                  `keywords: definition 0: s.A: min: "true" is not a number`,
		`[{"service":"s","name":"A","kind":"double","min":[1]}]`:                                   `keywords: definition 0: s.A: min: [1] is not a value of a keyword that is double`,
		`[{"service":"s","name":"A","kind":"integer","max":3000000000}]`:                           `keywords: definition 0: s.A: max: 3000000000 does not fit 32 bits`,
		`[{"service":"s","name":"A","kind":"string","initial":5}]`:                                 `keywords: definition 0: s.A: initial: 5 is not a value of a keyword that is string`,
		`[{"service":"s","name":"A","kind":"string array","initial":["a",5]}]`:                     `keywords: definition 0: s.A: initial: element 1: 5 is not a string`,
		`[{"service":"s","name":"A","kind":"integer array","initial":[1,{}]}]`:                     `keywords: definition 0: s.A: initial: element 1: "{}" is not an integer`,
		`[{"service":"s","name":"A","kind":"double","period":1e300}]`:                              `keywords: definition 0: s.A: period: 1e+300 is too long`,
		`[{"service":"s","name":"A","kind":"double"},{"service":"s","name":"A","kind":"boolean"}]`: `keywords: s.A: defined twice`,
	} {
		_, err := keywords.LoadDefinitions(strings.NewReader(in))
		require.EqualError(t, err, want, in)
	}
	_, err = keywords.LoadDefinitions(iotest.ErrReader(errors.New("gone")))
	require.EqualError(t, err, "keywords: definitions: gone")
	_, err = keywords.LoadDefinitions(strings.NewReader(strings.Repeat(" ", 16<<20+1)))
	require.EqualError(t, err, "keywords: definitions: more than 16777216 bytes")
}

func FuzzDefinitionJSON(f *testing.F) {
	for _, d := range all {
		out, err := json.Marshal(d)
		require.NoError(f, err)
		f.Add(out)
	}
	f.Add([]byte(`{"service":"s","name":"A","kind":"double array","min":[0,"1"],"initial":"1 2","alarm":{"low_minor":1}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var d, again keywords.Definition
		if json.Unmarshal(in, &d) != nil {
			return
		}
		out, err := json.Marshal(d)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(out, &again), string(out))
		if d.Initial != nil {
			require.NoError(t, d.Check(d.Initial))
			require.True(t, keywords.Near(d.Initial, again.Initial, 0))
		}
	})
}
