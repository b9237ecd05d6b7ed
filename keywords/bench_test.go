package keywords_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

func BenchmarkDouble(b *testing.B) {
	k := keywords.Define("stage", "SPEED", keywords.Spec[float64]{Min: new(0.0), Max: new(20.0)})
	benchmark(b, k, "12.345")
}

func BenchmarkEnumerated(b *testing.B) {
	benchmark(b, keywords.Define("stage", "MODE", keywords.Spec[mode]{Enumerators: modes}), "Track")
}

func BenchmarkArray(b *testing.B) {
	benchmark(b, keywords.Define("stage", "POSITION", keywords.Spec[[]float64]{Max: new([]float64{20})}), "1.25 2.5 3.75")
}

func benchmark[T keywords.Type](b *testing.B, k keywords.Keyword[T], text string) {
	d := k.Definition()
	v, err := d.Parse(text)
	require.NoError(b, err)
	t, err := keywords.Decode(k, v)
	require.NoError(b, err)
	for name, f := range map[string]func(){
		"Parse":    func() { v, err = d.Parse(text) },
		"Text":     func() { text = d.Text(v) },
		"Check":    func() { err = d.Check(v) },
		"Severity": func() { d.Severity(v, keywords.SeverityNone) },
		"Encode":   func() { v = keywords.Encode(k, t) },
		"Decode":   func() { t, err = keywords.Decode(k, v) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	require.NoError(b, err)
}
