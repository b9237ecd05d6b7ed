package geo

import (
	"math"
	"slices"
	"strconv"
)

// document is a message that has been read, once, whoever is to have it: any number
// of boxes and projections work on what was found then. It never changes, and
// may be used by many at once.
type document struct {
	raw        []byte
	points     []float64
	tokens     []token
	parts      []part
	features   []feature
	collection bool
	original   *document // nil: this is it
}

// read reads a message. It can't fail: what isn't GeoJSON, or isn't JSON, or is
// nested deeper than 128, is a Doc without features, which every box lets pass
// and no projection changes. The Doc keeps raw, which must not change any more.
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

// Features returns how many features there are to place in a box: those of a
// FeatureCollection, one if the message is a Feature or a geometry, and none if
// it isn't GeoJSON.
func (d *document) Features() int { return len(d.features) }

func (d *document) positions(f *feature) []float64 {
	return d.points[2*f.positions.from : 2*f.positions.to]
}

// Project returns the message as p maps it. The first two numbers of each
// position are written anew, in as few digits as give the same float64 back, and
// every other byte is kept. A feature with a position that p has no image of is
// dropped, and counted; when it is the whole message, the Doc is nil.
//
// It is always the original that is projected: a Doc that was, too, starts from
// what had been read.
func (d *document) Project(p Projector) (projected *document, dropped int) {
	if d.original != nil {
		d = d.original
	}
	if _, same := p.(identity); same || len(d.tokens) == 0 {
		return d, 0
	}
	// Metres take some bytes more than degrees.
	w := writer{from: d, raw: make([]byte, 0, len(d.raw)+8*len(d.tokens)), points: make([]float64, len(d.points))}
	out := &document{parts: d.parts, features: slices.Clone(d.features), collection: d.collection, original: d}
	kept := out.features[:0]
	end := uint32(0) // of the last feature read
	for i := range d.features {
		f := d.features[i]
		undo := len(w.raw)
		if i == 0 || len(kept) > 0 {
			w.raw = append(w.raw, d.raw[end:f.start]...)
		}
		if i == 0 {
			undo = len(w.raw) // what comes before the first stays
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

// feature appends a feature, with f its new bounds, and reports whether all of
// it had an image.
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

// number appends a number that JSON and all who read it know: no exponent, and
// no negative zero.
func number(b []byte, v float64) []byte { return strconv.AppendFloat(b, v+0, 'f', -1, 64) }
