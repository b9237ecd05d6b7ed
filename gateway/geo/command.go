package geo

import (
	"context"
	"strings"

	"github.com/heliograph/heliograph/gateway"
)

// Commands returns the commands, for gateway.Config.Commands.
func (g *Geo) Commands() map[string]gateway.Command {
	return map[string]gateway.Command{
		"BBOX": {
			Run: g.bbox, Usage: "[left bottom right top] [intersects=1] [exit=1] [antimeridian=1]", Max: 4,
			Options: []string{"intersects", "exit", "antimeridian"},
		},
		"PROJECTION": {Run: g.projection, Usage: "epsg:code", Min: 1, Max: 1},
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
		return told(err)
	}
	if !exit {
		c.SetFilter("BBOX", g.boxed(b))
		c.SetValue(exitsKey{}, nil)
		return nil
	}
	// Another box goes on with what is on the client's map already.
	e, known := c.Value(exitsKey{}).(*exits)
	if !known {
		e = &exits{Limit: g.cfg.MaxExits}
		c.SetValue(exitsKey{}, e)
	}
	c.SetFilter("BBOX", g.boxedWithExits(b, e))
	return nil
}

// exitsKey is what a connection keeps its Exits by.
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
		// It keeps its place: a box that came behind it is on the map that is next.
		c.SetFilter("PROJECTION", func(m *gateway.Message) *gateway.Message { return m })
	}
	return nil
}

// projectionKey is what a connection that was ever projected keeps that by.
type projectionKey struct{}

// pget is the command PGET: GET, in a projection for this once. The filters of
// the connection decide as ever, and in their own projection.
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

// lookup returns the projection of a code; nil: that of what is published.
func (g *Geo) lookup(code string) (Projector, error) {
	n, err := parseEPSG(code)
	if err != nil {
		return nil, told(err)
	}
	if n == degrees {
		return nil, nil
	}
	find := Lookup
	if g.cfg.StrictAxes {
		find = lookupStrict
	}
	p, err := find(n)
	if err != nil {
		return nil, told(err)
	}
	return p, nil
}

// told makes an error of ours one for the client.
func told(err error) error {
	return gateway.Errorf(gateway.CodeBadCommand, "%s", strings.TrimPrefix(err.Error(), "geo: "))
}
