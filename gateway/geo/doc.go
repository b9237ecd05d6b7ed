// Package geo projects GeoJSON for browsers.
package geo
