package geo

import "math"

// mercator is Mercator's projection of the ellipsoid.
type mercator struct{ el ellipsoid }

func (m mercator) forward(lam, phi float64) (x, y float64) {
	return m.el.a * lam, m.el.a * m.el.isometric(phi)
}

func (m mercator) inverse(x, y float64) (lam, phi float64) {
	return x / m.el.a, m.el.latitude(y / m.el.a)
}

// webMercator is Mercator's projection of a sphere, fed with the latitudes of
// the ellipsoid: what web maps are drawn in.
type webMercator struct{}

func (webMercator) forward(lam, phi float64) (x, y float64) {
	s := math.Sin(phi)
	return wgs84.a * lam, wgs84.a / 2 * math.Log((1+s)/(1-s))
}

func (webMercator) inverse(x, y float64) (lam, phi float64) {
	return x / wgs84.a, math.Atan(math.Sinh(y / wgs84.a))
}
