package geo

import "math"

// define returns the built-in map of a code, and whether its authority names
// north first. The parameters are those of the EPSG registry 10.076, which
// PROJ 9.1 ships.
func define(code EPSG) (p Projector, northFirst bool) {
	utm := func(el ellipsoid, zone EPSG, north float64) *grid {
		return &grid{projection: newTransverse(el, 0, 0.9996), meridian: float64(zone)*6 - 183, east: 500000, north: north}
	}
	tm := func(d *datum, meridian, k, east, north float64) *grid {
		return &grid{newTransverse(d.el, 0, k), meridian, east, north, d}
	}
	lcc := func(meridian, phi0, phi1, phi2, east, north float64) *grid {
		return &grid{newConic(grs80, phi0*degree, phi1*degree, phi2*degree), meridian, east, north, nil}
	}
	switch {
	case code == degrees || code == 4258:
		return identity{}, true
	case code == 3857 || code == 900913:
		return &grid{projection: webMercator{}}, false
	case code == 3395:
		return &grid{projection: mercator{wgs84}}, false
	case code >= 32601 && code <= 32660:
		return utm(wgs84, code-32600, 0), false
	case code >= 32701 && code <= 32760:
		return utm(wgs84, code-32700, 10000000), false
	case code >= 25828 && code <= 25838:
		return utm(grs80, code-25800, 0), false
	case code == 3006: // Sweden
		return utm(grs80, 33, 0), true
	case code == 2180: // Poland
		return &grid{newTransverse(grs80, 0, 0.9993), 19, 500000, -5300000, nil}, true
	case code >= 31466 && code <= 31469: // Germany
		zone := float64(code - 31464)
		d := dhdnEast
		if code == 31466 {
			d = dhdn
		}
		return tm(d, 3*zone, 1, zone*1e6+500000, 0), true
	case code == 27700: // Great Britain
		return &grid{newTransverse(airy, 49*degree, 0.9996012717), -2, 400000, -100000, osgb36}, false
	case code == 2154: // France
		return lcc(3, 46.5, 49, 44, 700000, 6600000), false
	case code >= 3942 && code <= 3950:
		phi := float64(code - 3900)
		return lcc(3, phi, phi-0.75, phi+0.75, 1700000, (phi-41)*1e6+200000), false
	case code == 3035: // Europe
		return &grid{newAzimuthal(grs80, 52*degree), 10, 4321000, 3210000, nil}, true
	case code == 31370: // Belgium
		return &grid{newConic(intl24, math.Pi/2, 51.1666672333333*degree, 49.8333339*degree),
			4.36748666666667, 150000.013, 5400088.438, bd72}, false
	case code == 28992: // the Netherlands
		return &grid{newStereographic(bessel, 52.1561605555556*degree, 0.9999079), 5.38763888888889, 155000, 463000, amersfoort}, false
	case code == 21781: // Switzerland
		return &grid{newSwiss(bessel, 46.9524055555556*degree), 7.43958333333333, 600000, 200000, ch1903}, false
	case code == 2056:
		return &grid{newSwiss(bessel, 46.9524055555556*degree), 7.43958333333333, 2600000, 1200000, ch1903}, false
	case code >= 31254 && code <= 31256: // Austria
		return tm(mgi(code-31254), austrian(code-31254), 1, 0, -5000000), true
	case code >= 31257 && code <= 31259:
		return tm(mgi(code-31257), austrian(code-31257), 1, 150000+300000*float64(code-31257), -5000000), true
	case code >= 31284 && code <= 31286:
		return tm(mgi(code-31284), austrian(code-31284), 1, 150000+300000*float64(code-31284), 0), true
	case code == 31287:
		d := mgiStyria
		return &grid{newConic(d.el, 47.5*degree, 49*degree, 46*degree), 13 + 1/3.0, 400000, 400000, d}, true
	case code == 5514: // Czechia and Slovakia
		return &grid{newKrovak(bessel, 49.5*degree, 78.5*degree, 30.2881397527778*degree, 0.9999), 24 + 5/6.0, 0, 0, sjtsk}, false
	}
	return nil, false
}

// austrian returns one of the meridians 28°, 31° and 34° east of Ferro.
func austrian(zone EPSG) float64 { return 10 + 1/3.0 + 3*float64(zone) }

// The shifts are those that PROJ takes without grids, from EPSG:4326: of what the
// registry has for the area of use, the most accurate at the place, then the
// first in the list. Their numbers there are in the comments. 31469 is an exception: it is
// used in the east, where its official area of use does not reach.
var (
	dhdnWest = positionVector(598.1, 73.7, 418.2, 0.202, 0.045, -2.455, 6.7) // 1777
	dhdn     = &datum{el: bessel, shifts: []shift{dhdnWest}}
	dhdnEast = &datum{el: bessel, shifts: []shift{
		positionVector(612.4, 77, 440.2, -0.054, 0.057, -2.797, 2.55).within(9.92, 50.2, 15.04, 54.74), // 15869
		dhdnWest,
	}}

	mgiAll    = positionVector(577.326, 90.129, 463.919, 5.137, 1.474, 5.297, 2.4232) // 1618
	mgiWest   = &datum{el: bessel, shifts: []shift{mgiAll}}
	mgiStyria = &datum{el: bessel, shifts: []shift{
		coordinateFrame(601.705, 84.263, 485.227, -4.7354, -1.3145, -5.393, -2.3887).within(13.58, 46.64, 16.17, 47.84), // 1194
		mgiAll,
	}}

	sjtsk = &datum{el: bessel, shifts: []shift{
		coordinateFrame(572.213, 85.334, 461.94, -4.9732, -1.529, -5.2484, 3.5378).within(12.09, 48.58, 18.86, 51.06), // 5239
		positionVector(485, 169.5, 483.8, 7.786, 4.398, 4.103, 0).within(16.84, 47.73, 22.56, 49.61),                  // 4836
		translation(589, 76, 480), // 15965
	}}

	osgb36 = &datum{el: airy, shifts: []shift{positionVector(446.448, -125.157, 542.06, 0.15, 0.247, 0.842, -20.489)}}             // 1314
	bd72   = &datum{el: intl24, shifts: []shift{coordinateFrame(-106.8686, 52.2978, -103.7239, -0.3366, 0.457, -1.8422, -1.2747)}} // 15929
	ch1903 = &datum{el: bessel, shifts: []shift{translation(674.374, 15.056, 405.346)}}                                            // 1766; CH1903+ has the same as 1676

	amersfoort = &datum{el: bessel, shifts: []shift{coordinateFrame(565.4171, 50.3319, 465.5524,
		0.398957388243134, -0.343987817378283, 1.87740163998045, 4.0725)}} // 4833
)

// mgi returns the datum of an Austrian zone: the western one ends before Styria.
func mgi(zone EPSG) *datum {
	if zone == 0 {
		return mgiWest
	}
	return mgiStyria
}
