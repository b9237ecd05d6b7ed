package gateway

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Text is the text protocol, that of redis_websocket_api. It is the default for
// clients that choose no subprotocol.
var Text Protocol = text{}

type text struct{}

func (text) Name() string { return "" }

// Parse splits a message into words. It tries once whether the rest is JSON: for a
// message of many brackets, trying at each would take quadratic time.
func (text) Parse(message []byte, args int) (Request, error) {
	var r Request
	rest, looked := string(message), false
	for words := 0; ; words++ {
		rest = strings.TrimLeft(rest, spaces)
		if rest == "" {
			break
		}
		if words > args { // the command is a word as well
			return r, tooManyArgs(args)
		}
		if (rest[0] == '{' || rest[0] == '[') && r.Command != "" && !looked {
			looked = true
			if json.Valid([]byte(rest)) {
				r.Args = append(r.Args, strings.TrimRight(rest, spaces))
				break
			}
		}
		var word string
		var err error
		begin, quoted := rest, rest[0] == '"'
		if quoted {
			word, rest, err = unquote(rest)
		} else {
			word, rest = cutWord(rest)
		}
		name, value, option := strings.Cut(word, "=")
		if !quoted && option && strings.HasPrefix(value, `"`) { // name="a value" may contain spaces
			value, rest, err = unquote(begin[len(name)+len("="):])
		}
		switch {
		case err != nil:
			return r, err
		case r.Command == "":
			r.Command = word
		case quoted || !option:
			r.Args = append(r.Args, word)
		case r.Options == nil:
			r.Options = map[string]string{name: value}
		default:
			r.Options[name] = value
		}
	}
	if r.Command == "" {
		return r, Errorf(CodeBadCommand, "the message is empty; HELP lists the commands")
	}
	return r, nil
}

func tooManyArgs(args int) error {
	return Errorf(CodeBadCommand, "more than %d arguments and options", args)
}

const spaces = " \t\r\n\v\f"

func cutWord(s string) (word, rest string) {
	if i := strings.IndexAny(s, spaces); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// unquote takes a quoted word from the beginning of s.
func unquote(s string) (word, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", Errorf(CodeBadCommand, `after \ only " or \ may follow`)
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", Errorf(CodeBadCommand, `a quote is not closed`)
}

// Append writes the envelope.
func (text) Append(dst []byte, f *Frame) []byte {
	source := f.Source
	switch f.Kind {
	case KindDone:
		return dst
	case KindBroadcast:
		return append(dst, f.Content...)
	case KindStatus:
		source = "websocket"
	case KindError:
		source = "error"
	}
	dst = appendString(append(dst, `{"source": `...), source)
	dst = append(dst, `, "content": `...)
	switch {
	case f.Kind == KindError:
		dst = appendString(append(dst, `{"code": `...), string(f.Code))
		dst = appendString(append(dst, `, "message": `...), f.Message)
		dst = appendString(append(dst, `, "command": `...), f.Command)
		dst = append(dst, '}')
	default:
		dst = appendJSON(dst, f.Content)
	}
	dst = appendTime(append(dst, `, "timestamp": `...), f.Time)
	dst = appendJSON(append(dst, `, "client_reference": `...), f.Ref)
	if f.Offset != "" {
		dst = appendString(append(dst, `, "offset": `...), f.Offset)
	}
	return append(dst, '}')
}

// appendTime writes milliseconds since 1970, with microseconds after the point.
func appendTime(dst []byte, t time.Time) []byte {
	us := t.UnixMicro()
	dst = append(strconv.AppendInt(dst, us/1000, 10), '.')
	us %= 1000
	return append(dst, byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

func appendJSON(dst []byte, content json.RawMessage) []byte {
	if content == nil {
		return append(dst, "null"...)
	}
	return append(dst, content...)
}

// appendString writes a JSON string. Bytes that are not UTF-8 are replaced.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}

const hex = "0123456789abcdef"
