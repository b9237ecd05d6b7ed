package geo_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/geo"
)

func Example() {
	pool := examplePool()
	defer pool.Close()

	g, err := geo.New(geo.Config{})
	if err != nil {
		panic(err)
	}
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "trains"}},
		Commands: g.Commands(),
	})
	if err != nil {
		panic(err)
	}
	next, done := exampleBrowser(h, "PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000", "SUB trains ack=1")
	defer done()

	for _, at := range []string{"[15, 5]", "[5, 90]", "[8.5, 5, 420.50]"} {
		pool.Redis().Publish(context.Background(), "trains", `{"type": "Point", "coordinates": `+at+`}`)
	}
	fmt.Printf("%.44s…\n", next())
	s := g.Stats()
	fmt.Println(s.Withheld, "was not in the box,", s.Dropped, "is not on the map")
	// Output:
	// {"type": "Point", "coordinates": [946215.671…
	// 1 was not in the box, 1 is not on the map
}

func ExampleLookup() {
	p, err := geo.Lookup(2056)
	if err != nil {
		panic(err)
	}
	x, y := p.Forward(7.4386, 46.9511)
	fmt.Printf("%.0f %.0f\n", x, y)
	lon, lat := p.Inverse(x, y)
	fmt.Printf("%.4f %.4f\n", lon, lat)

	_, err = geo.Lookup(2057)
	fmt.Println(errors.Is(err, geo.ErrUnknownEPSG), err)
	// Output:
	// 2599998 1200002
	// 7.4386 46.9511
	// true geo: no projection of that code: epsg:2057
}

// platteCarree draws degrees as metres along the equator.
type platteCarree struct{}

const metre = 180 / 20037508.342789244

func (platteCarree) Forward(lon, lat float64) (x, y float64) { return lon / metre, lat / metre }
func (platteCarree) Inverse(x, y float64) (lon, lat float64) { return x * metre, y * metre }

func ExampleRegister() {
	geo.Register(32662, platteCarree{})
	p, err := geo.Lookup(32662)
	if err != nil {
		panic(err)
	}
	x, y := p.Forward(90, 45)
	fmt.Printf("%.2f %.2f\n", x, y)
	// Output: 10018754.17 5009377.09
}

// A feature that leaves the box is announced, so that the browser can remove it. The
// features have no "id", but a member of their properties that identifies them.
func ExampleConfig() {
	pool := examplePool()
	defer pool.Close()

	g, err := geo.New(geo.Config{IDProperty: "number"})
	if err != nil {
		panic(err)
	}
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "trains"}},
		Commands: g.Commands(),
	})
	if err != nil {
		panic(err)
	}
	next, done := exampleBrowser(h, "BBOX 0 0 10 10 exit=1", "SUB trains ack=1")
	defer done()

	for _, at := range []string{"[5,5]", "[15,5]", "[20,5]", "[6,6]"} {
		pool.Redis().Publish(context.Background(), "trains",
			`{"type":"Feature","properties":{"number":7},"geometry":{"type":"Point","coordinates":`+at+`}}`)
	}
	for range 3 {
		fmt.Println(next())
	}
	// Output:
	// {"type":"Feature","properties":{"number":7},"geometry":{"type":"Point","coordinates":[5,5]}}
	// {"type":"Feature","id":7,"geometry":null}
	// {"type":"Feature","properties":{"number":7},"geometry":{"type":"Point","coordinates":[6,6]}}
}

// The national grid of Germany, which Debian's proj-data has, in place of a shift that is
// metres off.
func ExampleGrid() {
	err := geo.Grid(os.DirFS("/nonexistent"), "BETA2007.gsb", 31466, 31467, 31468, 31469)
	fmt.Println(err != nil, errors.Is(err, fs.ErrNotExist))
	// Output: true true
}
