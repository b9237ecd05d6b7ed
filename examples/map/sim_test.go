package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inside reports whether a point is in a ring.
func inside(p point, ring []point) (in bool) {
	for i, a := range ring {
		b := ring[(i+1)%len(ring)]
		if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < a[0]+(p[1]-a[1])/(b[1]-a[1])*(b[0]-a[0]) {
			in = !in
		}
	}
	return in
}

func TestBoatsStayOnTheirLakes(t *testing.T) {
	t.Parallel()
	var outline struct {
		Features []struct {
			ID       string
			Geometry struct{ Coordinates [][]point }
		}
	}
	require.NoError(t, json.Unmarshal(outlineJSON, &outline))
	lakes := make(map[string][]point)
	for _, f := range outline.Features {
		lakes[f.ID] = f.Geometry.Coordinates[0]
	}
	for _, r := range routes["boat"] {
		require.Contains(t, lakes, r.name)
		course := newTrack(r)
		for m := 0.0; m < course.length(); m += 100 {
			p, _ := course.at(m)
			if !inside(p, lakes[r.name]) {
				t.Errorf("%s: %.3f is ashore", r.name, p)
			}
		}
	}
}

func TestAVehicleGoesToAndFro(t *testing.T) {
	t.Parallel()
	line := newTrack(route{"east", []point{{8, 47}, {8.5, 47}, {9, 47}}})
	require.InDelta(t, 75_835, line.length(), 1, "a degree at 47° N")
	for _, c := range []struct{ metres, lon, course float64 }{
		{0, 8, 90}, {line.length() / 2, 8.5, 90}, {line.length(), 9, 90},
		{1.5 * line.length(), 8.5, 270}, {2 * line.length(), 8, 90}, {4.5 * line.length(), 8.5, 90},
	} {
		p, course := line.at(c.metres)
		require.InDelta(t, c.lon, p[0], 1e-9, "%v", c)
		require.InDelta(t, 47, p[1], 1e-9, "%v", c)
		require.InDelta(t, c.course, course, 1e-9, "%v", c)
	}
}

func TestAFleet(t *testing.T) {
	t.Parallel()
	fleet := newFleet(100)
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	count, seen := make(map[string]int), make(map[string]bool)
	for i, v := range fleet {
		count[v.kind]++
		require.False(t, seen[v.id], v.id)
		seen[v.id] = true
		require.Equal(t, v.at(now), newFleet(200)[i].at(now), "whoever asks, and however many there are")

		a, b := v.at(now), v.at(now.Add(time.Second))
		east, north := offset(a.Geometry.Coordinates.(point), b.Geometry.Coordinates.(point))
		require.LessOrEqual(t, math.Hypot(east, north), v.speed*lapse+3, v.id)
		require.NotEqual(t, a.Geometry, b.Geometry, v.id)
	}
	require.Equal(t, map[string]int{"train": 50, "boat": 20, "plane": 30}, count)
	require.Equal(t, "train", newFleet(1)[0].kind)
}
