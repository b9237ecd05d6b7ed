// Package heliograph is a house of Redis messaging primitives: stations
// signalling by flashes of a mirror, one of which calls and is answered, one
// watches a dial, and many listen.
//
// There is nothing to import here. The rooms are
//
//   - [github.com/heliograph/heliograph/storage]: the connection pool that all
//     others are built on, codecs, and small shared objects;
//   - [github.com/heliograph/heliograph/bus]: workers, and calls to them;
//   - [github.com/heliograph/heliograph/pubsub]: typed publish and subscribe;
//   - [github.com/heliograph/heliograph/keywords]: named, typed values that one
//     process serves and all set, watch and wait for;
//   - [github.com/heliograph/heliograph/gateway]: hashes and channels for
//     browsers, over WebSockets;
//   - [github.com/heliograph/heliograph/gateway/geo]: maps in them, by box and
//     projection;
//   - [github.com/heliograph/heliograph/storage/embedded]: a Redis inside the
//     process, for development;
//   - [github.com/heliograph/heliograph/storage/storagetest]: Redis for tests.
//
// To see calls spread over workers, run go run ./examples/quickstart, and to see
// keywords set, watched and waited for, go run ./examples/telescope. What the
// gateway shows is at http://localhost:8765 with go run ./examples/gateway.
package heliograph
