package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed outline.geojson
var outlineJSON []byte

// ground returns what does not move, each part by its id: outline, lakes, tracks,
// towns and the graticule. The page reads it through the gateway, projected.
func ground() (map[string][]byte, error) {
	var outline struct{ Features []json.RawMessage }
	if err := json.Unmarshal(outlineJSON, &outline); err != nil {
		return nil, fmt.Errorf("outline.geojson: %w", err)
	}
	parts := make(map[string][]byte)
	for _, raw := range outline.Features {
		var f feature
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("outline.geojson: %w", err)
		}
		parts[f.ID] = raw
	}
	for _, f := range append(graticule(), named()...) {
		raw, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		parts[f.ID] = raw
	}
	return parts, nil
}

// named returns railways and towns.
func named() (all []feature) {
	for i, r := range routes["train"] {
		all = append(all, newFeature(fmt.Sprintf("railway-%d", i+1), "railway", r.name, "LineString", newTrack(r).points))
	}
	for i, t := range towns {
		f := newFeature(fmt.Sprintf("town-%d", i+1), "town", t.name, "Point", t.at)
		f.Properties["rank"] = i
		all = append(all, f)
	}
	return all
}

// The extent of the graticule, in degrees.
const (
	west, east   = 1, 15
	south, north = 43, 51
	bend         = 0.25 // degrees between the points of a line, which most projections bend
)

// graticule returns meridians and parallels, a whole degree apart.
func graticule() (all []feature) {
	for lon := west; lon <= east; lon++ {
		var line []point
		for lat := float64(south); lat <= north; lat += bend {
			line = append(line, point{float64(lon), lat})
		}
		id := fmt.Sprintf("%d° E", lon)
		all = append(all, newFeature(id, "meridian", id, "LineString", line))
	}
	for lat := south; lat <= north; lat++ {
		var line []point
		for lon := float64(west); lon <= east; lon += bend {
			line = append(line, point{lon, float64(lat)})
		}
		id := fmt.Sprintf("%d° N", lat)
		all = append(all, newFeature(id, "parallel", id, "LineString", line))
	}
	return all
}
