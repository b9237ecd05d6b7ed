// Package geo sends each browser the part of a map that it looks at, in the projection
// that it draws: commands and filters for a gateway, over messages in GeoJSON.
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
// # Guarantees
//
//   - The two filters run in the order in which they were first set: after PROJECTION,
//     BBOX is in the units of that map; before it, in degrees. PROJECTION epsg:4326 ends
//     the projection and keeps its place; BBOX without arguments does not.
//   - PGET projects what it sends only: BBOX applies as if it were GET.
//   - A message is in a box if one of its vertices is strictly inside. As in
//     redis_websocket_api, a line that only crosses the box is not; with intersects=1 it
//     is. A FeatureCollection passes as a whole, if any of its features does.
//   - Projecting changes the first two numbers of each position. All other bytes stay:
//     heights, members that GeoJSON doesn't define, long numbers, order and spaces.
//   - What isn't GeoJSON, or is nested deeper than 128, passes to everyone unchanged.
//     So does a Feature whose geometry is null: it may say that something has gone.
//   - NaN and infinity are never sent: a feature with a position that the projection
//     can't represent is dropped, and counted in [Stats].
//   - With exit=1, a feature that was sent and is no longer in the box is announced by
//     one whose geometry is null, when a message about it comes. One that moves to where
//     the projection can't represent it is not announced.
//   - A wrong command is answered by an error, and what was set before stays.
//
// # Tasks
//
//   - To add the commands to a gateway, see [New] and [Geo.Commands].
//   - To identify features by a property, see [Config].IDProperty.
//   - To send north before east where the authority says so, see [Config].StrictAxes.
//   - To project in Go, see [Lookup].
//   - To add a projection or replace one, see [Register]; to take the datum shift from a
//     national grid, [Grid].
//   - To limit the projections that clients may ask for, see [Config].Codes.
//   - To count what was dropped and withheld, see [Geo.Stats].
//
// README.md has the commands exactly, the projections with their accuracy, and figures.
package geo
