package geo

import "math"

// The projections here map the ellipsoid onto a sphere, turn it, and draw it.

// swiss is the oblique Mercator projection of Switzerland (Rosenmund 1903):
// Federal Office of Topography, "Formulas and constants for the calculation of
// the Swiss conformal cylindrical projection" (2016), rigorous formulas.
type swiss struct {
	sphere
	r        float64
	sin, cos float64 // of the centre on the sphere
}

func newSwiss(el ellipsoid, phi0 float64) *swiss {
	s := &swiss{sphere: newSphere(el, phi0)}
	s.r = el.a * s.radius
	s.sin, s.cos = math.Sincos(s.lat)
	return s
}

func (s *swiss) forward(lam, phi float64) (x, y float64) {
	lam, phi = s.to(lam, phi)
	sinPhi, cosPhi := math.Sincos(phi)
	sinLam, cosLam := math.Sincos(lam)
	lat := s.cos*sinPhi - s.sin*cosPhi*cosLam
	lon := math.Atan2(cosPhi*sinLam, s.sin*sinPhi+s.cos*cosPhi*cosLam)
	return s.r * lon, s.r * math.Atanh(lat)
}

func (s *swiss) inverse(x, y float64) (lam, phi float64) {
	x, y = x/s.r, y/s.r
	if !(math.Abs(x) <= turn) {
		return nowhere()
	}
	sin, cosh := math.Tanh(y), math.Cosh(y)
	sinLam, cosLam := math.Sincos(x)
	lat := math.Asin(s.cos*sin + s.sin*cosLam/cosh)
	return s.from(math.Atan2(sinLam/cosh, s.cos*cosLam/cosh-s.sin*sin), lat)
}

// stereographic is the oblique stereographic projection, double: IOGP
// Publication 373-7-2, EPSG method 9809.
type stereographic struct {
	sphere
	r        float64 // twice the radius
	sin, cos float64
}

func newStereographic(el ellipsoid, phi0, k float64) *stereographic {
	s := &stereographic{sphere: newSphere(el, phi0)}
	s.r = 2 * k * el.a * s.radius
	s.sin, s.cos = math.Sincos(s.lat)
	return s
}

func (s *stereographic) forward(lam, phi float64) (x, y float64) {
	lam, phi = s.to(lam, phi)
	sinPhi, cosPhi := math.Sincos(phi)
	sinLam, cosLam := math.Sincos(lam)
	w := 1 + s.sin*sinPhi + s.cos*cosPhi*cosLam
	if w < 1e-10 {
		return nowhere()
	}
	k := s.r / w
	return k * cosPhi * sinLam, k * (s.cos*sinPhi - s.sin*cosPhi*cosLam)
}

func (s *stereographic) inverse(x, y float64) (lam, phi float64) {
	rho := math.Hypot(x, y)
	if rho == 0 {
		return s.from(0, s.lat)
	}
	sin, cos := math.Sincos(2 * math.Atan(rho/s.r))
	lat := math.Asin(cos*s.sin + y*sin*s.cos/rho)
	return s.from(math.Atan2(x*sin, rho*s.cos*cos-y*s.sin*sin), lat)
}

// krovak is the oblique conformal conic projection of Czechoslovakia (Křovák
// 1922), with axes east and north: IOGP Publication 373-7-2, EPSG methods 9819
// and 1041.
type krovak struct {
	sphere
	n, f     float64 // as in conic
	sin, cos float64 // of the angle between the poles of sphere and cone
}

func newKrovak(el ellipsoid, phi0, parallel, tilt, k float64) *krovak {
	p := &krovak{sphere: newSphere(el, phi0), n: math.Sin(parallel)}
	p.f = k * el.a * p.radius / math.Tan(parallel) * math.Exp(p.n*math.Atanh(p.n))
	p.sin, p.cos = math.Sincos(tilt)
	return p
}

func (p *krovak) forward(lam, phi float64) (x, y float64) {
	lam, phi = p.to(lam, phi)
	sinPhi, cosPhi := math.Sincos(phi)
	sinLam, cosLam := math.Sincos(lam)
	lat := p.cos*sinPhi + p.sin*cosPhi*cosLam
	lon := math.Atan2(cosPhi*sinLam, p.cos*cosPhi*cosLam-p.sin*sinPhi)
	rho := p.f * math.Exp(-p.n*math.Atanh(lat))
	sin, cos := math.Sincos(p.n * lon)
	return rho * sin, -rho * cos
}

func (p *krovak) inverse(x, y float64) (lam, phi float64) {
	lon, rho := unroll(x, -y, p.n)
	psi := math.Log(p.f/rho) / p.n
	sin, cosh := math.Tanh(psi), math.Cosh(psi)
	sinLon, cosLon := math.Sincos(lon)
	lat := math.Asin(p.cos*sin - p.sin*cosLon/cosh)
	return p.from(math.Atan2(sinLon/cosh, p.sin*sin+p.cos*cosLon/cosh), lat)
}
