// Package geo shows each browser the part of a map that it looks at, in the
// projection that it draws: three commands for a gateway, over GeoJSON.
//
//	g, err := geo.New(geo.Config{})
//	h, err := gateway.New(pool, gateway.Config{Commands: g.Commands(), …})
//
// In the browser:
//
//	ws.send("PROJECTION epsg:3857")            // from now on in web Mercator
//	ws.send("BBOX 700000 5700000 1200000 6100000 exit=1")
//	ws.send("SUB trains")                      // only those in the box, in metres
//
// # The commands
//
//	BBOX left bottom right top   only what is in the box; BBOX alone: everything again
//	PROJECTION epsg:code         coordinates in that projection; epsg:4326: as published
//	PGET key [ref] [client_ref]  GET, in another projection for once: projection=epsg:code
//
// BBOX has the options intersects=1, antimeridian=1, which are those of
// BBOX below, and exit=1, see below. A command that is wrong is
// answered by an error of code bad_command, and what was set before stays.
//
// # What a client may rely on
//
//   - The filters run in the order in which they were first set. After PROJECTION,
//     BBOX is in the units of that map; before it, in degrees. PGET does not change
//     that: its projection is for what is sent, not for the box. PROJECTION keeps
//     its place when epsg:4326 ends it; BBOX does not.
//   - A message is in a box when a vertex of it is, and not just on the edge: as in
//     redis_websocket_api, a line that only crosses the box is not. A FeatureCollection
//     passes as a whole, if any of its features does.
//   - Of a message that is projected, only the first two numbers of each position
//     change. All other bytes are kept: heights, members that GeoJSON does not know,
//     numbers of any length, order and spaces.
//   - What isn't GeoJSON, or is nested deeper than 128, is nobody's to filter: it
//     is sent as it is, to all. So is a Feature whose geometry is null: it may say
//     that something is gone.
//   - A number that JSON can't write is never sent: a feature with a position that
//     the projection has no image of is dropped, and counted in [Stats].
//   - With exit=1 a feature that was sent, and is not in the box any more, is
//     announced by one with a geometry of null. An id belongs to its channel, and to
//     the hash of the same name. It takes a message about the feature
//     to find that out: what a client moves its box away from, it drops by itself.
//     One that jumps where the projection has no image is not announced.
//
// # Projections
//
// Forward and inverse, in Go alone:
//
//	4326 4258              degrees
//	3857 900913 3395       Mercator, of the web and of the world
//	32601–32660 32701–32760 25828–25838   UTM
//	3035                   Europe
//	31254–31259 31284–31287  Austria      2154 3942–3950  France
//	31370                  Belgium        31466–31469     Germany
//	5514                   Czechia, Slovakia    27700     Great Britain
//	28992                  the Netherlands      2180      Poland
//	3006                   Sweden         21781 2056      Switzerland
//
// They are what PROJ 9.1.1 computes from EPSG:4326 without grids: testdata has 30
// places for each code, and the script that asked PROJ. The largest difference is
// a micrometre; over the area of use the way back is exact to 1e-9 degrees, but
// where two shifts of the datum meet, in 31466–31469 and 5514: there it may take the
// other, metres away. Hundreds of kilometres around that area the two agree as well,
// but for 5514, and for 27700: at the rim of its area PROJ leaves the datum out, and
// jumps by 100 m and more, where this goes on.
//
// Without grids means that other datums are reached by the Helmert transformation
// that PROJ prefers from EPSG:4326 to the code, which for some codes depends on the
// place. The national surveys' grids differ from it by up to 2 m in Great Britain
// and Germany. ETRS89 counts as WGS 84. Who needs more plugs PROJ itself, by
// [Register]. All of this is for maps, not for the cadastre.
//
// Axes are x east and y north unless Config.StrictAxes says otherwise. Longitudes
// may go past the date line; what lies beyond the Earth, or so far from the map that
// its formulas fail, is NaN.
//
// # How fast it is
//
// Each message is read once, projected once for each projection that somebody on the
// channel has chosen, and framed once for each. For another client there is left to
// compare its box with numbers. On one of two shared cores, for a line of 38 points
// in 1 KB:
//
//	read                                            5.5 µs
//	project to 3857, 32632, 2056                    7.6 µs, 14.7 µs, 17.2 µs
//	box in which only the last point is; far from it  34 ns; 6 ns
//	all of it for 1,000 clients in three projections  69 ns for each client
//	one point to 3857, 32632, 2056                  32 ns, 212 ns, 287 ns
//
// 1,000 sockets get the line, projected and boxed, in 1.09 times the time that it
// takes to send it to 1,000 as it is, taking turns, and with the sockets' other ends
// in the same process (the median of five runs; 1.03 to 1.12). It is longer then, by
// half: a coordinate in metres has up to 18 digits.
//
//	go test -run '^$' -bench . ./gateway/geo
package geo
