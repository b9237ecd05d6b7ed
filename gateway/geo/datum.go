package geo

import "math"

// datum is an ellipsoid and where it lies in WGS 84. The EPSG registry has
// several answers to where, each good somewhere.
type datum struct {
	el     ellipsoid
	table  *ntv2   // where it has the place, in place of shifts; nil: there is none
	shifts []shift // the first that is for a place is taken there, else the last
}

// shift is a Helmert transformation from a datum to WGS 84, in the small-angle
// form that the registry's numbers are meant for.
type shift struct {
	area    [4]float64 // west, south, east, north in degrees
	x, y, z float64    // metres
	rx      float64    // radians, of a position vector
	ry, rz  float64
	scale   float64
}

// positionVector takes metres, seconds of arc and parts per million.
func positionVector(x, y, z, rx, ry, rz, ppm float64) shift {
	const second = degree / 3600
	return shift{x: x, y: y, z: z, rx: rx * second, ry: ry * second, rz: rz * second, scale: 1 + ppm/1e6}
}

// coordinateFrame is positionVector with the frame turned in place of the vector.
func coordinateFrame(x, y, z, rx, ry, rz, ppm float64) shift {
	return positionVector(x, y, z, -rx, -ry, -rz, ppm)
}

// translation is positionVector with nothing turned.
func translation(x, y, z float64) shift { return positionVector(x, y, z, 0, 0, 0, 0) }

// within returns the shift as one for an area only.
func (s shift) within(west, south, east, north float64) shift {
	s.area = [4]float64{west, south, east, north}
	return s
}

func (s *shift) covers(lon, lat float64) bool {
	return lon >= s.area[0] && lat >= s.area[1] && lon <= s.area[2] && lat <= s.area[3]
}

// at returns the shift to take at a place, by its WGS 84 degrees.
func (d *datum) at(lon, lat float64) *shift {
	last := len(d.shifts) - 1
	for i := range d.shifts[:last] {
		if d.shifts[i].covers(lon, lat) {
			return &d.shifts[i]
		}
	}
	return &d.shifts[last]
}

// enter returns where a place of WGS 84 lies in the datum, in degrees.
func (d *datum) enter(lon, lat float64) (float64, float64) {
	if d.table != nil {
		if toLon, toLat, ok := d.table.enter(lon, lat); ok {
			return toLon, toLat
		}
	}
	return d.at(lon, lat).enter(d.el, lon, lat)
}

// leave is the inverse of enter. Where two areas meet, a place may have none, or
// two: metres decide, and the first shift that leads back to itself is taken.
func (d *datum) leave(lon, lat float64) (float64, float64) {
	if d.table != nil {
		if toLon, toLat, ok := d.table.leave(lon, lat); ok {
			return toLon, toLat
		}
	}
	var toLon, toLat float64
	for i := range d.shifts {
		s := &d.shifts[i]
		toLon, toLat = s.leave(d.el, lon, lat)
		if d.at(toLon, toLat) == s {
			break
		}
	}
	return toLon, toLat
}

func (s *shift) enter(el ellipsoid, lon, lat float64) (float64, float64) {
	x, y, z := wgs84.cartesian(lon, lat)
	x, y, z = (x-s.x)/s.scale, (y-s.y)/s.scale, (z-s.z)/s.scale
	return el.geodetic(
		x+s.rz*y-s.ry*z,
		y-s.rz*x+s.rx*z,
		z+s.ry*x-s.rx*y)
}

// leave is off by some millimetres at first: the small-angle form is not quite
// its own inverse, and a height of zero isn't one in the other datum. What that
// amounts to is found by going back, and taken off.
func (s *shift) leave(el ellipsoid, lon, lat float64) (float64, float64) {
	x, y, z := el.cartesian(lon, lat)
	toLon, toLat := wgs84.geodetic(
		s.x+s.scale*(x-s.rz*y+s.ry*z),
		s.y+s.scale*(y+s.rz*x-s.rx*z),
		s.z+s.scale*(z-s.ry*x+s.rx*y))
	backLon, backLat := s.enter(el, toLon, toLat)
	return wrap(toLon + wrap(lon-backLon)), toLat + lat - backLat
}

// cartesian returns geocentric metres of a place on the ellipsoid.
func (el ellipsoid) cartesian(lon, lat float64) (x, y, z float64) {
	sinLon, cosLon := math.Sincos(lon * degree)
	sin, cos := math.Sincos(lat * degree)
	n := el.a / math.Sqrt(1-el.e2*sin*sin)
	return n * cos * cosLon, n * cos * sinLon, n * (1 - el.e2) * sin
}

// geodetic returns degrees of a place near the ellipsoid, its height left out.
// (Bowring 1976: within a kilometre of it the error is below a nanometre.)
func (el ellipsoid) geodetic(x, y, z float64) (lon, lat float64) {
	f1 := math.Sqrt(1 - el.e2)
	p := math.Hypot(x, y)
	h := math.Hypot(z, p*f1)
	sin, cos := z/h, p*f1/h
	lat = math.Atan2(z+el.a*el.e2/f1*sin*sin*sin, p-el.a*el.e2*cos*cos*cos)
	return math.Atan2(y, x) / degree, lat / degree
}
