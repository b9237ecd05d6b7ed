package geo

import (
	"math"
	"strconv"
)

// shape is the positions of a message, and how they belong together.
type shape struct {
	points []float64 // x and y of each position
	tokens []token   // of each position
	parts  []part
}

// token is where the two numbers of a position are in the message.
type token struct{ x, xEnd, y, yEnd uint32 }

// part is an innermost list of positions.
type part struct {
	end   int // index after its last position; it begins where the previous part ends
	kind  partKind
	first bool // in the list around it: of the rings of a polygon the outer one
}

type partKind uint8

const (
	scattered partKind = iota // points
	line
	ring
)

// feature is a Feature, or a geometry that is a message by itself.
type feature struct {
	start, end uint32 // bytes of the message
	positions  span
	parts      span
	state      state
	id         []byte // as it stands in the message; nil: none
	hash       uint64 // of id
	bounds     bounds
}

type span struct{ from, to int }

type state uint8

const (
	located   state = iota
	unlocated       // its geometry is null
	foreign         // not GeoJSON
)

// bounds is the smallest box around some positions.
type bounds struct{ left, bottom, right, top float64 }

// bound returns the bounds of some positions. Without positions, nothing is inside.
func bound(points []float64) bounds {
	b := bounds{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
	for i := 0; i+1 < len(points); i += 2 {
		x, y := points[i], points[i+1]
		b.left, b.right = min(b.left, x), max(b.right, x)
		b.bottom, b.top = min(b.bottom, y), max(b.top, y)
	}
	return b
}

// mark is a place in a shape, as far as it had been read.
type mark struct{ positions, parts, features int }

func (s *scan) mark() mark { return mark{len(s.tokens), len(s.parts), len(s.features)} }

// keep drops what was read since base, but for what lies between two marks.
func (s *scan) keep(base, from, to mark) {
	if from != base {
		gap := from.positions - base.positions
		copy(s.points[2*base.positions:], s.points[2*from.positions:2*to.positions])
		copy(s.tokens[base.positions:], s.tokens[from.positions:to.positions])
		lag := from.parts - base.parts
		for i := from.parts; i < to.parts; i++ {
			s.parts[i-lag] = s.parts[i]
			s.parts[i-lag].end -= gap
		}
		for i := from.features; i < to.features; i++ {
			f := s.features[i]
			f.positions.from, f.positions.to = f.positions.from-gap, f.positions.to-gap
			f.parts.from, f.parts.to = f.parts.from-lag, f.parts.to-lag
			s.features[i-from.features+base.features] = f
		}
	}
	n := base.positions + to.positions - from.positions
	s.points, s.tokens = s.points[:2*n], s.tokens[:n]
	s.parts = s.parts[:base.parts+to.parts-from.parts]
	s.features = s.features[:base.features+to.features-from.features]
}

// positions reads the value of "coordinates".
func (s *scan) positions(m *member) (ok bool) {
	*m = member{from: s.mark(), to: s.mark(), state: memberInvalid}
	if s.space() != '[' {
		return s.value()
	}
	m.levels, ok = s.nested(true)
	if m.levels == 1 {
		s.parts = append(s.parts, part{end: len(s.tokens), first: true})
	}
	if m.levels != 0 {
		m.state = memberValid
	}
	m.to = s.mark()
	return ok
}

// nested reads an array of positions, at any depth, and returns how many arrays
// stand around a number. Where there is none it is how many there are at least,
// as a negative number; where the depth differs, or there are values of other
// kinds, it is 0.
func (s *scan) nested(first bool) (levels int, ok bool) {
	empty, ok := s.open(']')
	if !ok || empty {
		return -1, ok
	}
	if s.space() != '[' {
		return s.position()
	}
	levels = -1
	n := 0
	for more := true; ok && more; more, ok = s.next(']') {
		inner := 0
		if s.space() == '[' {
			inner, ok = s.nested(n == 0)
		} else {
			ok = s.value()
		}
		if !ok {
			return 0, false
		}
		levels = alike(levels, inner)
		n++
	}
	switch {
	case levels == 0:
		return 0, ok
	case levels < 0:
		return levels - 1, ok
	case levels == 1:
		s.parts = append(s.parts, part{end: len(s.tokens), first: first})
	}
	return levels + 1, ok
}

// alike returns the levels of two neighbours.
func alike(a, b int) int {
	switch {
	case a == b:
		return a
	case a < 0 && b < 0:
		return min(a, b)
	case a < 0 && fits(a, b):
		return b
	case b < 0 && fits(b, a):
		return a
	}
	return 0
}

// fits reports whether levels, as of nested, may be those that are wanted.
func fits(levels, want int) bool {
	return levels == want || levels < 0 && -levels <= want
}

// position reads an array that doesn't begin with another one. It counts as a
// position if it begins with two numbers, whatever follows.
func (s *scan) position() (levels int, ok bool) {
	var v [2]float64
	var at [2]span
	n, numbers := 0, 0
	for more := true; more; n++ {
		next, start := s.space(), s.i
		if n < 2 && (next == '-' || digit(next)) {
			if !s.number() {
				return 0, false
			}
			// A number beyond the range of float64 is infinite, which no projection represents.
			v[n], _ = strconv.ParseFloat(string(s.b[start:s.i]), 64)
			at[n] = span{start, s.i}
			numbers++
		} else if !s.value() {
			return 0, false
		}
		more, ok = s.next(']')
		if !ok {
			return 0, false
		}
	}
	if numbers < 2 {
		return 0, true
	}
	s.points = append(s.points, v[0], v[1])
	s.tokens = append(s.tokens, token{uint32(at[0].from), uint32(at[0].to), uint32(at[1].from), uint32(at[1].to)})
	return 1, true
}
