package geo

import (
	"math"
	"slices"
	"strconv"
)

// document is a message that has been parsed, once for all boxes and projections. It
// never changes, and may be used by many goroutines at once.
type document struct {
	raw        []byte
	points     []float64
	tokens     []token
	parts      []part
	features   []feature
	collection bool
	original   *document // nil: this is the original
}

// read parses a message. It can't fail: what isn't GeoJSON, or is nested deeper than
// 128, is a document without features, which every box lets pass and no projection
// changes. The document keeps raw, which must not change any more.
func read(raw []byte, idProperty string) *document {
	s := scan{cursor: cursor{b: raw}, idProperty: idProperty}
	d := &document{raw: raw}
	if s.space() != '{' || uint64(len(raw)) > math.MaxUint32 {
		return d
	}
	f, k, ok := s.object(message)
	if s.space(); !ok || s.i < len(raw) || f.state == foreign {
		return d
	}
	if k == featureCollection {
		d.collection = true
	} else {
		s.features = append(s.features, f)
	}
	d.points, d.tokens, d.parts, d.features = s.points, s.tokens, s.parts, s.features
	for i := range d.features {
		f := &d.features[i]
		f.bounds = bound(d.positions(f))
	}
	return d
}

// Raw returns the message.
func (d *document) Raw() []byte { return d.raw }

// Features returns the number of features: those of a FeatureCollection, one for a
// Feature or a geometry, and none if the message isn't GeoJSON.
func (d *document) Features() int { return len(d.features) }

func (d *document) positions(f *feature) []float64 {
	return d.points[2*f.positions.from : 2*f.positions.to]
}

// Project returns the message projected by p. The first two numbers of each position
// are replaced, in as few digits as give the same float64 back; every other byte
// stays. Features with a position that p can't represent are dropped and counted; if
// nothing is left of the message, the result is nil.
//
// A document that is itself projected is projected from its original.
func (d *document) Project(p Projector) (projected *document, dropped int) {
	if d.original != nil {
		d = d.original
	}
	if _, same := p.(identity); same || len(d.tokens) == 0 {
		return d, 0
	}
	// Metres take a few more bytes than degrees.
	w := writer{from: d, raw: make([]byte, 0, len(d.raw)+8*len(d.tokens)), points: make([]float64, len(d.points))}
	out := &document{parts: d.parts, features: slices.Clone(d.features), collection: d.collection, original: d}
	kept := out.features[:0]
	end := uint32(0) // of the previous feature
	for i := range d.features {
		f := d.features[i]
		undo := len(w.raw)
		if i == 0 || len(kept) > 0 {
			w.raw = append(w.raw, d.raw[end:f.start]...)
		}
		if i == 0 {
			undo = len(w.raw) // what comes before the first feature stays
		}
		end = f.end
		if !w.feature(&f, p) {
			w.raw = w.raw[:undo]
			dropped++
			continue
		}
		kept = append(kept, f)
	}
	if len(kept) == 0 && !d.collection {
		return nil, dropped
	}
	out.raw = append(w.raw, d.raw[end:]...)
	out.points, out.features = w.points, kept
	return out, dropped
}

// writer writes a projected message.
type writer struct {
	from   *document
	raw    []byte
	points []float64
}

// feature appends a feature and sets its new bounds in f. It reports false if p can't
// represent a position.
func (w *writer) feature(f *feature, p Projector) bool {
	at := f.start
	for i := f.positions.from; i < f.positions.to; i++ {
		x, y := p.Forward(w.from.points[2*i], w.from.points[2*i+1])
		if !finite(x, y) {
			return false
		}
		w.points[2*i], w.points[2*i+1] = x, y
		t := w.from.tokens[i]
		w.raw = append(w.raw, w.from.raw[at:t.x]...)
		w.raw = number(w.raw, x)
		w.raw = append(w.raw, w.from.raw[t.xEnd:t.y]...)
		w.raw = number(w.raw, y)
		at = t.yEnd
	}
	w.raw = append(w.raw, w.from.raw[at:f.end]...)
	f.bounds = bound(w.points[2*f.positions.from : 2*f.positions.to])
	return true
}

// number appends a number that every JSON parser reads: no exponent, and no negative
// zero.
func number(b []byte, v float64) []byte { return strconv.AppendFloat(b, v+0, 'f', -1, 64) }
