package geo

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Config configures [New]. The zero value is ready to use.
type Config struct {
	// IDProperty is the member of "properties" that identifies a feature without an
	// "id", for BBOX with exit=1. If it is empty, only an "id" does.
	IDProperty string

	// StrictAxes sends coordinates in the axis order of the EPSG registry: for most
	// national grids, and for degrees, north before east. Otherwise x is east and y is
	// north.
	StrictAxes bool

	// Codes are the projections that clients may ask for, beside EPSG:4326. Defaults to
	// all that [Lookup] knows.
	Codes []EPSG

	// MaxExits is how many features are remembered for each connection that has sent
	// BBOX with exit=1. Defaults to 10,000, which take 300 KB.
	MaxExits int
}

// Geo has the commands BBOX, PROJECTION and PGET, for any number of handlers.
type Geo struct {
	cfg   Config
	count struct{ dropped, withheld, exits, forgotten atomic.Int64 }
}

// New returns a Geo, whose commands belong into [gateway.Config].Commands.
func New(cfg Config) (*Geo, error) {
	if cfg.MaxExits < 0 {
		return nil, fmt.Errorf("geo: Config.MaxExits: %d is negative", cfg.MaxExits)
	}
	cfg.Codes = slices.Clone(cfg.Codes)
	for i, code := range cfg.Codes {
		if _, err := Lookup(code); err != nil {
			return nil, fmt.Errorf("geo: Config.Codes[%d]: %w", i, err)
		}
	}
	return &Geo{cfg: cfg}, nil
}

// Stats counts what a [Geo] has done since it was made.
type Stats struct {
	Dropped   int64 `json:"dropped"`   // features that a projection can't represent, counted once for each projection
	Withheld  int64 `json:"withheld"`  // messages without a feature in a client's box
	Exits     int64 `json:"exits"`     // messages that announced features which have left a box
	Forgotten int64 `json:"forgotten"` // features that will leave unannounced, because of Config.MaxExits
}

// Stats returns what the commands have done since the Geo was made.
func (g *Geo) Stats() Stats {
	return Stats{
		Dropped: g.count.dropped.Load(), Withheld: g.count.withheld.Load(),
		Exits: g.count.exits.Load(), Forgotten: g.count.forgotten.Load(),
	}
}
