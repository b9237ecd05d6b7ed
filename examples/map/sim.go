package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// feature is a GeoJSON Feature: what is published, and what the gateway projects
// and boxes.
type feature struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties"`
	Geometry   geometry       `json:"geometry"`
}

type geometry struct {
	Type        string `json:"type"`
	Coordinates any    `json:"coordinates"` // a point, or []point
}

func newFeature(id, kind, name, shape string, coordinates any) feature {
	return feature{"Feature", id, map[string]any{"kind": kind, "name": name}, geometry{shape, coordinates}}
}

// lapse is how much faster time runs on the map: at its real speed a train needs ten
// seconds for a pixel.
const lapse = 20

// kinds are what there is, how much of it, and how fast it is in m/s.
var kinds = []struct {
	name  string
	share float64 // of all objects
	speed float64 // of the slowest; the fastest is half as fast again
}{
	{"train", 0.5, 28},
	{"boat", 0.2, 5},
	{"plane", 0.3, 170},
}

// vehicle goes back and forth on its track. Its position depends on the time of day
// alone, so that two processes on one Redis agree.
type vehicle struct {
	id, kind string
	track    *track
	offset   float64 // metres from the start of the track, at the Unix epoch
	speed    float64 // m/s
}

// newFleet returns n vehicles, spread evenly over routes and along them.
func newFleet(n int) []vehicle {
	tracks := make(map[string][]*track)
	for kind, all := range routes {
		for _, r := range all {
			tracks[kind] = append(tracks[kind], newTrack(r))
		}
	}
	fleet := make([]vehicle, n)
	have := make([]int, len(kinds))
	for i := range fleet {
		k := scarcest(have, i+1)
		nth := have[k]
		have[k]++
		kind := kinds[k]
		t := tracks[kind.name][nth%len(tracks[kind.name])]
		// Multiples of the golden ratio leave no two vehicles close together.
		spread := math.Mod(float64(i)*math.Phi, 1)
		fleet[i] = vehicle{
			id: fmt.Sprintf("%s-%d", kind.name, nth+1), kind: kind.name, track: t,
			offset: 2 * t.length() * spread,
			speed:  kind.speed * (1 + math.Mod(float64(i)*math.Sqrt2, 1)/2),
		}
	}
	return fleet
}

// scarcest returns the kind that is furthest below its share of n.
func scarcest(have []int, n int) int {
	best, lack := 0, math.Inf(-1)
	for k, kind := range kinds {
		if l := kind.share*float64(n) - float64(have[k]); l > lack {
			best, lack = k, l
		}
	}
	return best
}

// at returns the vehicle at a time.
func (v vehicle) at(t time.Time) feature {
	seconds := float64(t.UnixMilli()) / 1000 * lapse
	p, course := v.track.at(v.offset + v.speed*seconds)
	f := newFeature(v.id, v.kind, v.track.name, "Point", point{round(p[0]), round(p[1])})
	f.Properties["course"] = math.Round(course)
	f.Properties["speed"] = math.Round(v.speed * 3.6)
	return f
}

// round rounds to a metre.
func round(degrees float64) float64 { return math.Round(degrees*1e5) / 1e5 }

// route is the points of a way.
type route struct {
	name   string
	points []point
}

// track is a route with its corners rounded.
type track struct {
	name   string
	points []point
	metres []float64 // from the first to each
}

func newTrack(r route) *track {
	t := &track{name: r.name, points: smooth(r.points)}
	t.metres = make([]float64, len(t.points))
	for i := 1; i < len(t.points); i++ {
		east, north := offset(t.points[i-1], t.points[i])
		t.metres[i] = t.metres[i-1] + math.Hypot(east, north)
	}
	return t
}

func (t *track) length() float64 { return t.metres[len(t.metres)-1] }

// at returns the position after some metres, back and forth, and the course in degrees
// from north.
func (t *track) at(metres float64) (p point, course float64) {
	there := math.Mod(metres, 2*t.length())
	back := there > t.length()
	if back {
		there = 2*t.length() - there
	}
	i, _ := slices.BinarySearch(t.metres, there)
	i = max(i, 1)
	a, b := t.points[i-1], t.points[i]
	part := (there - t.metres[i-1]) / (t.metres[i] - t.metres[i-1])
	east, north := offset(a, b)
	if back {
		east, north = -east, -north
	}
	course = math.Mod(math.Atan2(east, north)*180/math.Pi+360, 360)
	return point{a[0] + part*(b[0]-a[0]), a[1] + part*(b[1]-a[1])}, course
}

// offset returns how many metres b is east and north of a, near by.
func offset(a, b point) (east, north float64) {
	const degree = 111_195 // of a great circle, in metres
	return (b[0] - a[0]) * degree * math.Cos((a[1]+b[1])/2*math.Pi/180), (b[1] - a[1]) * degree
}

// smooth lays a curve through points, a Catmull-Rom spline.
func smooth(points []point) []point {
	const steps = 8
	var curve []point
	for i := range len(points) - 1 {
		a, b := points[i], points[i+1]
		before, after := points[max(i-1, 0)], points[min(i+2, len(points)-1)]
		for step := range steps {
			t := float64(step) / steps
			var p point
			for k := range p {
				p[k] = a[k] + t/2*(b[k]-before[k]+t*(2*before[k]-5*a[k]+4*b[k]-after[k]+t*(3*(a[k]-b[k])+after[k]-before[k])))
			}
			curve = append(curve, p)
		}
	}
	return append(curve, points[len(points)-1])
}
