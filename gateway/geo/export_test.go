package geo

import "github.com/heliograph/heliograph/gateway"

// Valid reports whether the scanner takes a value for JSON.
func Valid(raw []byte) bool {
	c := cursor{b: raw}
	ok := c.value()
	c.space()
	return ok && c.i == len(raw)
}

// Vertices returns the positions of all features, flat.
func (d *Doc) Vertices() []float64 {
	var all []float64
	for i := range d.features {
		all = append(all, d.positions(&d.features[i])...)
	}
	return all
}

// IDs returns the ids of all features, as they are written.
func (d *Doc) IDs() (ids []string) {
	for _, f := range d.features {
		ids = append(ids, string(f.id))
	}
	return ids
}

// Projected and Boxed are the filters of PROJECTION and BBOX.
func (g *Geo) Projected(p Projector) gateway.Filter { return g.projected(p) }
func (g *Geo) Boxed(b Box) gateway.Filter           { return g.boxed(b) }
