package keywords

import (
	"fmt"
	"strings"
)

// verb is a checked Format. The zero verb means that there is none.
type verb struct {
	format string
	letter byte
	sexa   sexagesimal // if letter is H
}

const maxWidth = 100 // of a Format's width and precision

// parseVerb checks that format has exactly one verb and that it suits the kind. Text around
// the verb is allowed.
func parseVerb(format string, kind Kind) (verb, error) {
	if format == "" {
		return verb{}, nil
	}
	if len(format) > maxName || !isPrintable(format) {
		return verb{}, fmt.Errorf("%.40q is too long or not printable", format)
	}
	v := verb{format: format}
	if s, ok := parseColons(format); ok && kind.isFloat() {
		v.letter, v.sexa = 'H', s
		return v, v.sexa.check(format)
	}
	for rest := format; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			break
		}
		if rest, found = strings.CutPrefix(after, "%"); found {
			continue
		}
		verbAt, flags := len(format)-len(after)-1, after
		after = strings.TrimLeft(after, "+-# 0")
		flags = flags[:len(flags)-len(after)]
		after, width := cutNumber(after)
		precision := 0
		if digits, ok := strings.CutPrefix(after, "."); ok {
			after, precision = cutNumber(digits)
		}
		switch {
		case width > maxWidth || precision > maxWidth:
			return verb{}, fmt.Errorf("%q: more than %d places", format, maxWidth)
		case after == "":
			return verb{}, fmt.Errorf("%q: nothing after %%", format)
		case v.letter != 0:
			return verb{}, fmt.Errorf("%q: more than one verb", format)
		case !strings.Contains(verbsOf(kind), after[:1]):
			return verb{}, fmt.Errorf("%q: %%%c is not for a keyword that is %v", format, after[0], kind)
		}
		v.letter, rest = after[0], after[1:]
		if v.letter == 'H' {
			v.sexa = newSexagesimal(format[:verbAt], flags, rest)
			v.sexa.width, v.sexa.decimals = width, precision
			if strings.Contains(flags, "0") {
				v.sexa.digits = width - len(":00:00") - precision - min(precision, 1)
			}
		}
	}
	if v.letter == 0 {
		return verb{}, fmt.Errorf("%q: no verb", format)
	}
	return v, v.sexa.check(format)
}

func cutNumber(s string) (rest string, n int) {
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		n = min(n*10+int(s[0]-'0'), maxWidth+1)
		s = s[1:]
	}
	return s, n
}

func verbsOf(kind Kind) string {
	switch kind {
	case KindBoolean, KindBooleanArray:
		return "tvsq"
	case KindInteger, KindInteger64, KindIntegerArray:
		return "dvxXob"
	case KindFloat, KindDouble, KindFloatArray, KindDoubleArray:
		return "fFeEgGvH"
	case KindEnumerated, KindMask:
		return "svqdxXob"
	case KindBytes:
		return "xXq"
	}
	return "svqxX" // String, KindStringArray
}

func (r *rules) display(v any) string {
	if r.format.letter == 0 {
		switch v := v.(type) {
		case bool:
			return r.boolName(v)
		case []bool:
			return string(appendEach(nil, v, func(b []byte, on bool) []byte { return appendQuoted(b, r.boolName(on)) }))
		}
		return string(r.appendText(nil, v))
	}
	switch v := v.(type) {
	case bool:
		return r.format.ofBool(r, v)
	case int64:
		if (r.kind == KindEnumerated || r.kind == KindMask) && strings.IndexByte("svq", r.format.letter) >= 0 {
			return r.format.of(string(r.appendText(nil, v)))
		}
		return r.format.of(v)
	case []bool:
		return displayEach(v, func(on bool) string { return r.format.ofBool(r, on) })
	case []int64:
		return displayEach(v, func(n int64) string { return r.format.of(n) })
	case []float64:
		return displayEach(v, func(f float64) string { return r.format.of(f) })
	case []string:
		return displayEach(v, func(s string) string { return r.format.of(s) })
	}
	return r.format.of(v)
}

func displayEach[E any](list []E, display func(E) string) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = display(e)
	}
	return strings.Join(words, " ")
}

func (v verb) of(value any) string {
	if f, ok := value.(float64); ok && v.letter == 'H' {
		return v.sexa.text(f)
	}
	return fmt.Sprintf(v.format, value)
}

// ofBool returns a boolean by its name, but with %t as true or false.
func (v verb) ofBool(r *rules, on bool) string {
	if v.letter == 't' {
		return v.of(on)
	}
	return v.of(r.boolName(on))
}

func (r *rules) boolName(v bool) string {
	n := int64(0)
	if v {
		n = 1
	}
	if name, ok := r.names[n]; ok {
		return name
	}
	return boolText(v)
}
