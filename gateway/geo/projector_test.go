package geo_test

import (
	"encoding/csv"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// place is a line of testdata/reference.csv.
type place struct {
	lon, lat      float64
	first, second float64 // in the order of the authority
}

func reference(t testing.TB) map[geo.EPSG][]place {
	t.Helper()
	return referenceIn(t, "testdata/reference.csv")
}

func referenceIn(t testing.TB, file string) map[geo.EPSG][]place {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	r := csv.NewReader(f)
	r.Comment = '#'
	lines, err := r.ReadAll()
	require.NoError(t, err)
	places := make(map[geo.EPSG][]place)
	for _, line := range lines {
		var v [5]float64
		for i := range v {
			v[i], err = strconv.ParseFloat(strings.TrimSpace(line[i]), 64)
			require.NoError(t, err)
		}
		code := geo.EPSG(v[0])
		places[code] = append(places[code], place{v[1], v[2], v[3], v[4]})
	}
	return places
}

// Transverse Mercator far from its meridian, and poles by way of an arc sine,
// come back less well than the 1e-9 degrees of an area of use.
const farAway = 3e-6

func TestProjectionsAreThoseOfPROJ(t *testing.T) {
	t.Parallel()
	places := reference(t)
	require.Len(t, places, 169)
	for code, places := range places {
		require.GreaterOrEqual(t, len(places), 20, "%v", code)
		p, err := geo.LookupStrict(code)
		require.NoError(t, err)
		worst, back := 0.0, 0.0
		for _, pl := range places {
			x, y := p.Forward(pl.lon, pl.lat)
			worst = max(worst, math.Hypot(x-pl.first, y-pl.second))
			lon, lat := p.Inverse(x, y)
			back = max(back, math.Abs(lon-pl.lon), math.Abs(lat-pl.lat))
		}
		require.Less(t, worst, 1e-5, "%v, metres", code)
		require.Less(t, back, 1e-9, "%v, degrees", code)
	}
}

func TestXIsEast(t *testing.T) {
	t.Parallel()
	for code, places := range reference(t) {
		p, err := geo.Lookup(code)
		require.NoError(t, err)
		pl := places[0]
		x, y := p.Forward(pl.lon, pl.lat)
		ex, ey := p.Forward(pl.lon+0.01, pl.lat)
		nx, ny := p.Forward(pl.lon, pl.lat+0.01)
		require.Greater(t, ex-x, math.Abs(ey-y), "%v", code)
		require.Greater(t, ny-y, math.Abs(nx-x), "%v", code)
	}
}

func TestWebMercatorOfTheOriginal(t *testing.T) {
	t.Parallel()
	p, err := geo.Lookup(3857)
	require.NoError(t, err)
	x, y := p.Forward(0.1, 3.5)
	require.InDelta(t, 11131.949079326665, x, 1e-9)
	require.InDelta(t, 389860.7582541955, y, 1e-9)
}

// All over the Earth a projection either comes back or says that it can't.
func TestFarAwayIsNowhereOrRight(t *testing.T) {
	t.Parallel()
	for code := range reference(t) {
		if code > 32602 && code < 32760 {
			continue // as 32601
		}
		p, err := geo.Lookup(code)
		require.NoError(t, err)
		for lat := -90.0; lat <= 90; lat += 2.5 {
			for lon := -180.0; lon <= 180; lon += 3.5 {
				x, y := p.Forward(lon, lat)
				if math.IsNaN(x) {
					require.True(t, math.IsNaN(y))
					continue
				}
				toLon, toLat := p.Inverse(x, y)
				off := math.Abs(math.Remainder(toLon-lon, 360)) * math.Cos(lat*math.Pi/180)
				if !(max(off, math.Abs(toLat-lat)) < farAway) {
					require.Failf(t, "garbage", "%v: %v %v comes back as %v %v", code, lon, lat, toLon, toLat)
				}
			}
		}
	}
}

func TestWhatHasNoImageIsNaN(t *testing.T) {
	t.Parallel()
	nan, inf := math.NaN(), math.Inf(1)
	for code := range reference(t) {
		p, err := geo.LookupStrict(code)
		require.NoError(t, err)
		for _, in := range [][2]float64{{nan, 1}, {1, nan}, {inf, 1}, {1, -inf}, {1, 90.001}, {1, -91}, {541, 1}, {-1e300, 1}} {
			x, y := p.Forward(in[0], in[1])
			require.True(t, math.IsNaN(x) && math.IsNaN(y), "%v of %v", code, in)
		}
		for _, in := range [][2]float64{{nan, 1}, {1, nan}, {inf, 1}, {1, -inf}} {
			lon, lat := p.Inverse(in[0], in[1])
			require.True(t, math.IsNaN(lon) && math.IsNaN(lat), "%v of %v", code, in)
		}
	}
}

func FuzzProjections(f *testing.F) {
	f.Add(3857, 0.1, 3.5)
	f.Add(2154, -177.0, 90.0)
	f.Add(5514, 1e300, -1e-300)
	f.Fuzz(func(t *testing.T, code int, a, b float64) {
		p, err := geo.Lookup(geo.EPSG(code))
		if err != nil {
			require.ErrorIs(t, err, geo.ErrUnknownEPSG)
			return
		}
		for _, to := range []func(a, b float64) (float64, float64){p.Forward, p.Inverse} {
			x, y := to(a, b)
			require.Equal(t, math.IsNaN(x), math.IsNaN(y))
			require.False(t, math.IsInf(x, 0) || math.IsInf(y, 0))
		}
	})
}

func TestLongitudesPastTheDateLine(t *testing.T) {
	t.Parallel()
	p, err := geo.Lookup(32601)
	require.NoError(t, err)
	x, y := p.Forward(-177.5, 10)
	again, _ := p.Forward(182.5, 10)
	require.InDelta(t, x, again, 1e-6)
	lon, lat := p.Inverse(x, y)
	require.InDelta(t, -177.5, lon, 1e-9)
	require.InDelta(t, 10, lat, 1e-9)
}

func TestParseEPSG(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]geo.EPSG{"epsg:3857": 3857, "EPSG:4326": geo.Degrees, "Epsg:900913": 900913} {
		got, err := geo.ParseEPSG(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Equal(t, "epsg:3857", geo.EPSG(3857).String())
	for _, s := range []string{"", "epsg", "epsg:", "3857", "epsg:0", "epsg:-1", "epsg:+1", "epsg:1e3", "epsg:03857", "epsg: 1", "epsg:99999999999", "ogc:crs84"} {
		_, err := geo.ParseEPSG(s)
		require.ErrorContains(t, err, "projection", s)
	}
}

// doubled is a Projector of a host.
type doubled struct{}

func (doubled) Forward(lon, lat float64) (x, y float64) { return 2 * lon, 2 * lat }
func (doubled) Inverse(x, y float64) (lon, lat float64) { return x / 2, y / 2 }

type incomparable struct {
	doubled
	_ []int
}

func TestRegister(t *testing.T) {
	t.Parallel()
	_, err := geo.Lookup(990000)
	require.ErrorIs(t, err, geo.ErrUnknownEPSG)
	require.ErrorContains(t, err, "epsg:990000")
	const code geo.EPSG = 990001
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			geo.Register(code, doubled{})
			for zone := range geo.EPSG(60) {
				if p, err := geo.Lookup(32601 + zone); p == nil || err != nil {
					t.Error(zone, err)
				}
			}
		})
	}
	wg.Wait()
	p, err := geo.LookupStrict(code)
	require.NoError(t, err)
	require.Equal(t, doubled{}, p)

	utm, err := geo.Lookup(32632)
	require.NoError(t, err)
	same, err := geo.Lookup(32632)
	require.NoError(t, err)
	require.True(t, utm == same)
	require.Panics(t, func() { geo.Register(code, nil) })
	require.Panics(t, func() { geo.Register(code, incomparable{}) })
	require.Panics(t, func() { geo.Register(0, doubled{}) })
	require.Panics(t, func() { geo.Register(geo.Degrees, doubled{}) })
}
