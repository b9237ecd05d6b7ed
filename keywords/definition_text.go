package keywords

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// noBits is the text of a mask without bits.
const noBits = "none"

// Parse reads a value from text: what [Definition.Text] returns, or what people write.
// Spaces around it are ignored, except in strings.
//
//   - boolean: true, t, yes, y, on, 1, false, f, no, n, off, 0 and the names of its
//     enumerators, all in any case;
//   - integers: 12, -12, +12, 0x1f, and 12.0 or 1.2e1 if exactly an integer;
//   - floats: 1, 1.5, 15e-1, NaN, Inf, -Inf, in any case; if Format has the verb H also
//     12:34:56.7, -0:30, which are degrees or hours, minutes and seconds;
//   - enumerated: a name, in any case if that is unambiguous, or a number. Text that is
//     both is read as a name;
//   - mask: names or numbers separated by commas or |, or none;
//   - bytes: base64;
//   - arrays: elements separated by spaces or by one comma, with or without one pair of
//     brackets. Strings that are empty or contain a separator or bracket are in double
//     quotes, with \" \\ \n \r \t.
//
// The code of an [*Error] is CodeMalformed, CodeEnumerator, or CodeRange for a number with
// too many digits for the kind. Parse does not check limits; [Definition.Check] does.
func (d Definition) Parse(text string) (any, error) {
	r, err := d.ready()
	if err != nil {
		return nil, err
	}
	return r.parse(text)
}

// Text returns a value's canonical text, which is what Redis holds: true or false, the
// shortest digits that are read back as the same number, NaN, Inf or -Inf, the name of an
// enumerator, the names of a mask's bits joined by commas or none, a string as it is, bytes
// as base64, an array's elements joined by spaces. For a v that is not a value of the
// keyword the text is one that Parse refuses or Check does.
func (d Definition) Text(v any) string {
	r, err := d.ready()
	if err != nil {
		return fmt.Sprint(v)
	}
	var buf [64]byte
	return string(r.appendText(buf[:0], v))
}

// Display returns a value for people: formatted by Format, or as its text. A boolean is
// shown by the name of its enumerator. Units are not included.
func (d Definition) Display(v any) string {
	r, err := d.ready()
	if err != nil {
		return fmt.Sprint(v)
	}
	return r.display(v)
}

func (r *rules) parse(text string) (any, error) {
	word := text
	if r.kind != KindString {
		word = strings.TrimSpace(text)
	}
	switch r.kind {
	case KindBoolean:
		return r.parseBool(word)
	case KindInteger:
		return r.parseInt(word, 32)
	case KindInteger64:
		return r.parseInt(word, 64)
	case KindFloat, KindDouble:
		return r.parseFloat(word)
	case KindEnumerated:
		return r.parseEnumerated(word)
	case KindMask:
		return r.parseMask(word)
	case KindString:
		return text, nil
	case KindBytes:
		data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(word, "="))
		if err != nil {
			return nil, r.errorf(CodeMalformed, "%.40q is not base64", text)
		}
		return data, nil
	}
	words, err := splitArray(word)
	if err != nil {
		return nil, r.errorf(CodeMalformed, "%v", err)
	}
	return r.parseWords(words)
}

// parseWords reads the elements of an array.
func (r *rules) parseWords(words []string) (any, error) {
	switch r.kind {
	case KindStringArray:
		return words, nil
	case KindBooleanArray:
		return parseEach[bool](words, r.parseBool)
	case KindIntegerArray:
		return parseEach[int64](words, func(word string) (any, error) { return r.parseInt(word, 64) })
	default:
		return parseEach[float64](words, func(word string) (any, error) { return r.parseFloat(word) })
	}
}

func parseEach[N any](words []string, parse func(string) (any, error)) (any, error) {
	list := make([]N, len(words))
	for i, word := range words {
		v, err := parse(word)
		var e *Error
		if errors.As(err, &e) {
			e.Text = fmt.Sprintf("element %d: %s", i, e.Text)
		}
		if err != nil {
			return nil, err
		}
		list[i] = v.(N)
	}
	return list, nil
}

func (r *rules) parseBool(word string) (any, error) {
	if n, ok, err := r.number(word); ok || err != nil {
		return n == 1, err
	}
	switch strings.ToLower(word) {
	case "true", "t", "yes", "y", "on", "1":
		return true, nil
	case "false", "f", "no", "n", "off", "0":
		return false, nil
	}
	return nil, r.errorf(CodeMalformed, "%.40q is not a boolean", word)
}

func (r *rules) parseInt(word string, size int) (any, error) {
	n, err := readInt(word, size)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return nil, r.errorf(CodeRange, "%.40s does not fit %d bits", word, size)
	case err != nil:
		return nil, r.errorf(CodeMalformed, "%.40q is not an integer", word)
	}
	return n, nil
}

