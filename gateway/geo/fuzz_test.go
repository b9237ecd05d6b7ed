package geo_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
)

// shallow reports whether JSON is nested no deeper than the scanner goes.
func shallow(raw []byte) bool {
	depth, deepest := 0, 0
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		t, err := dec.Token()
		if err != nil {
			return deepest <= 128
		}
		if d, ok := t.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
			deepest = max(deepest, depth)
		}
	}
}

func decode(t *testing.T, raw []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&v))
	return v
}

// same compares two values but, in those of coordinates, for the first two numbers
// of arrays.
func same(t *testing.T, a, b any, coordinates bool) {
	t.Helper()
	switch a := a.(type) {
	case map[string]any:
		b := b.(map[string]any)
		require.Len(t, b, len(a))
		for k := range a {
			require.Contains(t, b, k)
			same(t, a[k], b[k], coordinates || k == "coordinates")
		}
	case []any:
		b := b.([]any)
		require.Len(t, b, len(a))
		for i := range a {
			if _, number := a[i].(json.Number); number && i < 2 && coordinates {
				require.IsType(t, a[i], b[i])
				continue
			}
			same(t, a[i], b[i], coordinates)
		}
	default:
		require.Equal(t, a, b)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"type":"Point","coordinates":[1,2]}`,
		`{"type":"Feature","id":"a","properties":{"coordinates":[1,2]},"geometry":{"coordinates":[[1,2],[3,4,5]],"type":"LineString"}}`,
		`{"features":[{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1,2],[101,3],[1,2]]]}},{"type":"Feature","geometry":null}],"type":"FeatureCollection"}`,
		`{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[]},{"type":"MultiPolygon","coordinates":[[],[[[1,2]]]],"coordinates":1}]}`,
		`{"\u0074ype":"Point","coordinates":[-0.0e+1,1E400],"type":"\ud800"}`,
		`[1,2,"\n",tru]`, "{\"a\":\"\x7f\xff\"}", strings.Repeat("[", 129) + strings.Repeat("]", 129),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		valid := json.Valid(raw)
		if !valid || shallow(raw) {
			require.Equal(t, valid, geo.Valid(raw))
		}
		d := geo.Read(raw, "a")
		require.Equal(t, raw, d.Raw())
		if d.Features() > 0 {
			require.True(t, valid)
		}
		require.LessOrEqual(t, cap(d.Vertices()), 2*len(raw))
		box := geo.Box{Left: -1, Bottom: -1, Right: 1, Top: 1}
		inside := box.Passes(d)
		box.Intersects = true
		require.False(t, inside && !box.Passes(d), "a vertex is in the box, but does not meet it")

		p, dropped := d.Project(tenfold{})
		if p == nil {
			require.Equal(t, 1, dropped)
			return
		}
		require.Equal(t, valid, json.Valid(p.Raw()))
		again := geo.Read(p.Raw())
		require.Equal(t, len(p.Vertices()), len(again.Vertices()))
		for i, v := range p.Vertices() {
			require.Equal(t, v, again.Vertices()[i])
		}
		if valid && dropped == 0 {
			same(t, decode(t, raw), decode(t, p.Raw()), false)
		}
	})
}
