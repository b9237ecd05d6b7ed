package geo

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// EPSG is the number of a coordinate reference system in the EPSG registry.
type EPSG int

// degrees is what GeoJSON is in: longitude and latitude on WGS 84.
const degrees EPSG = 4326

// ErrUnknownEPSG is wrapped by the error for a code without a [Projector].
var ErrUnknownEPSG = errors.New("geo: no projection of that code")

// String returns the code as commands have it: epsg:3857.
func (c EPSG) String() string { return "epsg:" + strconv.Itoa(int(c)) }

// parseEPSG reads a code as commands have it, epsg:3857, in upper or lower case.
// [Lookup] finds out whether there is such a projection.
func parseEPSG(s string) (EPSG, error) {
	const prefix = "epsg:"
	digits, ok := s, len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
	if ok {
		digits = s[len(prefix):]
		ok = digits[0] >= '1' && digits[0] <= '9'
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return 0, fmt.Errorf("geo: projection %.40q: want epsg: and a number", s)
	}
	return EPSG(n), nil
}

// projectors are the projections in use. Built-in ones are made at their first use and
// kept, because a Projector is compared.
var projectors = struct {
	sync.RWMutex
	of map[EPSG]entry
}{of: make(map[EPSG]entry)}

type entry struct {
	Projector
	northFirst bool
}

// Lookup returns the projection of a code, with x east and y north, or an error that
// wraps [ErrUnknownEPSG].
func Lookup(code EPSG) (Projector, error) {
	e, err := lookup(code)
	return e.Projector, err
}

// lookupStrict is [Lookup] with the axes in the order of the EPSG registry: for most
// national grids, and for degrees, north first.
func lookupStrict(code EPSG) (Projector, error) {
	e, err := lookup(code)
	if err == nil && e.northFirst {
		return swapped{e.Projector}, nil
	}
	return e.Projector, err
}

func lookup(code EPSG) (entry, error) {
	projectors.RLock()
	e, ok := projectors.of[code]
	projectors.RUnlock()
	if ok {
		return e, nil
	}
	p, northFirst := define(code)
	if p == nil {
		return entry{}, fmt.Errorf("%w: %v", ErrUnknownEPSG, code)
	}
	projectors.Lock()
	defer projectors.Unlock()
	if e, ok := projectors.of[code]; ok {
		return e, nil
	}
	e = entry{p, northFirst}
	projectors.of[code] = e
	return e, nil
}

// Register sets the projection of a code, in place of a built-in one. Call it before
// the code is looked up: connections keep the Projector that they have. With
// Config.StrictAxes p is used unchanged as well. Register panics if the code is less
// than 1 or 4326, or if p is nil or can't be compared by ==.
func Register(code EPSG, p Projector) {
	if code < 1 || code == degrees || p == nil || !reflect.ValueOf(p).Comparable() {
		panic(fmt.Sprintf("geo: Register(%v, %T): want a code other than 4326, and a Projector that is not nil and comparable", code, p))
	}
	projectors.Lock()
	defer projectors.Unlock()
	projectors.of[code] = entry{Projector: p}
}
