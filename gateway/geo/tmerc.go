package geo

import "math"

// transverse is the transverse Mercator projection, by the series of Krüger
// (1912) in the third flattening n, to n⁶, as in Karney, "Transverse Mercator
// with an accuracy of a few nanometers", J. Geodesy 85 (2011), equations 7 to
// 36. PROJ's default takes the same series.
type transverse struct {
	el     ellipsoid
	radius float64 // of the rectifying sphere, scaled
	origin float64 // rectifying latitude of the origin, times radius
	to     [6]float64
	from   [6]float64
}

// newTransverse has its origin at latitude phi0 and the scale k on its meridian.
func newTransverse(el ellipsoid, phi0, k float64) *transverse {
	n := el.n
	n2 := n * n
	n3, n4, n5, n6 := n2*n, n2*n2, n2*n2*n, n2*n2*n2
	t := &transverse{
		el:     el,
		radius: k * el.a / (1 + n) * (1 + n2/4 + n4/64 + n6/256),
		to: [6]float64{
			n/2 - n2*2/3 + n3*5/16 + n4*41/180 - n5*127/288 + n6*7891/37800,
			n2*13/48 - n3*3/5 + n4*557/1440 + n5*281/630 - n6*1983433/1935360,
			n3*61/240 - n4*103/140 + n5*15061/26880 + n6*167603/181440,
			n4*49561/161280 - n5*179/168 + n6*6601661/7257600,
			n5*34729/80640 - n6*3418889/1995840,
			n6 * 212378941 / 319334400,
		},
		from: [6]float64{
			n/2 - n2*2/3 + n3*37/96 - n4/360 - n5*81/512 + n6*96199/604800,
			n2/48 + n3/15 - n4*437/1440 + n5*46/105 - n6*1118711/3870720,
			n3*17/480 - n4*37/840 - n5*209/4480 + n6*5569/90720,
			n4*4397/161280 - n5*11/504 - n6*830251/7257600,
			n5*4583/161280 - n6*108847/3991680,
			n6 * 20648693 / 638668800,
		},
	}
	for i := range t.from {
		t.from[i] = -t.from[i]
	}
	_, t.origin = t.forward(0, phi0)
	return t
}

// farthest is how far from the meridian, in radii of the sphere, the series is
// trusted: 74.6° at the equator. There it is off by 5 cm; at 85° by degrees.
const farthest = 2

func (t *transverse) forward(lam, phi float64) (x, y float64) {
	sin, cos := math.Sincos(lam)
	tau := t.el.conformal(math.Tan(phi))
	xi := math.Atan2(tau, cos)
	eta := math.Asinh(sin / math.Sqrt(tau*tau+cos*cos))
	if !(math.Abs(eta) <= farthest) {
		return nowhere()
	}
	xi, eta = series(&t.to, xi, eta)
	return t.radius * eta, t.radius*xi - t.origin
}

func (t *transverse) inverse(x, y float64) (lam, phi float64) {
	xi, eta := (y+t.origin)/t.radius, x/t.radius
	if !(math.Abs(eta) <= 1.02*farthest && math.Abs(xi) <= math.Pi) {
		return nowhere()
	}
	xi, eta = series(&t.from, xi, eta)
	sin, cos := math.Sincos(xi)
	sinh := math.Sinh(eta)
	tau := t.el.geographic(sin / math.Hypot(sinh, cos))
	return math.Atan2(sinh, cos), math.Atan(tau)
}

// series adds Σ c[j]·sin(2(j+1)ζ) to ζ = xi + i·eta, by Clenshaw's summation in
// complex numbers.
func series(c *[6]float64, xi, eta float64) (float64, float64) {
	sin, cos := math.Sincos(2 * xi)
	exp := math.Exp(2 * eta)
	sinh, cosh := (exp-1/exp)/2, (exp+1/exp)/2
	ar, ai := 2*cos*cosh, -2*sin*sinh
	var r1, i1, r2, i2 float64
	for j := len(c) - 1; j >= 0; j-- {
		r1, i1, r2, i2 = ar*r1-ai*i1-r2+c[j], ar*i1+ai*r1-i2, r1, i1
	}
	sr, si := sin*cosh, cos*sinh
	return xi + sr*r1 - si*i1, eta + sr*i1 + si*r1
}
