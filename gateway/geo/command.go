package geo

import (
	"context"
	"slices"
	"strings"

	"github.com/heliograph/heliograph/gateway"
)

// Commands returns the commands, for [gateway.Config].Commands. Event streams take BBOX and
// PROJECTION in their query.
func (g *Geo) Commands() map[string]gateway.Command {
	return map[string]gateway.Command{
		"BBOX": {
			Run: g.bbox, Usage: "[left bottom right top] [intersects=1] [exit=1] [antimeridian=1]", Max: 4,
			Options: []string{"intersects", "exit", "antimeridian"}, Query: true,
		},
		"PROJECTION": {Run: g.projection, Usage: "epsg:code", Min: 1, Max: 1, Query: true},
		"PGET": {
			Run: g.pget, Usage: "key [ref] [client_ref] [projection=epsg:code]", Min: 1, Max: 4,
			Names: []string{"channel_name", "ref", "client_ref", "projection"},
		},
	}
}

// bbox is the command BBOX.
func (g *Geo) bbox(_ context.Context, c *gateway.Conn, r gateway.Request) error {
	var b box
	var exit bool
	for _, flag := range []struct {
		name string
		to   *bool
	}{{"intersects", &b.Intersects}, {"antimeridian", &b.Antimeridian}, {"exit", &exit}} {
		switch value, ok := r.Options[flag.name]; {
		case !ok, value == "0":
		case value == "1":
			*flag.to = true
		default:
			return gateway.Errorf(gateway.CodeBadCommand, "%s must be 0 or 1", flag.name)
		}
	}
	if len(r.Args) == 0 && len(r.Options) == 0 {
		c.SetFilter("BBOX", nil)
		c.SetValue(exitsKey{}, nil)
		return nil
	}
	b, err := parseBox(r.Args, b)
	if err != nil {
		return commandError(err)
	}
	if !exit {
		c.SetFilter("BBOX", g.boxed(b))
		c.SetValue(exitsKey{}, nil)
		return nil
	}
	// The features that the client has on its map stay remembered for the new box.
	e, known := c.Value(exitsKey{}).(*exits)
	if !known {
		e = &exits{Limit: g.cfg.MaxExits}
		c.SetValue(exitsKey{}, e)
	}
	c.SetFilter("BBOX", g.boxedWithExits(b, e))
	return nil
}

// exitsKey is the key of a connection's exits, for Conn.Value.
type exitsKey struct{}

// projection is the command PROJECTION.
func (g *Geo) projection(_ context.Context, c *gateway.Conn, r gateway.Request) error {
	p, err := g.lookup(r.Args[0])
	switch {
	case err != nil:
		return err
	case p != nil:
		c.SetFilter("PROJECTION", g.projected(p))
		c.SetValue(projectionKey{}, true)
	case c.Value(projectionKey{}) != nil:
		// The filter keeps its place: a box that was set after it stays in the units of
		// the next projection.
		c.SetFilter("PROJECTION", func(m *gateway.Message) *gateway.Message { return m })
	}
	return nil
}

// projectionKey is the key by which a connection records that it has a projection
// filter.
type projectionKey struct{}

// pget is the command PGET. The filters of the connection apply as for GET, in their
// own projection.
func (g *Geo) pget(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	if len(r.Args) < 4 {
		return gateway.Get(ctx, c, r, nil)
	}
	p, err := g.lookup(r.Args[3])
	if err != nil {
		return err
	}
	return gateway.Get(ctx, c, r, func(m *gateway.Message) *gateway.Message { return g.fixed(m, p) })
}

// lookup returns the projection of a code; nil: messages stay as published.
func (g *Geo) lookup(code string) (Projector, error) {
	n, err := parseEPSG(code)
	if err != nil {
		return nil, commandError(err)
	}
	if n == degrees {
		return nil, nil
	}
	if g.cfg.Codes != nil && !slices.Contains(g.cfg.Codes, n) {
		return nil, gateway.Errorf(gateway.CodeBadCommand, "%v is not one of those that may be asked for", n)
	}
	find := Lookup
	if g.cfg.StrictAxes {
		find = lookupStrict
	}
	p, err := find(n)
	if err != nil {
		return nil, commandError(err)
	}
	return p, nil
}

// commandError returns an error of this package as one for the client.
func commandError(err error) error {
	return gateway.Errorf(gateway.CodeBadCommand, "%s", strings.TrimPrefix(err.Error(), "geo: "))
}
