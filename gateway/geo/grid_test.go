package geo_test

import (
	"encoding/binary"
	"math"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
)

var german = []geo.EPSG{31466, 31467, 31468, 31469}

// farOff returns how far the worst place of beta2007.csv is from where PROJ sees it with the
// national grid, and how much the way back is off, in metres.
func farOff(t *testing.T) (worst map[geo.EPSG]float64, back float64) {
	t.Helper()
	worst = make(map[geo.EPSG]float64)
	for code, places := range referenceIn(t, "testdata/beta2007.csv") {
		p, err := geo.LookupStrict(code)
		require.NoError(t, err)
		for _, pl := range places {
			if code == 31469 && pl.lat < 50 {
				continue // a strip of Bavaria
			}
			x, y := p.Forward(pl.lon, pl.lat)
			worst[code] = max(worst[code], math.Hypot(x-pl.first, y-pl.second))
			lon, lat := p.Inverse(x, y)
			back = max(back, 111e3*math.Abs(lon-pl.lon), 111e3*math.Abs(lat-pl.lat))
		}
	}
	return worst, back
}

// Cities of all of Germany, in the zone that they use. 31469 is that of the east.
func TestGermanShiftsAreThoseOfMostUsers(t *testing.T) {
	worst, _ := farOff(t)
	require.Less(t, worst[31466], 1.9)
	require.Less(t, worst[31467], 1.8)
	require.Less(t, worst[31468], 1.4)
	require.Less(t, worst[31469], 0.7)
}

// With the grid they are where PROJ has them, and come back.
func TestAGridIsThatOfPROJ(t *testing.T) {
	const proj = "/usr/share/proj"
	if _, err := os.Stat(proj + "/BETA2007.gsb"); err != nil {
		t.Skip("needs the grid BETA2007.gsb, of Debian's proj-data")
	}
	t.Cleanup(func() { geo.Forget(german...) })
	require.NoError(t, geo.Grid(os.DirFS(proj), "BETA2007.gsb", german...))
	worst, back := farOff(t)
	require.Len(t, worst, 4)
	for code, off := range worst {
		require.Less(t, off, 1e-4, "%v, metres", code)
	}
	require.Less(t, back, 1e-4, "metres")

	strict, err := geo.LookupStrict(31467)
	require.NoError(t, err)
	first, _ := strict.Forward(9, 50)
	require.Greater(t, first, 5e6, "north is still first")
	p, err := geo.Lookup(31467)
	require.NoError(t, err)
	geo.Forget(31467)
	without, err := geo.Lookup(31467)
	require.NoError(t, err)
	x, y := p.Forward(9, 40)
	x0, y0 := without.Forward(9, 40)
	require.Equal(t, []float64{x0, y0}, []float64{x, y}, "outside of the grid nothing has changed")
}

// ntv2 is a grid over 10 to 12 degrees east and 50 to 52 degrees north, whose shift is one
// second of arc to the east and two to the north for each degree east of 10, and a finer one
// inside of it whose shift is three seconds to the north.
func ntv2(order binary.ByteOrder) []byte {
	var b []byte
	head := func(name string, value any) {
		b = append(b, (name + "        ")[:8]...)
		v := make([]byte, 8)
		switch x := value.(type) {
		case int:
			order.PutUint32(v, uint32(x))
		case float64:
			order.PutUint64(v, math.Float64bits(x))
		case string:
			copy(v, x+"        ")
		}
		b = append(b, v...)
	}
	grid := func(name, parent string, south, north, east, west, step float64, shift func(lon float64) (dLon, dLat float32)) {
		head("SUB_NAME", name)
		head("PARENT", parent)
		head("CREATED", "")
		head("UPDATED", "")
		head("S_LAT", south*3600)
		head("N_LAT", north*3600)
		head("E_LONG", -east*3600)
		head("W_LONG", -west*3600)
		head("LAT_INC", step*3600)
		head("LONG_INC", step*3600)
		rows, columns := int((north-south)/step)+1, int((east-west)/step)+1
		head("GS_COUNT", rows*columns)
		for range rows {
			for column := range columns {
				dLon, dLat := shift(east - float64(column)*step)
				for _, v := range []float32{dLat, -dLon, 0, 0} {
					b = append(b, 0, 0, 0, 0)
					order.PutUint32(b[len(b)-4:], math.Float32bits(v))
				}
			}
		}
	}
	head("NUM_OREC", 11)
	head("NUM_SREC", 11)
	head("NUM_FILE", 2)
	head("GS_TYPE", "SECONDS")
	head("VERSION", "NTv2.0")
	head("SYSTEM_F", "DHDN")
	head("SYSTEM_T", "ETRS89")
	head("MAJOR_F", 6377397.155)
	head("MINOR_F", 6356078.963)
	head("MAJOR_T", 6378137.0)
	head("MINOR_T", 6356752.314)
	grid("COARSE", "NONE", 50, 52, 12, 10, 1, func(lon float64) (float32, float32) { return float32(lon - 10), float32(2 * (lon - 10)) })
	grid("FINE", "COARSE", 50.5, 51, 11.5, 11, 0.25, func(float64) (float32, float32) { return 0, 3 })
	return b
}

func TestNTv2(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, row := range []struct{ lon, lat, east, north float64 }{
			{10, 50, 0, 0}, {10.5, 51.7, 0.5, 1}, {12, 52, 2, 4}, {11.75, 50.1, 1.75, 3.5}, // at the rim, too
			{11.2, 50.9, 0, 3}, {11, 50.5, 0, 3},
		} {
			lon, lat, ok, err := geo.CheckNTv2(ntv2(order), row.lon, row.lat)
			require.NoError(t, err)
			require.True(t, ok)
			require.InDelta(t, row.east, (lon-row.lon)*3600, 1e-5)
			require.InDelta(t, row.north, (lat-row.lat)*3600, 1e-5)
		}
		_, _, ok, err := geo.CheckNTv2(ntv2(order), 9.9, 51)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestWhatIsNoGridIsRefused(t *testing.T) {
	good := ntv2(binary.LittleEndian)
	files := fstest.MapFS{
		"good": {Data: good}, "short": {Data: good[:len(good)-1]}, "text": {Data: []byte("hello")}, "empty": {},
	}
	for _, row := range []struct {
		file  string
		codes []geo.EPSG
		want  string
	}{
		{"none", german, "geo: Grid: none: open none: file does not exist"},
		{"empty", german, "geo: Grid: empty: not a grid in the format NTv2"},
		{"text", german, "geo: Grid: text: not a grid in the format NTv2"},
		{"short", german, "geo: Grid: short: not a grid in the format NTv2"},
		{"good", nil, "geo: Grid: good: no codes"},
		{"good", []geo.EPSG{31467, 3857}, "geo: Grid: good: epsg:3857 is not built in, or has no datum shift"},
		{"good", []geo.EPSG{27700}, "geo: Grid: good: epsg:27700 is on another ellipsoid: its major axis is 6377563.396 m, that of the grid 6377397.155 m"},
	} {
		require.EqualError(t, geo.Grid(files, row.file, row.codes...), row.want)
	}
}

func FuzzNTv2(f *testing.F) {
	f.Add(ntv2(binary.LittleEndian), 11.2, 50.9)
	f.Add(ntv2(binary.BigEndian), 10.0, 52.0)
	f.Fuzz(func(_ *testing.T, data []byte, lon, lat float64) {
		_, _, _, _ = geo.CheckNTv2(data, lon, lat)
	})
}
