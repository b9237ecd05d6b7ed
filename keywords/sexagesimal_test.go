package keywords_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

func angle(format string) keywords.Definition {
	return keywords.Define("dome", "RA", keywords.Spec[float64]{Format: format}).Definition()
}

func TestSexagesimalDisplay(t *testing.T) {
	value := 12 + 34/60.0 + 56.78/3600
	for _, row := range []struct {
		format string
		value  float64
		want   string
	}{
		{"%H", value, "12:34:57"},
		{"%.1H", value, "12:34:56.8"},
		{"%.2H h", value, "12:34:56.78 h"},
		{"%12.3H", value, "12:34:56.780"},
		{"%14.3H", value, "  12:34:56.780"},
		{"%-14.3H|", value, "12:34:56.780  |"},
		{"%014.3H", value, "0012:34:56.780"},
		{"%+.1H", value, "+12:34:56.8"},
		{"% .1H", value, " 12:34:56.8"},
		{"100%% %H", value, "100% 12:34:57"},
		{"%d:%m:%s", value, "12:34:57"},
		{"%d:%m:%.1s°", value, "12:34:56.8°"},
		{"%+03d:%02m:%05.2s", value, "+12:34:56.78"},
		{"%03d:%02m:%05.2s", value, "012:34:56.78"},
		{"%.1H", -0.5, "-00:30:00.0"},
		{"%+04d:%m:%s", -0.5, "-000:30:00"},
		{"%.1H", 0, "00:00:00.0"},
		{"%H", -0.1 / 3600, "00:00:00"},
		{"%.1H", 59.96 / 3600, "00:01:00.0"}, // rounding carries
		{"%.1H", 1 - 0.04/3600, "01:00:00.0"},
		{"%.2H", 1 - 0.04/3600, "00:59:59.96"},
		{"%H", -359.9999, "-360:00:00"},
		{"%.9H", 1.0 / 3, "00:20:00.000000000"},
		{"%H", 1e9, "1000000000:00:00"},
		{"%H", 1e300, "1e+300"},
		{"%H", math.Inf(-1), "-Inf"},
		{"%.1H", math.NaN(), "NaN"},
	} {
		require.Equal(t, row.want, angle(row.format).Display(row.value), "%q of %v", row.format, row.value)
	}
	both := keywords.Define("dome", "BOTH", keywords.Spec[[]float32]{Format: "%.1H"}).Definition()
	require.Equal(t, "01:30:00.0 -00:15:00.0", both.Display([]float64{1.5, -0.25}))
	v, err := both.Parse("[1:30, -0:15:00]")
	require.NoError(t, err)
	require.Equal(t, []float64{1.5, -0.25}, v)
}

func TestSexagesimalParse(t *testing.T) {
	d := angle("%.1H")
	for in, want := range map[string]float64{
		"12:34:56.7": (12*3600 + 34*60 + 56.7) / 3600, "-00:30:00": -0.5, "-0:30": -0.5, "+1:30": 1.5, "1:30.5": (90.5) / 60,
		" 0:0:36 ": 0.01, "350:00:00": 350, "1:2:3.": 3723.0 / 3600, "12.5": 12.5, "-1e-3": -1e-3,
	} {
		v, err := d.Parse(in)
		require.NoError(t, err, in)
		require.InDelta(t, want, v, 1e-12, in)
	}
	require.Equal(t, "12.5", d.Text(12.5), "as Redis holds it")
	for in, want := range map[string]string{
		"12:60:00":   `"12:60:00": 60 minutes, want less than 60`,
		"12:34:60.0": `"12:34:60.0": 60.0 seconds, want less than 60`,
		"12:34:5:6":  `"12:34:5:6" is not a number, and not of the form 12:34:56.7`,
		"12:-34":     `"12:-34" is not a number, and not of the form 12:34:56.7`,
		"--1:30":     `"--1:30" is not a number, and not of the form 12:34:56.7`,
		"1.5:30":     `"1.5:30" is not a number, and not of the form 12:34:56.7`,
		":30":        `":30" is not a number, and not of the form 12:34:56.7`,
		"12::30":     `"12::30" is not a number, and not of the form 12:34:56.7`,
		"12:1e1":     `"12:1e1" is not a number, and not of the form 12:34:56.7`,
		"noon":       `"noon" is not a number`,
	} {
		_, err := d.Parse(in)
		require.EqualError(t, err, "keywords: dome.RA: malformed: "+want)
	}
	_, err := d.Parse(strings.Repeat("9", 400) + ":00")
	require.ErrorIs(t, err, keywords.CodeRange)
	_, err = angle("%.1f").Parse("12:30:00")
	require.EqualError(t, err, `keywords: dome.RA: malformed: "12:30:00" is not a number`)
}

func TestSexagesimalFormatsThatAreRefused(t *testing.T) {
	for format, want := range map[string]string{
		"%.10H":        `"%.10H": more than 9 decimals of a second`,
		"%d:%m:%.10s":  `"%d:%m:%.10s": more than 9 decimals of a second`,
		"%H %H":        `"%H %H": more than one verb`,
		"%d:%m":        `"%d:%m": %d is not for a keyword that is double`,
		"%d:%m:%s %.f": `"%d:%m:%s %.f": %d is not for a keyword that is double`,
	} {
		require.PanicsWithError(t, "keywords: dome.RA: Format: "+want, func() { angle(format) })
	}
	require.Panics(t, func() { keywords.Define("dome", "N", keywords.Spec[int]{Format: "%H"}) })
	require.Panics(t, func() { keywords.Define("dome", "N", keywords.Spec[string]{Format: "%d:%m:%s"}) })
}

// FuzzSexagesimal: what is displayed is read as the same number but for rounding, and
// displayed again as the same text.
func FuzzSexagesimal(f *testing.F) {
	f.Add(12.582416, uint8(1))
	f.Add(-0.5, uint8(3))
	f.Add(59.96/3600, uint8(1))
	f.Add(-359.99999999, uint8(0))
	formats := []keywords.Definition{angle("%H"), angle("%.1H"), angle("%+14.2H"), angle("%03d:%m:%.3s")}
	f.Fuzz(func(t *testing.T, v float64, n uint8) {
		if !(math.Abs(v) < 1e6) {
			t.Skip()
		}
		i := int(n) % len(formats)
		d := formats[i]
		shown := d.Display(v)
		require.NotContains(t, shown, ":60")
		back, err := d.Parse(shown)
		require.NoError(t, err, shown)
		require.InDelta(t, v, back.(float64), 0.5001/3600*math.Pow10(-i)+1e-9, shown)
		require.Equal(t, shown, d.Display(back))
		exact, err := d.Parse(d.Text(v))
		require.NoError(t, err)
		require.Equal(t, v, exact)
	})
}
