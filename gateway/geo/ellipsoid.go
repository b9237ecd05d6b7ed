package geo

import "math"

const degree = math.Pi / 180

// ellipsoid is a figure of the Earth.
type ellipsoid struct {
	a  float64 // equatorial radius, metres
	e2 float64 // eccentricity squared
	e  float64
	n  float64 // third flattening
}

func newEllipsoid(a, inverseFlattening float64) ellipsoid {
	f := 1 / inverseFlattening
	e2 := f * (2 - f)
	return ellipsoid{a: a, e2: e2, e: math.Sqrt(e2), n: f / (2 - f)}
}

var (
	wgs84  = newEllipsoid(6378137, 298.257223563)
	grs80  = newEllipsoid(6378137, 298.257222101)
	bessel = newEllipsoid(6377397.155, 299.1528128)
	airy   = newEllipsoid(6377563.396, 299.3249646)
	intl24 = newEllipsoid(6378388, 297) // International 1924
)

// isometric returns the isometric latitude of a latitude: what Mercator's
// projection draws it at, on a globe of radius one. It is infinite at the poles.
func (el ellipsoid) isometric(phi float64) float64 {
	s := math.Sin(phi)
	return math.Atanh(s) - el.e*math.Atanh(el.e*s)
}

// conformal returns the tangent of the conformal latitude, given that of the
// latitude. (Karney 2011, equations 7 to 9.)
func (el ellipsoid) conformal(tau float64) float64 {
	h := math.Hypot(1, tau)
	sigma := math.Sinh(el.e * math.Atanh(el.e*tau/h))
	return math.Hypot(1, sigma)*tau - sigma*h
}

// geographic is the inverse of conformal, by Newton's method. (Karney 2011,
// equations 19 to 21.) Two rounds are exact for the flattening of the Earth;
// the third would change nothing.
func (el ellipsoid) geographic(conformal float64) float64 {
	tau := conformal / (1 - el.e2)
	for range 2 {
		t := el.conformal(tau)
		tau += (conformal - t) / math.Hypot(1, t) *
			(1 + (1-el.e2)*tau*tau) / ((1 - el.e2) * math.Hypot(1, tau))
	}
	return tau
}

// latitude is the inverse of isometric.
func (el ellipsoid) latitude(psi float64) float64 {
	if math.Abs(psi) > 40 {
		return math.Copysign(math.Pi/2, psi) // but for 1e-17
	}
	return math.Atan(el.geographic(math.Sinh(psi)))
}

// parallel returns the radius of the circle of latitude, over a.
func (el ellipsoid) parallel(phi float64) float64 {
	s, c := math.Sincos(phi)
	return c / math.Sqrt(1-el.e2*s*s)
}

// sphere is the one that touches an ellipsoid along a parallel, and onto which
// it is mapped conformally (Gauss 1844): the first half of the oblique
// projections of Switzerland, the Netherlands and Czechia.
type sphere struct {
	el     ellipsoid
	radius float64 // over a
	c, k   float64 // isometric latitude there is c·ψ + k, longitude c·λ
	lat    float64 // of the parallel, on the sphere
}

func newSphere(el ellipsoid, phi0 float64) sphere {
	s, c := math.Sincos(phi0)
	g := sphere{
		el:     el,
		radius: math.Sqrt(1-el.e2) / (1 - el.e2*s*s),
		c:      math.Sqrt(1 + el.e2*c*c*c*c/(1-el.e2)),
	}
	g.lat = math.Asin(s / g.c)
	g.k = math.Atanh(math.Sin(g.lat)) - g.c*el.isometric(phi0)
	return g
}

// to returns longitude and latitude on the sphere. As c is above one, the
// sphere has no room for a strip of 0.3° at the other side of the Earth.
func (g sphere) to(lam, phi float64) (float64, float64) {
	if !(math.Abs(g.c*lam) <= turn) {
		return nowhere()
	}
	return g.c * lam, math.Atan(math.Sinh(g.c*g.el.isometric(phi) + g.k))
}

// from is the inverse of to.
func (g sphere) from(lam, phi float64) (float64, float64) {
	return lam / g.c, g.el.latitude((math.Atanh(math.Sin(phi)) - g.k) / g.c)
}
