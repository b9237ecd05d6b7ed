package geo

import "math"

// Projector maps degrees of WGS 84 to the coordinates of a map, and back. Where it
// can't, it returns NaN twice. Its methods are called by many goroutines at once.
// Projectors are compared by ==: the same map must be the same Projector.
type Projector interface {
	Forward(lon, lat float64) (x, y float64)
	Inverse(x, y float64) (lon, lat float64)
}

// projection maps radians east of its meridian to metres from its origin.
type projection interface {
	forward(lam, phi float64) (x, y float64)
	inverse(x, y float64) (lam, phi float64)
}

// grid is the Projector of a projected coordinate reference system.
type grid struct {
	projection
	meridian    float64 // degrees
	east, north float64 // false easting and northing, metres
	datum       *datum  // nil: WGS 84, or ETRS89, which counts as that
}

func (g *grid) Forward(lon, lat float64) (x, y float64) {
	if !(math.Abs(lon) <= maxLon && math.Abs(lat) <= 90) {
		return nowhere()
	}
	if g.datum != nil {
		lon, lat = g.datum.enter(wrap(lon), lat)
	}
	x, y = g.forward(wrap(lon-g.meridian)*degree, lat*degree)
	x, y = x+g.east, y+g.north
	if !finite(x, y) {
		return nowhere()
	}
	return x, y
}

func (g *grid) Inverse(x, y float64) (lon, lat float64) {
	if !finite(x, y) {
		return nowhere()
	}
	lam, phi := g.inverse(x-g.east, y-g.north)
	lon, lat = wrap(lam/degree+g.meridian), phi/degree
	if g.datum != nil {
		lon, lat = g.datum.leave(lon, lat)
	}
	if !finite(lon, lat) {
		return nowhere()
	}
	return lon, lat
}

// maxLon is the largest longitude taken for a place beyond the date line.
const maxLon = 540

// identity is the Projector of degrees.
type identity struct{}

func (identity) Forward(lon, lat float64) (x, y float64) {
	if !(math.Abs(lon) <= maxLon && math.Abs(lat) <= 90) {
		return nowhere()
	}
	return lon, lat
}

func (i identity) Inverse(x, y float64) (lon, lat float64) { return i.Forward(x, y) }

// swapped is a Projector with north first.
type swapped struct{ Projector }

func (s swapped) Forward(lon, lat float64) (x, y float64) {
	x, y = s.Projector.Forward(lon, lat)
	return y, x
}

func (s swapped) Inverse(x, y float64) (lon, lat float64) { return s.Projector.Inverse(y, x) }

// wrap brings degrees, of less than two turns, into ±180. Both -180 and 180 stay.
func wrap(lon float64) float64 {
	for lon > 180 {
		lon -= 360
	}
	for lon < -180 {
		lon += 360
	}
	return lon
}

func nowhere() (float64, float64) { return math.NaN(), math.NaN() }

func finite(x, y float64) bool { return x-x == 0 && y-y == 0 }
