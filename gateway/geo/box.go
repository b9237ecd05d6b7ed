package geo

import (
	"fmt"
	"strconv"
)

// box is a part of a map, in the units of its projection.
type box struct {
	Left, Bottom, Right, Top float64

	// Intersects lets pass what has any point in common with the box, its edge
	// included: a line that crosses it, an area that it lies in. Otherwise a
	// vertex must be inside, and not on the edge, as in redis_websocket_api.
	Intersects bool

	// Antimeridian lets Left be greater than Right: the box then goes from Left
	// to the east, across the date line, to Right. It is for boxes in degrees.
	Antimeridian bool
}

// parseBox reads the arguments of BBOX, left bottom right top, into b, whose options
// are set. They must be four finite numbers, left not above right and bottom not above
// top.
func parseBox(args []string, b box) (box, error) {
	names := [...]string{"left", "bottom", "right", "top"}
	if len(args) != len(names) {
		return box{}, fmt.Errorf("geo: box: %d arguments; want left, bottom, right and top", len(args))
	}
	for i, to := range []*float64{&b.Left, &b.Bottom, &b.Right, &b.Top} {
		v, err := strconv.ParseFloat(args[i], 64)
		if err != nil || !finite(v, v) {
			return box{}, fmt.Errorf("geo: box: %s is %.40q: want a finite number", names[i], args[i])
		}
		*to = v
	}
	switch {
	case b.Left > b.Right && !b.Antimeridian:
		return box{}, fmt.Errorf("geo: box: left, %v, is above right, %v", b.Left, b.Right)
	case b.Left > b.Right && (b.Left > 360 || b.Right < -360):
		return box{}, fmt.Errorf("geo: box: across the date line from %v to %v: want degrees", b.Left, b.Right)
	case b.Bottom > b.Top:
		return box{}, fmt.Errorf("geo: box: bottom, %v, is above top, %v", b.Bottom, b.Top)
	}
	return b, nil
}

// Passes reports whether any feature of a message is in the box: then the whole
// message passes. So does a feature whose geometry is null, which may say that
// something has gone, and what isn't GeoJSON. A geometry without positions does not
// pass, nor does a FeatureCollection without features.
func (b box) Passes(d *document) bool {
	for i := range d.features {
		if b.holds(d, &d.features[i]) {
			return true
		}
	}
	return len(d.features) == 0 && !d.collection
}

func (b box) holds(d *document, f *feature) bool {
	if f.state != located {
		return true
	}
	if b.Left > b.Right && b.Antimeridian {
		east, west := b, b // the same box twice: beyond the date line a place has two longitudes
		east.Right, west.Left = b.Right+360, b.Left-360
		east.Antimeridian, west.Antimeridian = false, false
		return east.holds(d, f) || west.holds(d, f)
	}
	if b.Intersects {
		return b.meets(d, f)
	}
	g := &f.bounds
	if g.right <= b.Left || g.left >= b.Right || g.top <= b.Bottom || g.bottom >= b.Top {
		return false
	}
	points := d.positions(f)
	for len(points) >= 2 {
		x, y := points[0], points[1]
		if x > b.Left && x < b.Right && y > b.Bottom && y < b.Top {
			return true
		}
		points = points[2:]
	}
	return false
}
