package geo

import "github.com/heliograph/heliograph/gateway"

// What the tests use of the package's inside.
type (
	Box      = box
	Exits    = exits
	Document = document
)

const Degrees = degrees

var (
	LookupStrict = lookupStrict
	ParseEPSG    = parseEPSG
)

// BoxOptions are the options of BBOX.
type BoxOptions struct{ Intersects, Antimeridian bool }

// ParseBox and Read have options that may be left out.
func ParseBox(args []string, opts ...BoxOptions) (Box, error) {
	var b Box
	for _, o := range opts {
		b.Intersects, b.Antimeridian = o.Intersects, o.Antimeridian
	}
	return parseBox(args, b)
}

func Read(raw []byte, idProperty ...string) *Document {
	var property string
	for _, property = range idProperty {
	}
	return read(raw, property)
}

// Valid reports whether the scanner takes a value for JSON.
func Valid(raw []byte) bool {
	c := cursor{b: raw}
	ok := c.value()
	c.space()
	return ok && c.i == len(raw)
}

// Vertices returns the positions of all features, flat.
func (d *document) Vertices() []float64 {
	var all []float64
	for i := range d.features {
		all = append(all, d.positions(&d.features[i])...)
	}
	return all
}

// IDs returns the ids of all features, as they are written.
func (d *document) IDs() (ids []string) {
	for _, f := range d.features {
		ids = append(ids, string(f.id))
	}
	return ids
}

// Projected and Boxed are the filters of PROJECTION and BBOX.
func (g *Geo) Projected(p Projector) gateway.Filter { return g.projected(p) }
func (g *Geo) Boxed(b box) gateway.Filter           { return g.boxed(b) }

// Forget undoes Register and Grid.
func Forget(codes ...EPSG) {
	projectors.Lock()
	defer projectors.Unlock()
	for _, code := range codes {
		delete(projectors.of, code)
	}
}

// CheckNTv2 reads a grid, and asks it for a place.
func CheckNTv2(data []byte, lon, lat float64) (toLon, toLat float64, ok bool, err error) {
	t, err := parseNTv2(data)
	if err != nil {
		return 0, 0, false, err
	}
	toLon, toLat, ok = t.leave(lon, lat)
	return toLon, toLat, ok, nil
}
