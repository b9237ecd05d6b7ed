package geo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	code, err := geo.ParseEPSG("epsg:2056")
	if err != nil {
		panic(err)
	}
	p, err := geo.Lookup(code)
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

// In the order of the authority, degrees are latitude first.
func ExampleLookupStrict() {
	p, err := geo.LookupStrict(4258)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Forward(7.4386, 46.9511))
	// Output: 46.9511 7.4386
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

func ExampleRead() {
	d := geo.Read([]byte(`{"id": 9007199254740993, "geometry": {"coordinates": [0.1, 3.5, 420.50], "type": "Point"}, "type": "Feature"}`))
	p, err := geo.Lookup(2154)
	if err != nil {
		panic(err)
	}
	projected, dropped := d.Project(p)
	fmt.Printf("%d of %d features are on the map\n", d.Features()-dropped, d.Features())
	begin, end, _ := strings.Cut(string(projected.Raw()), ", 420")
	fmt.Printf("%.64s… 420%s\n", begin, end)

	box, err := geo.ParseBox([]string{"-1", "-1", "1", "5"}, geo.BoxOptions{Intersects: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(box.Passes(d))
	// Output:
	// 1 of 1 features are on the map
	// {"id": 9007199254740993, "geometry": {"coordinates": [287008.094… 420.50], "type": "Point"}, "type": "Feature"}
	// true
}

func ExampleExits() {
	box := geo.Box{Left: 0, Bottom: 0, Right: 10, Top: 10}
	exits := geo.Exits{Limit: 1000}
	for _, at := range []string{"[5,5]", "[15,5]", "[20,5]"} {
		d := geo.Read([]byte(`{"type":"Feature","properties":{"n":7},"geometry":{"type":"Point","coordinates":`+at+`}}`), geo.ReadOptions{IDProperty: "n"})
		passes, gone := exits.Passes("trains", box, d)
		fmt.Printf("%v %q\n", passes, gone)
	}
	now, forgotten := exits.Remembered()
	fmt.Println(now, forgotten)
	// Output:
	// true ""
	// false "{\"type\":\"Feature\",\"id\":7,\"geometry\":null}"
	// false ""
	// 0 0
}
