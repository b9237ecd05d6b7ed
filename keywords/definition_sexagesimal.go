package keywords

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// sexagesimal is how the verb H prints a number: as degrees or hours, minutes and seconds.
type sexagesimal struct {
	before, after     string // the text around it
	plus, space, left bool   // flags
	width, decimals   int    // of the whole; of the seconds
	digits            int    // of the degrees, at least
}

// maxDecimals is the maximum number of decimals of seconds.
const maxDecimals = 9

// colons matches the parts %d:%m:%s of a format, which are another way to write the verb H.
// Minutes and seconds have two digits, whatever their width.
var colons = regexp.MustCompile(`%([+ 0]*)([0-9]*)d:%[0-9]*m:%[0-9]*(\.[0-9]+)?s`)

// parseColons returns the form of a format with %d:%m:%s. Ok is false if it has none.
func parseColons(format string) (s sexagesimal, ok bool) {
	at := colons.FindStringSubmatchIndex(format)
	if at == nil || strings.Contains(format[:at[0]]+format[at[1]:], "%") {
		return sexagesimal{}, false
	}
	part := func(i int) string {
		if at[2*i] < 0 {
			return ""
		}
		return format[at[2*i]:at[2*i+1]]
	}
	s = newSexagesimal(format[:at[0]], part(1), format[at[1]:])
	_, s.digits = cutNumber(part(2))
	_, s.decimals = cutNumber(strings.TrimPrefix(part(3), "."))
	return s, true
}

// newSexagesimal returns the form of a verb with flags between the parts of a format.
func newSexagesimal(before, flags, after string) sexagesimal {
	return sexagesimal{
		before: strings.ReplaceAll(before, "%%", "%"), after: strings.ReplaceAll(after, "%%", "%"),
		plus: strings.Contains(flags, "+"), space: strings.Contains(flags, " "), left: strings.Contains(flags, "-"),
	}
}

func (s *sexagesimal) check(format string) error {
	if s.decimals > maxDecimals {
		return fmt.Errorf("%q: more than %d decimals of a second", format, maxDecimals)
	}
	return nil
}

// text returns a number with its seconds rounded. One that is not finite, or is too large for
// that, is printed as a number.
func (s *sexagesimal) text(f float64) string {
	unit := math.Pow10(s.decimals)
	total := math.Round(math.Abs(f) * 3600 * unit)
	if !(total < 1<<63) {
		return s.before + string(appendFloat(nil, f, 64)) + s.after
	}
	n, second := uint64(total), uint64(unit)
	sign := ""
	switch {
	case f < 0 && n > 0:
		sign = "-"
	case s.plus:
		sign = "+"
	case s.space:
		sign = " "
	}
	text := fmt.Sprintf("%s%0*d:%02d:%02d", sign, max(s.digits-len(sign), 2), n/second/3600, n/second/60%60, n/second%60)
	if s.decimals > 0 {
		text += fmt.Sprintf(".%0*d", s.decimals, n%second)
	}
	if s.left {
		text = fmt.Sprintf("%-*s", s.width, text)
	} else {
		text = fmt.Sprintf("%*s", s.width, text)
	}
	return s.before + text + s.after
}

// parseSexagesimal reads degrees or hours, minutes and perhaps seconds: 12:34:56.7, -0:30.
// The last part may have decimals.
func (r *rules) parseSexagesimal(word string) (any, error) {
	unsigned := strings.TrimLeft(word, "+-")
	parts := strings.Split(unsigned, ":")
	if len(parts) > 3 || len(word)-len(unsigned) > 1 {
		return nil, r.errorf(CodeMalformed, "%.40q is not a number, and not of the form 12:34:56.7", word)
	}
	seconds := 0.0
	for i, part := range parts {
		digits, decimals, point := strings.Cut(part, ".")
		if !isDigits(digits) || point && (i < len(parts)-1 || decimals != "" && !isDigits(decimals)) {
			return nil, r.errorf(CodeMalformed, "%.40q is not a number, and not of the form 12:34:56.7", word)
		}
		f, err := strconv.ParseFloat(part, 64)
		switch {
		case err != nil:
			return nil, r.errorf(CodeRange, "%.40s does not fit 64 bits", word)
		case i > 0 && f >= 60:
			return nil, r.errorf(CodeMalformed, "%.40q: %s %s, want less than 60", word, part, [...]string{1: "minutes", 2: "seconds"}[i])
		}
		seconds = seconds*60 + f
	}
	for range 3 - len(parts) {
		seconds *= 60
	}
	f := seconds / 3600
	if word[0] == '-' {
		f = -f
	}
	if r.kind.floatSize() == 32 {
		f = float64(float32(f))
	}
	if math.IsInf(f, 0) {
		return nil, r.errorf(CodeRange, "%.40s does not fit %d bits", word, r.kind.floatSize())
	}
	return f, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
