package geo_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
)

func box(t testing.TB, left, bottom, right, top string, opts ...geo.BoxOptions) geo.Box {
	t.Helper()
	b, err := geo.ParseBox([]string{left, bottom, right, top}, opts...)
	require.NoError(t, err)
	return b
}

func TestParseBox(t *testing.T) {
	t.Parallel()
	b := box(t, "-1.5", "-2e1", "3", "4")
	require.Equal(t, geo.Box{Left: -1.5, Bottom: -20, Right: 3, Top: 4}, b)
	box(t, "1", "1", "1", "1")
	b = box(t, "170", "0", "-170", "1", geo.BoxOptions{Antimeridian: true})
	require.True(t, b.Antimeridian)
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "box: 0 arguments"},
		{[]string{"1", "2", "3"}, "box: 3 arguments"},
		{[]string{"1", "2", "3", "4", "5"}, "box: 5 arguments"},
		{[]string{"a", "2", "3", "4"}, `left is "a"`},
		{[]string{"1", "NaN", "3", "4"}, `bottom is "NaN"`},
		{[]string{"1", "2", "Inf", "4"}, `right is "Inf"`},
		{[]string{"1", "2", "3", "1e999"}, `top is "1e999"`},
		{[]string{"4", "2", "3", "4"}, "left, 4, is above right, 3"},
		{[]string{"1", "5", "3", "4"}, "bottom, 5, is above top, 4"},
	} {
		_, err := geo.ParseBox(c.args)
		require.ErrorContains(t, err, c.says)
	}
}

// What is in the box from (0, 0) to (10, 10), by each of its rules.
func TestBoxes(t *testing.T) {
	t.Parallel()
	geometry := func(kind, coordinates string) string {
		return fmt.Sprintf(`{"coordinates":%s,"type":%q}`, coordinates, kind)
	}
	vertex := geo.Box{Right: 10, Top: 10}
	meets := geo.Box{Right: 10, Top: 10, Intersects: true}
	for _, c := range []struct {
		name, raw       string
		vertex, touches bool
	}{
		{"point inside", geometry("Point", `[5,5]`), true, true},
		{"point outside", geometry("Point", `[15,5]`), false, false},
		{"point on the edge", geometry("Point", `[10,5]`), false, true},
		{"point on a corner", geometry("Point", `[0,0]`), false, true},
		{"point with a height", geometry("Point", `[5,5,99]`), true, true},
		{"one of many points", geometry("MultiPoint", `[[15,5],[5,5]]`), true, true},
		{"none of many points", geometry("MultiPoint", `[[15,5],[-5,5]]`), false, false},
		{"line that ends inside", geometry("LineString", `[[15,5],[5,5]]`), true, true},
		{"line that crosses", geometry("LineString", `[[-5,5],[15,6]]`), false, true},
		{"line that cuts a corner", geometry("LineString", `[[-1,3],[3,-1]]`), false, true},
		{"line past a corner", geometry("LineString", `[[-3,2],[2,-3]]`), false, false},
		{"line along an edge", geometry("LineString", `[[0,-5],[0,15]]`), false, true},
		{"line of one point", geometry("LineString", `[[5,5]]`), true, true},
		{"one of many lines", geometry("MultiLineString", `[[[15,15],[16,16]],[[-1,3],[3,-1]]]`), false, true},
		{"polygon inside", geometry("Polygon", `[[[1,1],[2,1],[2,2],[1,1]]]`), true, true},
		{"polygon around", geometry("Polygon", `[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]]`), false, true},
		{"polygon around, not closed", geometry("Polygon", `[[[-1,-1],[11,-1],[11,11],[-1,11]]]`), false, true},
		{"polygon with a hole around", geometry("Polygon", `[[[-9,-9],[19,-9],[19,19],[-9,19],[-9,-9]],[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]]`), false, false},
		{"polygon with a hole inside", geometry("Polygon", `[[[-9,-9],[19,-9],[19,19],[-9,19],[-9,-9]],[[4,4],[6,4],[6,6],[4,4]]]`), true, true},
		{"polygon with a hole elsewhere", geometry("Polygon", `[[[-9,-9],[19,-9],[19,19],[-9,19],[-9,-9]],[[14,4],[16,4],[16,6],[14,4]]]`), false, true},
		{"polygon beside", geometry("Polygon", `[[[-9,-9],[19,-9],[19,-1],[-9,-9]]]`), false, false},
		{"polygon that bends around", geometry("Polygon", `[[[-2,-2],[-2,12],[12,12],[12,11],[-1,11],[-1,-2],[-2,-2]]]`), false, false},
		{"second of many polygons", geometry("MultiPolygon", `[[[[20,20],[21,20],[21,21],[20,20]]],[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]]]`), false, true},
		{"first of many polygons", geometry("MultiPolygon", `[[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]],[[[20,20],[21,20],[21,21],[20,20]]]]`), false, true},
		{"two polygons around", geometry("MultiPolygon", `[[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]],[[[-2,-2],[12,-2],[12,12],[-2,12],[-2,-2]]]]`), false, true},
		{"collection", `{"type":"GeometryCollection","geometries":[` + geometry("Point", `[15,5]`) + `,` + geometry("LineString", `[[-5,5],[15,6]]`) + `]}`, false, true},
		{"collection, a polygon before a point", `{"type":"GeometryCollection","geometries":[` + geometry("Polygon", `[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]]`) + `,` + geometry("Point", `[15,5]`) + `]}`, false, true},
		{"feature", `{"type":"Feature","geometry":` + geometry("Point", `[5,5]`) + `}`, true, true},
		{"one feature of many", `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":` + geometry("Point", `[15,5]`) + `},{"type":"Feature","geometry":` + geometry("Point", `[5,5]`) + `}]}`, true, true},
		{"no feature of many", `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":` + geometry("Point", `[15,5]`) + `}]}`, false, false},
		{"no features", `{"type":"FeatureCollection","features":[]}`, false, false},
		{"no positions", geometry("LineString", `[]`), false, false},
		{"nowhere", `{"type":"Feature","geometry":null}`, true, true},
		{"too far for a number", geometry("LineString", `[[1e999,5],[-1e999,5]]`), false, false},
		{"unknown geometry", geometry("Circle", `[15,5]`), true, true},
		{"a feature of unknown geometry", `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":` + geometry("Circle", `[15,5]`) + `}]}`, true, true},
		{"not GeoJSON", `{"v":1}`, true, true},
		{"not JSON", `{`, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := geo.Read([]byte(c.raw))
			require.Equal(t, c.vertex, vertex.Passes(d))
			require.Equal(t, c.touches, meets.Passes(d))
		})
	}
}

