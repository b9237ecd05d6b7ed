package expr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenOperator
	tokenNumber
	tokenString
	tokenWord
	tokenKeyword
)

type token struct {
	kind tokenKind
	text string // as in the expression; of a string, its value
	at   int    // offset in bytes
	name Name
}

// operator returns the text of an operator, bracket or comma, and "" for other tokens.
func (t token) operator() string {
	if t.kind == tokenOperator {
		return t.text
	}
	return ""
}

type lexer struct {
	text string
	at   int
}

func (l *lexer) column(at int) int { return 1 + utf8.RuneCountInString(l.text[:at]) }

// take returns the longest run of characters that ok accepts.
func (l *lexer) take(ok func(c byte) bool) string {
	start := l.at
	for l.at < len(l.text) && ok(l.text[l.at]) {
		l.at++
	}
	return l.text[start:l.at]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || isDigit(c)
}

func (l *lexer) next() (token, error) {
	l.take(func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' })
	t := token{at: l.at}
	rest := l.text[l.at:]
	if rest == "" {
		return t, nil
	}
	var err error
	switch c := rest[0]; {
	case c == '$':
		t.kind = tokenKeyword
		t.name, err = l.keyword()
		t.text = l.text[t.at:l.at]
	case c == '\'' || c == '"':
		t.kind = tokenString
		t.text, err = l.quoted(c)
	case isDigit(c) || c == '.':
		t.kind = tokenNumber
		t.text = l.number()
	case isLetter(c):
		t.kind = tokenWord
		t.text = l.take(isLetter)
		switch t.text {
		case "and", "or", "not", "in", "has":
			t.kind = tokenOperator
		}
	default:
		t.kind = tokenOperator
		if t.text = symbolAt(rest); t.text == "" {
			r, _ := utf8.DecodeRuneInString(rest)
			err = fmt.Errorf("unexpected %q", r)
		}
		l.at += len(t.text)
	}
	if err != nil {
		return t, errorf(l.column(t.at), "%w", err)
	}
	return t, nil
}

// symbolAt returns the operator that text begins with, or "".
func symbolAt(text string) string {
	for _, s := range [...]string{"==", "!=", "<=", ">=", "&&", "||", "=", "<", ">", "!", "+", "-", "*", "/", "(", ")", "[", "]", ","} {
		if strings.HasPrefix(text, s) {
			return s
		}
	}
	return ""
}

// keyword reads $service.KEYWORD, ${service.KEYWORD} or either without service.
func (l *lexer) keyword() (name Name, err error) {
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
		text = l.take(isLetter)
		if rest := l.text[l.at:]; len(rest) > 1 && rest[0] == '.' && isLetter(rest[1]) {
			l.at++
			text += "." + l.take(isLetter)
		}
		if rest := l.text[l.at:]; len(rest) > 1 && rest[0] == '-' && isLetter(rest[1]) && !isDigit(rest[1]) {
			return name, errors.New("a name with '-' needs braces, as ${service.KEYWORD}")
		}
	}
	keyword := text
	if service, after, ok := strings.Cut(text, "."); ok {
		if err := checkService(service); err != nil {
			return name, err
		}
		name.Service, keyword = service, after
	}
	if !isName(keyword) {
		return name, fmt.Errorf("%q is not a keyword's name: want letters, digits, '_' and '-', which can't be first", keyword)
	}
	name.Keyword = strings.ToUpper(keyword)
	return name, nil
}

func checkService(s string) error {
	if !isName(s) || strings.ToLower(s) != s {
		return fmt.Errorf("service %q: want lower-case letters, digits, '_' and '-', which can't be first", s)
	}
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// quoted reads a string with Go's escapes.
func (l *lexer) quoted(quote byte) (string, error) {
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
	return "", errors.New("string without closing quote")
}

// number takes all letters, digits and points that follow, so that 5mm is one bad number.
func (l *lexer) number() string {
	start := l.at
	l.take(func(c byte) bool { return isLetter(c) || c == '.' })
	text := l.text[start:l.at]
	if rest := l.text[l.at:]; !isHex(text) && strings.HasSuffix(strings.ToLower(text), "e") &&
		len(rest) > 1 && (rest[0] == '+' || rest[0] == '-') && isDigit(rest[1]) {
		l.at++
		l.take(isLetter)
	}
	return l.text[start:l.at]
}

func isHex(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
}

// parseNumber reads a decimal or hexadecimal integer, or a float.
func parseNumber(s string) (Value, error) {
	base := 10
	if isHex(s) {
		base = 0
	}
	malformed := strings.Contains(s, "_")
	n, err := strconv.ParseInt(s, base, 64)
	switch {
	case err == nil && !malformed:
		return Value{kind: kindInteger, n: n}, nil
	case errors.Is(err, strconv.ErrRange):
		return Value{}, fmt.Errorf("%s is beyond 64 bits", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return Value{}, fmt.Errorf("%s is beyond float64", s)
	case err != nil || malformed || base == 0:
		return Value{}, fmt.Errorf("%s is not a number; a string needs quotes", s)
	}
	return Value{kind: kindFloat, f: f}, nil
}
