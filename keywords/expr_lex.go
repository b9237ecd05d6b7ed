package keywords

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type exprTokenKind uint8

const (
	exprTokenEnd exprTokenKind = iota
	exprTokenOperator
	exprTokenNumber
	exprTokenString
	exprTokenWord
	exprTokenKeyword
)

type exprToken struct {
	kind exprTokenKind
	text string // of a string what it means, else as it stands
	at   int    // byte
	name exprName
}

// operator returns the text of an operator, bracket or comma, else "".
func (t exprToken) operator() string {
	if t.kind == exprTokenOperator {
		return t.text
	}
	return ""
}

type exprLexer struct {
	text string
	at   int
}

func (l *exprLexer) column(at int) int { return 1 + utf8.RuneCountInString(l.text[:at]) }

// take returns the longest run of letters that ok accepts.
func (l *exprLexer) take(ok func(c byte) bool) string {
	start := l.at
	for l.at < len(l.text) && ok(l.text[l.at]) {
		l.at++
	}
	return l.text[start:l.at]
}

func exprDigit(c byte) bool { return '0' <= c && c <= '9' }

func exprLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || exprDigit(c)
}

func (l *exprLexer) next() (exprToken, error) {
	l.take(func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' })
	t := exprToken{at: l.at}
	rest := l.text[l.at:]
	if rest == "" {
		return t, nil
	}
	var err error
	switch c := rest[0]; {
	case c == '$':
		t.kind = exprTokenKeyword
		t.name, err = l.keyword()
		t.text = l.text[t.at:l.at]
	case c == '\'' || c == '"':
		t.kind = exprTokenString
		t.text, err = l.quoted(c)
	case exprDigit(c) || c == '.':
		t.kind = exprTokenNumber
		t.text = l.number()
	case exprLetter(c):
		t.kind = exprTokenWord
		t.text = l.take(exprLetter)
		switch t.text {
		case "and", "or", "not", "in", "has":
			t.kind = exprTokenOperator
		}
	default:
		t.kind = exprTokenOperator
		if t.text = exprSymbol(rest); t.text == "" {
			r, _ := utf8.DecodeRuneInString(rest)
			err = fmt.Errorf("%q means nothing here", r)
		}
		l.at += len(t.text)
	}
	if err != nil {
		return t, exprError(l.column(t.at), "%w", err)
	}
	return t, nil
}

// exprSymbol returns the operator that text begins with.
func exprSymbol(text string) string {
	for _, s := range [...]string{"==", "!=", "<=", ">=", "&&", "||", "=", "<", ">", "!", "+", "-", "*", "/", "(", ")", "[", "]", ","} {
		if strings.HasPrefix(text, s) {
			return s
		}
	}
	return ""
}

// keyword reads $service.KEYWORD, ${service.KEYWORD} or either without service.
func (l *exprLexer) keyword() (name exprName, err error) {
	l.at++
	rest := l.text[l.at:]
	var text string
	if strings.HasPrefix(rest, "{") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return name, errors.New("${ without }")
		}
		text = rest[1:end]
		l.at += end + 1
	} else {
		text = l.take(exprLetter)
		if rest := l.text[l.at:]; len(rest) > 1 && rest[0] == '.' && exprLetter(rest[1]) {
			l.at++
			text += "." + l.take(exprLetter)
		}
		if rest := l.text[l.at:]; len(rest) > 1 && rest[0] == '-' && exprLetter(rest[1]) && !exprDigit(rest[1]) {
			return name, errors.New("a name with '-' needs braces, as ${service.KEYWORD}")
		}
	}
	keyword := text
	if service, after, ok := strings.Cut(text, "."); ok {
		if err := exprCheckService(service); err != nil {
			return name, err
		}
		name.Service, keyword = service, after
	}
	if !exprNameOK(keyword) {
		return name, fmt.Errorf("%q is no keyword: letters, digits, '_' and '-', not first", keyword)
	}
	name.Keyword = strings.ToUpper(keyword)
	return name, nil
}

func exprCheckService(s string) error {
	if !exprNameOK(s) || strings.ToLower(s) != s {
		return fmt.Errorf("service %q: lower-case letters, digits, '_' and '-', not first", s)
	}
	return nil
}

func exprNameOK(s string) bool {
	for i := range len(s) {
		if !exprLetter(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// quoted reads a string with the escapes of Go.
func (l *exprLexer) quoted(quote byte) (string, error) {
	var b []byte
	rest := l.text[l.at+1:]
	for rest != "" {
		switch c := rest[0]; {
		case c == quote:
			l.at = len(l.text) - len(rest) + 1
			return string(b), nil
		case c == '\\' && len(rest) > 1 && (rest[1] == '\'' || rest[1] == '"'):
			b = append(b, rest[1])
			rest = rest[2:]
		default:
			r, wide, tail, err := strconv.UnquoteChar(rest, 0)
			if err != nil {
				return "", fmt.Errorf("bad escape in a string: %.6q", rest)
			}
			if wide {
				b = utf8.AppendRune(b, r)
			} else {
				b = append(b, byte(r))
			}
			rest = tail
		}
	}
	return "", errors.New("a string without end")
}

// number takes all that stands together, so that 5mm is one bad number.
func (l *exprLexer) number() string {
	start := l.at
	l.take(func(c byte) bool { return exprLetter(c) || c == '.' })
	text := l.text[start:l.at]
	if rest := l.text[l.at:]; !exprHex(text) && strings.HasSuffix(strings.ToLower(text), "e") &&
		len(rest) > 1 && (rest[0] == '+' || rest[0] == '-') && exprDigit(rest[1]) {
		l.at++
		l.take(exprLetter)
	}
	return l.text[start:l.at]
}

func exprHex(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
}

// exprNumber reads an integer, in decimal or hexadecimal, or a float.
func exprNumber(s string) (exprValue, error) {
	base := 10
	if exprHex(s) {
		base = 0
	}
	malformed := strings.Contains(s, "_")
	n, err := strconv.ParseInt(s, base, 64)
	switch {
	case err == nil && !malformed:
		return exprValue{kind: exprInteger, n: n}, nil
	case errors.Is(err, strconv.ErrRange):
		return exprValue{}, fmt.Errorf("%s is beyond 64 bits", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return exprValue{}, fmt.Errorf("%s is beyond float64", s)
	case err != nil || malformed || base == 0:
		return exprValue{}, fmt.Errorf("%s is no number; a string needs quotes", s)
	}
	return exprValue{kind: exprFloat, f: f}, nil
}