func TestBoxOverTheDateLine(t *testing.T) {
	t.Parallel()
	for _, intersects := range []bool{false, true} {
		b := geo.Box{Left: 170, Right: -170, Bottom: -10, Top: 10, Antimeridian: true, Intersects: intersects}
		for lon, want := range map[float64]bool{175: true, -175: true, 180: true, -180: true, 0: false, 165: false, -165: false, 185: true, -185: true, 200: false, 300: false, -300: false, 535: false} {
			d := geo.Read([]byte(`{"type":"Point","coordinates":[` + strconv.FormatFloat(lon, 'f', -1, 64) + `,5]}`))
			require.Equal(t, want, b.Passes(d), "%v", lon)
		}
		around := geo.Read([]byte(`{"type":"Polygon","coordinates":[[[160,-20],[180,-20],[180,20],[160,20],[160,-20]]]}`))
		require.Equal(t, intersects, b.Passes(around))
		beside := geo.Read([]byte(`{"type":"Polygon","coordinates":[[[-160,-20],[160,-20],[160,20],[-160,20],[-160,-20]]]}`))
		require.False(t, b.Passes(beside))
	}
	literal := geo.Box{Left: 170, Right: -170, Bottom: -10, Top: 10}
	require.False(t, literal.Passes(geo.Read([]byte(`{"type":"Point","coordinates":[175,5]}`))))
}

