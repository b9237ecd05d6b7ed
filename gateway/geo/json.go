package geo

import "encoding/json"

// maxDepth is how deep arrays and objects may nest. encoding/json allows 10,000; the
// codecs of package storage allow 128 as well.
const maxDepth = 128

// cursor walks over JSON. Each method moves past what it is named after, or reports
// false, at any place, if that isn't JSON of RFC 8259.
type cursor struct {
	b     []byte
	i     int
	depth int
}

// space moves to the next byte that isn't white space and returns it, or 0 at the end.
func (c *cursor) space() byte {
	for ; c.i < len(c.b); c.i++ {
		switch ch := c.b[c.i]; ch {
		case ' ', '\t', '\n', '\r':
		default:
			return ch
		}
	}
	return 0
}

// open moves into an array or object, and past it if it is empty.
func (c *cursor) open(end byte) (empty, ok bool) {
	c.i++
	c.depth++
	if c.depth > maxDepth {
		return false, false
	}
	if c.space() == end {
		c.i++
		c.depth--
		return true, true
	}
	return false, true
}

// next moves past a comma, or the end of an array or object.
func (c *cursor) next(end byte) (more, ok bool) {
	switch c.space() {
	case ',':
		c.i++
		c.space()
		return true, true
	case end:
		c.i++
		c.depth--
		return false, true
	}
	return false, false
}

// value moves past any value.
func (c *cursor) value() bool {
	switch ch := c.space(); ch {
	case '{':
		empty, ok := c.open('}')
		for more := !empty; ok && more; more, ok = c.next('}') {
			if _, ok := c.key(); !ok || !c.value() {
				return false
			}
		}
		return ok
	case '[':
		empty, ok := c.open(']')
		for more := !empty; ok && more; more, ok = c.next(']') {
			if !c.value() {
				return false
			}
		}
		return ok
	case '"':
		_, ok := c.text()
		return ok
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	}
	return c.number()
}

func (c *cursor) literal(s string) bool {
	if len(c.b)-c.i < len(s) || string(c.b[c.i:c.i+len(s)]) != s {
		return false
	}
	c.i += len(s)
	return true
}

// key moves past the name of a member and its colon.
func (c *cursor) key() (name text, ok bool) {
	if c.space() != '"' {
		return text{}, false
	}
	name, ok = c.text()
	if !ok || c.space() != ':' {
		return text{}, false
	}
	c.i++
	return name, true
}

// text is a string with its quotes, as it was written.
type text struct {
	raw     []byte
	escaped bool
}

// value returns the string without quotes and escapes.
func (t text) value() []byte {
	if !t.escaped {
		return t.raw[1 : len(t.raw)-1]
	}
	var s string
	_ = json.Unmarshal(t.raw, &s) // it has just been found to be a string
	return []byte(s)
}

// text moves past a string.
func (c *cursor) text() (t text, ok bool) {
	start := c.i
	for c.i++; c.i < len(c.b); c.i++ {
		switch ch := c.b[c.i]; {
		case ch == '"':
			c.i++
			t.raw = c.b[start:c.i]
			return t, true
		case ch < ' ':
			return t, false
		case ch == '\\':
			t.escaped = true
			if !c.escape() {
				return t, false
			}
		}
	}
	return t, false
}

// escape moves to the last byte of an escape sequence.
func (c *cursor) escape() bool {
	c.i++
	if c.i >= len(c.b) {
		return false
	}
	switch c.b[c.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			c.i++
			if c.i >= len(c.b) || !hex(c.b[c.i]) {
				return false
			}
		}
		return true
	}
	return false
}

func hex(ch byte) bool {
	return digit(ch) || 'a' <= ch && ch <= 'f' || 'A' <= ch && ch <= 'F'
}

func digit(ch byte) bool { return '0' <= ch && ch <= '9' }

// number moves past a number.
func (c *cursor) number() bool {
	if c.i < len(c.b) && c.b[c.i] == '-' {
		c.i++
	}
	if c.i < len(c.b) && c.b[c.i] == '0' {
		c.i++
	} else if !c.digits() {
		return false
	}
	if c.i < len(c.b) && c.b[c.i] == '.' {
		c.i++
		if !c.digits() {
			return false
		}
	}
	if c.i < len(c.b) && (c.b[c.i] == 'e' || c.b[c.i] == 'E') {
		c.i++
		if c.i < len(c.b) && (c.b[c.i] == '+' || c.b[c.i] == '-') {
			c.i++
		}
		return c.digits()
	}
	return true
}

// digits moves past one digit or more.
func (c *cursor) digits() bool {
	start := c.i
	for c.i < len(c.b) && digit(c.b[c.i]) {
		c.i++
	}
	return c.i > start
}
