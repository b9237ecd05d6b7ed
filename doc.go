// Package heliograph is the root of a module of Redis messaging primitives. A
// heliograph is a mirror that signals by flashes of the sun.
//
// There is nothing to import here. The packages are
//
//   - [github.com/heliograph/heliograph/storage]: the connection pool that all
//     others are built on, codecs, and small shared objects;
//   - [github.com/heliograph/heliograph/bus]: workers, and typed calls to them;
//   - [github.com/heliograph/heliograph/bus/jobs]: durable jobs, run by workers of bus;
//   - [github.com/heliograph/heliograph/pubsub]: typed publish and subscribe;
//   - [github.com/heliograph/heliograph/keywords]: named, typed values that one
//     process serves and others set, watch and wait for;
//   - [github.com/heliograph/heliograph/gateway]: a WebSocket handler by which
//     browsers read hashes and follow channels;
//   - [github.com/heliograph/heliograph/gateway/geo]: GeoJSON in the gateway, by
//     box and projection;
//   - [github.com/heliograph/heliograph/storage/embedded]: a Redis inside the
//     process, for development;
//   - [github.com/heliograph/heliograph/storage/storagetest]: Redis for tests.
//
// go run ./examples/quickstart spreads calls over workers, go run
// ./examples/telescope sets, watches and waits for keywords, and go run
// ./examples/gateway serves the gateway at http://localhost:8765.
package heliograph
