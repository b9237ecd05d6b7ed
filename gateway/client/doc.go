// Package client serves heliograph.js, a JavaScript module by which pages, and programs in
// Node, use a gateway.
//
//	mux.Handle("/ws", h) // a *gateway.Handler
//	mux.Handle("/heliograph.js", client.Handler())
//
// In the page:
//
//	import { connect } from "/heliograph.js"
//
//	const h = connect("/ws")
//	for await (const m of h.subscribe("trains", { snapshot: true })) {
//		draw(m.content)
//	}
//
// # Guarantees
//
//   - A connection that ends is opened again, after a delay that grows and is random, or
//     after the time that the server says. Close codes that forbid it are obeyed.
//   - Subscriptions go on in the new connection: after the last offset on a channel with a
//     history, with a new snapshot if they have one, or else from then on. Messages are
//     never doubled, and keep their order.
//   - Where messages may have been lost, the next message has gap, and the connection emits
//     the event gap.
//   - A command ends with its answer or a HeliographError that has a code. GET and WHO are
//     sent again if the connection ends before the answer. PUB and commands of the host's
//     are not: they end with the code disconnected.
//   - Every wait has an end, every queue a limit: ConnectOptions.timeout and maxPending,
//     SubscribeOptions.queueBytes.
//   - A connection by which nothing comes any more is found within twice
//     ConnectOptions.ping, and opened again.
//   - A token is asked for before each attempt. A JSON Web Token is replaced before it
//     expires.
//   - Where WebSockets can't be opened, channels are read by event streams.
//
// # Tasks
//
//   - To serve the module and its types, see [Handler].
//   - For what the module exports, see heliograph.d.ts beside this file.
//   - To use it in a bundler, take the folder as a package of npm: package.json is there.
//   - To sign in, see package gateway/jwt.
//
// The module speaks the protocol heliograph.json.v1, which the README.md of package
// gateway describes, has no dependencies, and is sent in less than 6 KB.
package client
