package geo

import "hash/maphash"

// scan parses GeoJSON in one pass. "coordinates" may come before the "type" that gives
// them a meaning: what may turn out to be positions is read as such, and dropped at
// the end of its object if it wasn't. Of members with the same name the last counts,
// as for JSON.parse.
type scan struct {
	cursor
	idProperty string
	shape
	features []feature
}

// role is what an object may be at its place.
type role uint8

const (
	message  role = iota // anything
	element              // a Feature, in a FeatureCollection
	geometry             // a geometry
)

// kind is the "type" of an object.
type kind uint8

const (
	other kind = iota
	point
	multiPoint
	lineString
	multiLineString
	polygon
	multiPolygon
	geometryCollection
	oneFeature
	featureCollection
)

func kindOf(name []byte) kind {
	switch string(name) {
	case "Point":
		return point
	case "MultiPoint":
		return multiPoint
	case "LineString":
		return lineString
	case "MultiLineString":
		return multiLineString
	case "Polygon":
		return polygon
	case "MultiPolygon":
		return multiPolygon
	case "GeometryCollection":
		return geometryCollection
	case "Feature":
		return oneFeature
	case "FeatureCollection":
		return featureCollection
	}
	return other
}

// geometries of coordinates, by kind: how many arrays stand around a number, and
// what the innermost lists of positions are.
var geometries = [...]struct {
	levels int
	kind   partKind
}{
	point: {1, scattered}, multiPoint: {2, scattered},
	lineString: {2, line}, multiLineString: {3, line},
	polygon: {3, ring}, multiPolygon: {4, ring},
}

// object is what is known of an object while it is read.
type object struct {
	role
	kind
	coordinates, members, geometry, features member
	id, property                             []byte
}

// member is a member that contains positions, or objects with positions.
type member struct {
	from, to mark
	state    memberState
	levels   int // of coordinates
}

// memberState is whether a member is there and valid.
type memberState uint8

const (
	memberMissing memberState = iota
	memberNull
	memberValid
	memberInvalid
)

// object reads an object. The feature is foreign, and has no positions, unless the
// object is GeoJSON that may stand at this place.
func (s *scan) object(r role) (f feature, k kind, ok bool) {
	o := object{role: r}
	base := s.mark()
	f.start = uint32(s.i)
	empty, ok := s.open('}')
	for more := !empty; ok && more; more, ok = s.next('}') {
		if !s.member(&o) {
			return f, other, false
		}
	}
	f.end = uint32(s.i)
	f.state = located
	var m member
	switch {
	case o.kind >= point && o.kind <= multiPolygon && r != element:
		m = o.coordinates
		if m.state == memberValid && !fits(m.levels, geometries[o.kind].levels) {
			m.state = memberInvalid
		}
		if m.state == memberValid {
			for i := m.from.parts; i < m.to.parts; i++ {
				s.parts[i].kind = geometries[o.kind].kind
			}
		}
	case o.kind == geometryCollection && r != element:
		m = o.members
	case o.kind == oneFeature && r != geometry:
		m = o.geometry
		if m.state == memberNull {
			m.state, f.state = memberValid, unlocated
		}
		f.id = o.id
		if f.id == nil {
			f.id = o.property
		}
		if f.id != nil {
			f.hash = maphash.Bytes(seed, f.id)
		}
	case o.kind == featureCollection && r == message:
		m = o.features
	}
	if m.state != memberValid {
		f.state = foreign
		m.from, m.to = base, base
	}
	s.keep(base, m.from, m.to)
	f.positions = span{base.positions, len(s.tokens)}
	f.parts = span{base.parts, len(s.parts)}
	return f, o.kind, ok
}

// seed is that of the hashes of ids.
var seed = maphash.MakeSeed()

// member reads a member of an object.
func (s *scan) member(o *object) bool {
	key, ok := s.key()
	if !ok {
		return false
	}
	next := s.space()
	switch string(key.value()) {
	case "type":
		o.kind = other
		if next == '"' {
			t, ok := s.text()
			if ok {
				o.kind = kindOf(t.value())
			}
			return ok
		}
	case "coordinates":
		if o.role != element {
			return s.positions(&o.coordinates)
		}
	case "geometries":
		if o.role != element {
			return s.list(&o.members, geometry)
		}
	case "geometry":
		if o.role != geometry {
			return s.geometry(&o.geometry)
		}
	case "features":
		if o.role == message {
			return s.list(&o.features, element)
		}
	case "id":
		if o.role != geometry {
			return s.id(&o.id)
		}
	case "properties":
		if o.role != geometry && s.idProperty != "" {
			return s.property(&o.property)
		}
	}
	return s.value()
}

// geometry reads the member "geometry".
func (s *scan) geometry(m *member) bool {
	*m = member{from: s.mark(), state: memberInvalid}
	if next := s.space(); next != '{' {
		if next == 'n' {
			m.state = memberNull
		}
		m.to = m.from
		return s.value()
	}
	f, _, ok := s.object(geometry)
	if f.state == located {
		m.state = memberValid
	}
	m.to = s.mark()
	return ok
}

// list reads an array of objects with a role.
func (s *scan) list(m *member, r role) bool {
	*m = member{from: s.mark(), to: s.mark(), state: memberInvalid}
	if s.space() != '[' {
		return s.value()
	}
	m.state = memberValid
	empty, ok := s.open(']')
	for more := !empty; ok && more; more, ok = s.next(']') {
		f := feature{start: uint32(s.i), state: foreign}
		if s.space() == '{' {
			f, _, ok = s.object(r)
		} else {
			ok = s.value()
		}
		if !ok {
			return false
		}
		f.end = uint32(s.i)
		if r == element {
			s.features = append(s.features, f)
		} else if f.state == foreign {
			m.state = memberInvalid
		}
	}
	m.to = s.mark()
	return ok
}

// id reads the id of a feature: a string or a number, unchanged.
func (s *scan) id(to *[]byte) bool {
	next, start := s.space(), s.i
	ok := s.value()
	*to = nil
	if next == '"' || next == '-' || digit(next) {
		*to = s.b[start:s.i:s.i]
	}
	return ok
}

// property searches the properties of a feature for its id.
func (s *scan) property(to *[]byte) bool {
	*to = nil
	if s.space() != '{' {
		return s.value()
	}
	empty, ok := s.open('}')
	for more := !empty; ok && more; more, ok = s.next('}') {
		key, is := s.key()
		if !is {
			return false
		}
		if string(key.value()) == s.idProperty {
			is = s.id(to)
		} else {
			is = s.value()
		}
		if !is {
			return false
		}
	}
	return ok
}