func TestExits(t *testing.T) {
	t.Parallel()
	b := geo.Box{Right: 10, Top: 10}
	var e geo.Exits
	says := func(raw string) string {
		t.Helper()
		passes, gone := e.Passes("trains", b, geo.Read([]byte(raw), "name"))
		if passes {
			require.Nil(t, gone)
			return "passes"
		}
		return string(gone)
	}
	at := func(id string, x float64) string {
		return fmt.Sprintf(`{"type":"Feature","id":%s,"geometry":{"type":"Point","coordinates":[%v,5]}}`, id, x)
	}
	require.Empty(t, says(at(`7`, 15)), "it has not been sent")
	require.Equal(t, "passes", says(at(`7`, 5)))
	require.Equal(t, "passes", says(at(`7`, 6)))
	require.Equal(t, `{"type":"Feature","id":7,"geometry":null}`, says(at(`7`, 15)))
	require.Empty(t, says(at(`7`, 15)), "said once")

	require.Equal(t, "passes", says(at(`"a"`, 5)))
	require.Empty(t, says(at(`"b"`, 15)), "another")
	require.Equal(t, "passes", says(`{"type":"Feature","id":"a","geometry":null}`))
	require.Empty(t, says(at(`"a"`, 15)), "the publisher has said so")

	named := `{"type":"Feature","properties":{"name":"n"},"geometry":{"type":"Point","coordinates":[%v,5]}}`
	require.Equal(t, "passes", says(fmt.Sprintf(named, 5)))
	require.Equal(t, `{"type":"Feature","id":"n","geometry":null}`, says(fmt.Sprintf(named, 15)))

	nameless := `{"type":"Feature","geometry":{"type":"Point","coordinates":[%v,5]}}`
	require.Equal(t, "passes", says(fmt.Sprintf(nameless, 5)))
	require.Empty(t, says(fmt.Sprintf(nameless, 15)))

	all := func(features ...string) string {
		s := `{"type":"FeatureCollection","features":[`
		for i, f := range features {
			if i > 0 {
				s += ","
			}
			s += f
		}
		return s + `]}`
	}
	require.Equal(t, "passes", says(all(at(`1`, 5), at(`2`, 15), at(`3`, 5))))
	require.Equal(t, `{"type":"FeatureCollection","features":[{"type":"Feature","id":1,"geometry":null},{"type":"Feature","id":2,"geometry":null}]}`,
		says(all(at(`1`, 15), at(`2`, 15), at(`4`, 15))), "all that were sent, wherever they were")
	now, forgotten := e.Remembered()
	require.Equal(t, 1, now)
	require.Zero(t, forgotten)
}

// A channel may be called as what is on it.
func TestExitsOfChannels(t *testing.T) {
	t.Parallel()
	b := geo.Box{Right: 10, Top: 10}
	var e geo.Exits
	at := func(from string, id, x int) (passes, left bool) {
		d := geo.Read(fmt.Appendf(nil, `{"type":"Feature","id":%d,"geometry":{"type":"Point","coordinates":[%d,5]}}`, id, x))
		passes, gone := e.Passes(from, b, d)
		return passes, gone != nil
	}
	for _, row := range []struct {
		from         string
		id, x        int
		passes, left bool
	}{
		{"1", 1, 5, true, false}, {"7", 8, 5, true, false}, {"2", 2, 15, false, false}, {"8", 7, 15, false, false},
		{"1", 1, 15, false, true}, {"7", 8, 15, false, true},
	} {
		passes, left := at(row.from, row.id, row.x)
		require.Equal(t, row.passes, passes, row)
		require.Equal(t, row.left, left, row)
	}
}

func TestExitsRememberNoMoreThanTheirLimit(t *testing.T) {
	t.Parallel()
	b := geo.Box{Right: 10, Top: 10}
	e := geo.Exits{Limit: 10}
	at := func(id, x int) *geo.Document {
		return geo.Read([]byte(fmt.Sprintf(`{"type":"Feature","id":%d,"geometry":{"type":"Point","coordinates":[%d,5]}}`, id, x)))
	}
	for id := range 100 {
		e.Passes("trains", b, at(id, 5))
		e.Passes("trains", b, at(0, 5)) // it is seen all the time
		now, _ := e.Remembered()
		require.LessOrEqual(t, now, 10)
	}
	now, forgotten := e.Remembered()
	require.Equal(t, 100, now+int(forgotten))
	for id := 95; id < 100; id++ {
		_, gone := e.Passes("trains", b, at(id, 15))
		require.NotNil(t, gone, "one of the last %d", id)
	}
	_, gone := e.Passes("trains", b, at(0, 15))
	require.NotNil(t, gone)
	_, gone = e.Passes("trains", b, at(50, 15))
	require.Nil(t, gone)
}