func readInt(word string, size int) (int64, error) {
	n, err := strconv.ParseInt(word, 10, size)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return n, err
	}
	if digits, ok := cutHex(word); ok {
		return strconv.ParseInt(digits, 16, size)
	}
	f, ferr := readFloat(word, 64)
	if errors.Is(ferr, strconv.ErrRange) || math.IsInf(f, 0) {
		return 0, strconv.ErrRange
	}
	if ferr != nil || math.IsNaN(f) {
		return 0, err
	}
	digits, ok := wholeDigits(word)
	if !ok {
		return 0, err
	}
	return strconv.ParseInt(digits, 10, size)
}

// wholeDigits returns the sign and digits of a number such as 12.0 or 1.2e1, if it is
// exactly an integer. Converting it to a float64 might round it.
func wholeDigits(word string) (digits string, ok bool) {
	word, exponent, _ := strings.Cut(strings.ToLower(word), "e")
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			return "", false
		}
	}
	unsigned := strings.TrimLeft(word, "+-")
	sign := word[:len(word)-len(unsigned)]
	before, after, _ := strings.Cut(unsigned, ".")
	digits = before + after
	point := len(before) + shift // number of digits before the point
	switch {
	case strings.Trim(digits, "0") == "":
		return "0", true
	case point >= len(digits):
		return sign + digits + strings.Repeat("0", point-len(digits)), true
	case point > 0 && strings.Trim(digits[point:], "0") == "":
		return sign + digits[:point], true
	}
	return "", false
}

// cutHex removes the 0x of a number and keeps its sign.
func cutHex(word string) (digits string, ok bool) {
	sign := ""
	if word != "" && (word[0] == '-' || word[0] == '+') {
		sign, word = word[:1], word[1:]
	}
	if len(word) > 2 && word[0] == '0' && word[1]|0x20 == 'x' && word[2] != '-' && word[2] != '+' {
		return sign + word[2:], true
	}
	return "", false
}

func (r *rules) parseFloat(word string) (any, error) {
	if r.format.letter == 'H' && strings.Contains(word, ":") {
		return r.parseSexagesimal(word)
	}
	size := r.kind.floatSize()
	f, err := readFloat(word, size)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return nil, r.errorf(CodeRange, "%.40s does not fit %d bits", word, size)
	case err != nil:
		return nil, r.errorf(CodeMalformed, "%.40q is not a number", word)
	}
	return f, nil
}

// readFloat reads a number as strconv does, but refuses underscores.
func readFloat(word string, size int) (float64, error) {
	if strings.IndexByte(word, '_') >= 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(word, size)
}

func (r *rules) parseEnumerated(word string) (any, error) {
	if n, ok, err := r.number(word); ok || err != nil {
		return n, err
	}
	if n, err := readInt(word, 32); err == nil {
		if _, ok := r.names[n]; ok {
			return n, nil
		}
	}
	return nil, r.errorf(CodeEnumerator, "no enumerator %.40q: want one of %s", word, r.choices())
}

func (r *rules) parseMask(text string) (any, error) {
	var mask int64
	if strings.EqualFold(text, noBits) {
		return mask, nil
	}
	for word := range strings.SplitSeq(strings.ReplaceAll(text, "|", ","), ",") {
		word = strings.TrimSpace(word)
		n, ok, err := r.number(word)
		if err != nil {
			return nil, err
		}
		if !ok {
			n, err = readInt(word, 64)
			if err != nil || n < 0 || n > math.MaxUint32 {
				return nil, r.errorf(CodeEnumerator, "no bit %.40q: want one of %s", word, r.choices())
			}
		}
		mask |= n
	}
	return mask, nil
}

func (r *rules) appendText(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		switch r.kind {
		case KindEnumerated:
			if name, ok := r.names[v]; ok {
				return append(b, name...)
			}
			number := strconv.FormatInt(v, 10)
			for _, named := r.numbers[number]; named; _, named = r.numbers[number] {
				number = "+" + number // the plain number is an enumerator's name
			}
			return append(b, number...)
		case KindMask:
			return r.appendMask(b, v)
		}
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v, r.kind.floatSize())
	case string:
		return append(b, v...)
	case []byte:
		return base64.StdEncoding.AppendEncode(b, v)
	case []bool:
		return appendEach(b, v, strconv.AppendBool)
	case []int64:
		return appendEach(b, v, func(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) })
	case []float64:
		return appendEach(b, v, func(b []byte, f float64) []byte { return appendFloat(b, f, r.kind.floatSize()) })
	case []string:
		return appendEach(b, v, appendQuoted)
	}
	return fmt.Append(b, v)
}

func appendEach[E any](b []byte, list []E, appendElement func([]byte, E) []byte) []byte {
	for i, e := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendElement(b, e)
	}
	return b
}

func appendFloat(b []byte, f float64, size int) []byte {
	if math.IsInf(f, 1) {
		return append(b, "Inf"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, size)
}

func (r *rules) appendMask(b []byte, v int64) []byte {
	if v == 0 {
		return append(b, noBits...)
	}
	start := len(b)
	for rest := uint64(v & r.named); rest != 0; rest &= rest - 1 {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, r.bits[bits.TrailingZeros64(rest)]...)
	}
	if rest := uint64(v &^ r.named); rest != 0 {
		if len(b) > start {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%#x", rest)
	}
	return b
}

func boolText(v bool) string { return strconv.FormatBool(v) }
