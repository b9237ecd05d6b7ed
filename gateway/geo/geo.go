package geo

import (
	"fmt"
	"sync/atomic"
)

// Config configures [New]. The zero value is ready to use.
type Config struct {
	// IDProperty is the member of "properties" that a feature without an "id" is
	// known by, to BBOX with exit=1. Empty: it has to have an id.
	IDProperty string

	// StrictAxes sends coordinates in the order of the authority, as
	// [lookupStrict] has it. Otherwise x is east and y is north.
	StrictAxes bool

	// MaxExits is how many features are remembered for each connection that sent
	// BBOX with exit=1. Zero means 10,000, some 300 KB when it is reached.
	MaxExits int
}

// Geo is the commands BBOX, PROJECTION and PGET, for any number of handlers.
type Geo struct {
	cfg   Config
	count struct{ dropped, withheld, exits, forgotten atomic.Int64 }
}

// New returns the commands.
func New(cfg Config) (*Geo, error) {
	if cfg.MaxExits < 0 {
		return nil, fmt.Errorf("geo: Config.MaxExits is %d; want a positive number, or 0", cfg.MaxExits)
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

// Stats returns what the commands have done since they were made.
func (g *Geo) Stats() Stats {
	return Stats{
		Dropped: g.count.dropped.Load(), Withheld: g.count.withheld.Load(),
		Exits: g.count.exits.Load(), Forgotten: g.count.forgotten.Load(),
	}
}
