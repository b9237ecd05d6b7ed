package geo_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
)

// tenfold is a projection that one can check by eye. It has no image of x above
// 100.
type tenfold struct{}

func (tenfold) Forward(lon, lat float64) (x, y float64) {
	if lon > 100 {
		return math.NaN(), math.NaN()
	}
	return 10 * lon, 10 * lat
}
func (tenfold) Inverse(x, y float64) (lon, lat float64) { return x / 10, y / 10 }

func project(t *testing.T, raw string) (string, int) {
	t.Helper()
	before := strings.Clone(raw)
	d := geo.Read([]byte(raw))
	p, dropped := d.Project(tenfold{})
	require.Equal(t, before, string(d.Raw()), "the original has changed")
	if p == nil {
		return "", dropped
	}
	return string(p.Raw()), dropped
}

func TestOnlyCoordinatesAreRewritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, raw, want string }{
		{"point", `{"type":"Point","coordinates":[1,2]}`, `{"type":"Point","coordinates":[10,20]}`},
		{"coordinates first", `{"coordinates":[1,2],"type":"Point"}`, `{"coordinates":[10,20],"type":"Point"}`},
		{"white space", " {\n\"type\" :\t\"Point\", \"coordinates\" : [ 1 , 2 ] } \r\n", " {\n\"type\" :\t\"Point\", \"coordinates\" : [ 10 , 20 ] } \r\n"},
		{"height and measure", `{"type":"Point","coordinates":[1,2,3.10,"m",null]}`, `{"type":"Point","coordinates":[10,20,3.10,"m",null]}`},
		{"numbers", `{"type":"Point","coordinates":[-1.50e1,0.25E+1]}`, `{"type":"Point","coordinates":[-150,25]}`},
		{"negative zero", `{"type":"Point","coordinates":[-0,-0.0]}`, `{"type":"Point","coordinates":[0,0]}`},
		{"small", `{"type":"Point","coordinates":[1e-9,2]}`, `{"type":"Point","coordinates":[0.00000001,20]}`},
		{"many points", `{"type":"MultiPoint","coordinates":[[1,2],[3,4]]}`, `{"type":"MultiPoint","coordinates":[[10,20],[30,40]]}`},
		{"line", `{"type":"LineString","coordinates":[[1,2],[3,4]]}`, `{"type":"LineString","coordinates":[[10,20],[30,40]]}`},
		{"lines", `{"type":"MultiLineString","coordinates":[[[1,2]],[[3,4]]]}`, `{"type":"MultiLineString","coordinates":[[[10,20]],[[30,40]]]}`},
		{"polygon", `{"type":"Polygon","coordinates":[[[1,2],[3,4],[1,2]]]}`, `{"type":"Polygon","coordinates":[[[10,20],[30,40],[10,20]]]}`},
		{"polygons", `{"type":"MultiPolygon","coordinates":[[[[1,2]]],[[[3,4]]]]}`, `{"type":"MultiPolygon","coordinates":[[[[10,20]]],[[[30,40]]]]}`},
		{"collection", `{"geometries":[{"type":"Point","coordinates":[1,2]},{"geometries":[{"coordinates":[3,4],"type":"Point"}],"type":"GeometryCollection"}],"type":"GeometryCollection"}`,
			`{"geometries":[{"type":"Point","coordinates":[10,20]},{"geometries":[{"coordinates":[30,40],"type":"Point"}],"type":"GeometryCollection"}],"type":"GeometryCollection"}`},
		{"feature", `{"type":"Feature","id":9007199254740993,"properties":{"coordinates":[1,2],"type":"Point","geometry":{"type":"Point","coordinates":[1,2]}},"geometry":{"type":"Point","coordinates":[1,2]},"coordinates":[1,2],"x":12345678901234567890}`,
			`{"type":"Feature","id":9007199254740993,"properties":{"coordinates":[1,2],"type":"Point","geometry":{"type":"Point","coordinates":[1,2]}},"geometry":{"type":"Point","coordinates":[10,20]},"coordinates":[1,2],"x":12345678901234567890}`},
		{"features", `{"features":[{"geometry":{"coordinates":[1,2],"type":"Point"},"type":"Feature"} , {"type":"Feature","geometry":null}],"bbox":[1,2,3,4],"type":"FeatureCollection"}`,
			`{"features":[{"geometry":{"coordinates":[10,20],"type":"Point"},"type":"Feature"} , {"type":"Feature","geometry":null}],"bbox":[1,2,3,4],"type":"FeatureCollection"}`},
		{"escaped names", `{"\u0074ype":"P\u006fint","co\u006frdinates":[1,2]}`, `{"\u0074ype":"P\u006fint","co\u006frdinates":[10,20]}`},
		{"the last of a name", `{"type":"Point","coordinates":[1,2],"coordinates":[3,4]}`, `{"type":"Point","coordinates":[1,2],"coordinates":[30,40]}`},
		{"the last type", `{"type":"Point","coordinates":[[1,2]],"type":"LineString"}`, `{"type":"Point","coordinates":[[10,20]],"type":"LineString"}`},
		{"the last geometry", `{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"geometry":{"type":"LineString","coordinates":[[3,4]]}}`,
			`{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"geometry":{"type":"LineString","coordinates":[[30,40]]}}`},
		{"the last features", `{"features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}],"coordinates":[1,2],"features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[3,4]}}],"geometries":[{"type":"Point","coordinates":[1,2]}],"type":"FeatureCollection"}`,
			`{"features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}],"coordinates":[1,2],"features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[30,40]}}],"geometries":[{"type":"Point","coordinates":[1,2]}],"type":"FeatureCollection"}`},
		{"not all are features", `{"type":"FeatureCollection","features":[1,{"type":"Point","coordinates":[1,2]},{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}]}`,
			`{"type":"FeatureCollection","features":[1,{"type":"Point","coordinates":[1,2]},{"type":"Feature","geometry":{"type":"Point","coordinates":[10,20]}}]}`},
		{"not all are geometries", `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Blob","coordinates":[1,2]}},{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}]}`,
			`{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Blob","coordinates":[1,2]}},{"type":"Feature","geometry":{"type":"Point","coordinates":[10,20]}}]}`},
		{"some empty", `{"type":"MultiLineString","coordinates":[[],[[1,2],[]]]}`, `{"type":"MultiLineString","coordinates":[[],[[10,20],[]]]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, dropped := project(t, c.raw)
			require.Equal(t, c.want, got)
			require.Zero(t, dropped)
		})
	}
}

func TestWhatIsNotGeoJSONIsUnchanged(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"type":"GeometryCollection","geometries":[`, 64) +
		`{"type":"Point","coordinates":[1,2]}` + strings.Repeat(`]}`, 64)
	for _, raw := range []string{
		"", " ", "{", "}", "[", "null", "1", `"Point"`, "\x00", "{\x00}", `{"type"`, `{"type":`, `{"type":"Point","coordinates":[`,
		`{"type":"Point","coordinates":[1`, `{"type":"Point","coordinates":[1,`, `{"type":"Point","coordinates":[1,2`, `{"type":"Point","coordinates":[1,2]`,
		`{"type":"Point","coordinates":[1,2]}}`, `{"type":"Point","coordinates":[1,2]} x`, `{"type":"Point","coordinates":[1,2],}`, `{"type":"Point","coordinates":[1,2,]}`,
		`{"type":"Point","coordinates":[01,2]}`, `{"type":"Point","coordinates":[1.,2]}`, `{"type":"Point","coordinates":[NaN,2]}`,
		`[{"type":"Point","coordinates":[1,2]}]`, `{"coordinates":[1,2]}`, `{"type":"point","coordinates":[1,2]}`, `{"Type":"Point","coordinates":[1,2]}`,
		`{"type":"Point"}`, `{"type":"Point","coordinates":null}`, `{"type":"Point","coordinates":{}}`, `{"type":"Point","coordinates":[1]}`,
		`{"type":"Point","coordinates":["1","2"]}`, `{"type":"Point","coordinates":[[1,2]]}`, `{"type":"LineString","coordinates":[1,2]}`,
		`{"type":"LineString","coordinates":[[1,2],[[3,4]]]}`, `{"type":"LineString","coordinates":[[1,2],3]}`, `{"type":"LineString","coordinates":[[1,2],[3]]}`,
		`{"type":"LineString","coordinates":[[[]]]}`, `{"type":7,"coordinates":[1,2]}`, `{"type":"Feature"}`, `{"type":"Feature","geometry":1}`,
		`{"type":"Feature","geometry":{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}}}`,
		`{"type":"FeatureCollection"}`, `{"type":"FeatureCollection","features":{}}`, `{"type":"GeometryCollection","geometries":[1]}`,
		`{"type":"GeometryCollection","coordinates":[1,2]}`, `{"geometry":{"type":"Point","coordinates":[1,2]}}`, `{"type":"Point","coordinates":[1,2],"type":"Pint"}`,
		deep,
	} {
		d := geo.Read([]byte(raw))
		require.Zero(t, d.Features(), raw)
		require.Empty(t, d.Vertices(), raw)
		require.True(t, geo.Box{}.Passes(d), raw)
		got, dropped := project(t, raw)
		require.Equal(t, raw, got)
		require.Zero(t, dropped)
	}
}

