package geo

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
