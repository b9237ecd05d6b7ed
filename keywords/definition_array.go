package keywords

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// special are the characters with a meaning in an array's text. An element that contains
// one of them or a space is quoted.
const special = `"\,()[]{}`

var escapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

func appendQuoted(b []byte, s string) []byte {
	bare := s != "" && !strings.ContainsAny(s, special) &&
		!strings.ContainsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) })
	if bare {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, escapes.Replace(s)...)
	return append(b, '"')
}

// splitArray splits an array's text, which has no spaces around it, into its elements.
func splitArray(text string) ([]string, error) {
	if n := len(text); n >= 2 {
		if i := strings.IndexByte("[({", text[0]); i >= 0 && text[n-1] == "])}"[i] {
			text = strings.TrimSpace(text[1 : n-1])
		}
	}
	words := []string{}
	for text != "" {
		word, rest, err := cutElement(text)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(words), err)
		}
		words = append(words, word)
		text = strings.TrimLeftFunc(rest, unicode.IsSpace)
		if after, ok := strings.CutPrefix(text, ","); ok {
			text = strings.TrimLeftFunc(after, unicode.IsSpace)
			if text == "" {
				return nil, fmt.Errorf("nothing after the last comma")
			}
		} else if text != "" && len(text) == len(rest) {
			return nil, fmt.Errorf("element %d: %.10q follows without a space", len(words)-1, rest)
		}
	}
	return words, nil
}

// cutElement returns the first element of text, which is not empty, and the rest.
func cutElement(text string) (word, rest string, err error) {
	if text[0] == '"' {
		return cutQuoted(text[1:])
	}
	end := strings.IndexFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || strings.ContainsRune(special, c)
	})
	if end < 0 {
		return text, "", nil
	}
	if c, _ := utf8.DecodeRuneInString(text[end:]); c != ',' && !unicode.IsSpace(c) {
		return "", "", fmt.Errorf("%q must be in quotes", c)
	}
	if end == 0 {
		return "", "", fmt.Errorf("nothing before a comma")
	}
	return text[:end], text[end:], nil
}

// cutQuoted returns the quoted element that text begins with, behind its opening quote, and
// the rest.
func cutQuoted(text string) (word, rest string, err error) {
	var b strings.Builder
	for {
		i := strings.IndexAny(text, `"\`)
		if i < 0 {
			return "", "", fmt.Errorf("no closing quote")
		}
		b.WriteString(text[:i])
		if text[i] == '"' {
			return b.String(), text[i+1:], nil
		}
		if i+1 == len(text) {
			return "", "", fmt.Errorf("no closing quote")
		}
		k := strings.IndexByte(`"\nrt`, text[i+1])
		if k < 0 {
			return "", "", fmt.Errorf(`unknown escape \%c`, text[i+1])
		}
		b.WriteByte("\"\\\n\r\t"[k])
		text = text[i+2:]
	}
}