func TestWhatHasNoPositionsIsUnchanged(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{"type":"Feature","geometry":null}`, `{"type":"Point","coordinates":[]}`, `{"type":"MultiPolygon","coordinates":[[],[[]]]}`,
		`{"type":"GeometryCollection","geometries":[]}`, `{"type":"FeatureCollection","features":[]}`,
		`{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null}]}`,
	} {
		got, dropped := project(t, raw)
		require.Equal(t, raw, got)
		require.Zero(t, dropped)
	}
}

func TestAFeatureWithoutAnImageIsDropped(t *testing.T) {
	t.Parallel()
	feature := func(x string) string {
		return `{"type":"Feature","geometry":{"type":"LineString","coordinates":[[1,2],[` + x + `,2]]}}`
	}
	good, out, far := feature("1"), feature("101"), feature("1e999")
	image := strings.ReplaceAll(good, "[1,2]", "[10,20]")
	for _, c := range []struct {
		raw, want string
		dropped   int
	}{
		{out, "", 1},
		{far, "", 1},
		{`{"type":"Point","coordinates":[101,1]}`, "", 1},
		{`{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,1]},{"type":"Point","coordinates":[101,1]}]}`, "", 1},
		{`[` + good + ` , ` + out + `]`, `[` + image + `]`, 1},
		{`[ ` + out + ` , ` + good + ` ]`, `[ ` + image + ` ]`, 1},
		{`[` + good + `,` + out + ` , ` + far + ` ,` + good + `]`, `[` + image + ` ,` + image + `]`, 2},
		{`[` + out + `,` + good + `,` + out + `,` + out + `,` + good + `,` + out + `]`, `[` + image + `,` + image + `]`, 4},
		{`[ ` + out + ` ]`, `[  ]`, 1},
	} {
		head, tail := "", ""
		if c.raw[0] == '[' {
			head, tail = `{"type":"FeatureCollection","features":`, `,"n":1}`
		}
		got, dropped := project(t, head+c.raw+tail)
		require.Equal(t, c.dropped, dropped, c.raw)
		if c.want != "" {
			c.want = head + c.want + tail
		}
		require.Equal(t, c.want, got, c.raw)
	}
}

func TestAProjectionStartsFromTheOriginal(t *testing.T) {
	t.Parallel()
	d := geo.Read([]byte(`{"type":"FeatureCollection","features":[{"type":"Feature","id":"far","geometry":{"type":"Point","coordinates":[101,1]}},{"type":"Feature","id":7,"geometry":{"type":"Point","coordinates":[1,2]}}]}`))
	once, dropped := d.Project(tenfold{})
	require.Equal(t, 1, dropped)
	require.Equal(t, []string{`7`}, once.IDs())
	require.Equal(t, []float64{10, 20}, once.Vertices())
	require.Equal(t, 1, once.Features())
	twice, _ := once.Project(doubled{})
	require.Equal(t, []float64{202, 2, 2, 4}, twice.Vertices())
	degrees, err := geo.Lookup(geo.Degrees)
	require.NoError(t, err)
	back, dropped := once.Project(degrees)
	require.Same(t, d, back)
	require.Zero(t, dropped)
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"id":7`: `7`, `"id":"a\u0062"`: `"a\u0062"`, `"id":-1.0`: `-1.0`, `"id":null`: ``, `"id":{"a":1}`: ``, `"x":1`: ``,
		`"properties":{"name":"n","id":1}`: `"n"`, `"properties":{"name":[1],"n\u0061me":5}`: `5`, `"properties":null`: ``,
		`"properties":{"name":1},"id":2`: `2`, `"id":1,"id":2`: `2`, `"id":1,"id":true`: ``,
	} {
		d := geo.Read([]byte(`{"type":"Feature",`+raw+`,"geometry":null}`), "name")
		require.Equal(t, []string{want}, d.IDs(), raw)
	}
	d := geo.Read([]byte(`{"type":"Feature","properties":{"name":1},"geometry":null}`))
	require.Equal(t, []string{""}, d.IDs())
}
