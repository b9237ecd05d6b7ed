package geo

import "math"

// turn is half a turn, and what rounding may add.
const turn = math.Pi + 1e-12

// conic is Lambert's conformal conic projection with two standard parallels:
// Snyder, "Map Projections: A Working Manual", USGS Professional Paper 1395
// (1987), page 107, in isometric latitudes.
type conic struct {
	el     ellipsoid
	n      float64 // cone constant
	f      float64 // radius of the equator on the map
	origin float64 // radius of the parallel of origin
}

func newConic(el ellipsoid, phi0, phi1, phi2 float64) *conic {
	m1, m2 := el.parallel(phi1), el.parallel(phi2)
	psi1, psi2 := el.isometric(phi1), el.isometric(phi2)
	c := &conic{el: el, n: math.Log(m1/m2) / (psi2 - psi1)}
	c.f = el.a * m1 * math.Exp(c.n*psi1) / c.n
	c.origin = c.f * math.Exp(-c.n*el.isometric(phi0))
	return c
}

func (c *conic) forward(lam, phi float64) (x, y float64) {
	rho := c.f * math.Exp(-c.n*c.el.isometric(phi))
	sin, cos := math.Sincos(c.n * lam)
	return rho * sin, c.origin - rho*cos
}

func (c *conic) inverse(x, y float64) (lam, phi float64) {
	lam, rho := unroll(x, c.origin-y, c.n)
	return lam, c.el.latitude(math.Log(c.f/rho) / c.n)
}

// unroll returns the longitude on a cone, which is drawn as a fan, and the
// distance from the tip. What lies beside the fan has neither.
func unroll(x, y, n float64) (lon, rho float64) {
	rho = math.Hypot(x, y)
	if rho < 1e-6 {
		return 0, 0 // a direction from there would be rounding
	}
	lon = math.Atan2(x, y) / n
	if !(math.Abs(lon) <= turn) {
		return nowhere()
	}
	return lon, rho
}

// azimuthal is Lambert's azimuthal equal-area projection, oblique: Snyder
// (1987), page 187.
type azimuthal struct {
	el       ellipsoid
	qp       float64 // q at the pole
	radius   float64 // of the authalic sphere
	d        float64 // makes the centre true to scale in every direction
	sin, cos float64 // of the centre's authalic latitude
}

func newAzimuthal(el ellipsoid, phi0 float64) *azimuthal {
	a := &azimuthal{el: el}
	a.qp, _ = a.q(1)
	a.radius = el.a * math.Sqrt(a.qp/2)
	q, _ := a.q(math.Sin(phi0))
	a.sin = q / a.qp
	a.cos = math.Sqrt(1 - a.sin*a.sin)
	a.d = el.a * el.parallel(phi0) / (a.radius * a.cos)
	return a
}

// q is twice the area between the equator and a latitude of that sine, per
// radian and over a²; dq is its derivative.
func (a *azimuthal) q(sin float64) (q, dq float64) {
	e, e2 := a.el.e, a.el.e2
	w := 1 - e2*sin*sin
	return (1 - e2) * (sin/w + math.Atanh(e*sin)/e), 2 * (1 - e2) / (w * w)
}

func (a *azimuthal) forward(lam, phi float64) (x, y float64) {
	q, _ := a.q(math.Sin(phi))
	sin := min(max(q/a.qp, -1), 1)
	cos := math.Sqrt(1 - sin*sin)
	sinLam, cosLam := math.Sincos(lam)
	w := 1 + a.sin*sin + a.cos*cos*cosLam
	if w < 1e-10 {
		return nowhere() // the other side of the Earth is a circle
	}
	b := a.radius * math.Sqrt(2/w)
	return b * a.d * cos * sinLam, b / a.d * (a.cos*sin - a.sin*cos*cosLam)
}

func (a *azimuthal) inverse(x, y float64) (lam, phi float64) {
	x, y = x/a.d, y*a.d
	rho := math.Hypot(x, y)
	if rho == 0 {
		return 0, a.latitude(a.sin)
	}
	half := rho / (2 * a.radius)
	if !(half < 1) {
		return nowhere()
	}
	sin, cos := math.Sincos(2 * math.Asin(half))
	return math.Atan2(x*sin, rho*a.cos*cos-y*a.sin*sin),
		a.latitude(cos*a.sin + y*sin*a.cos/rho)
}

// latitude returns the latitude of an authalic one, given and found by sines:
// unlike that in the angle, this Newton's method has no trouble at the poles.
func (a *azimuthal) latitude(authalic float64) float64 {
	want, sin := authalic*a.qp, authalic
	for range 4 {
		q, dq := a.q(sin)
		sin = min(max(sin+(want-q)/dq, -1), 1)
	}
	return math.Asin(sin)
}
