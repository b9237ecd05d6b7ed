// Package gateway is an endpoint for WebSockets and server-sent events by which browsers
// read Redis hashes and follow Redis channels, as far as the host allows it.
//
//	h, err := gateway.New(pool, gateway.Config{
//		Channels: []gateway.Channel{{Pattern: "trains.*"}},
//		Keys:     []string{"trains.*"},
//	})
//	mux.Handle("/ws", h)
//	…
//	err = h.Shutdown(ctx)
//
// In the browser:
//
//	ws = new WebSocket("wss://example.org/ws")
//	ws.send("GET trains.regional")   // the values of a hash
//	ws.send("SUB trains.regional")   // every message from now on
//	ws.onmessage = e => JSON.parse(e.data)
//	// {"source": "trains.regional", "content": …, "timestamp": …, "client_reference": null}
//
//	new EventSource("/ws?sub=trains.regional")   // the same for a page that only follows
//
// # Guarantees for clients
//
//   - After a SUB has been carried out, the client gets what is published on the
//     channel, in the order of Redis. Where messages may have been lost, it gets a
//     status gap.
//   - SUB channel snapshot=1 sends the hash of the same name, then what is published
//     after the hash was read: nothing is missing between the two, and nothing comes
//     twice that was published in the same MULTI or script as its HSET.
//   - SUB channel since=offset resumes, on a channel with a History: either all missed
//     messages follow, with recovered true, or none, with recovered false. An offset is
//     safe to store when it comes: all messages after it are still to come.
//   - A bad command, a bad value in Redis, a key of another type or an unreachable Redis
//     is answered by an error with a fixed code. It does not end the connection.
//   - A client that reads too slowly is handled by Channel.Slow and does not delay other
//     clients.
//
// # Guarantees for hosts
//
//   - Nothing is allowed unless Config.Channels, Config.Keys or Config.Allow allows it.
//     Clients name channels and keys literally: no pattern of theirs reaches Redis, and
//     no name that begins with __. No * allows the keys and channels of this module.
//   - Origin, capacity and Config.Authenticate are checked before the upgrade or the event
//     stream, and before anything is read from the socket.
//   - Every limit has a name in [Limits], a default, and a counter in [Stats].
//   - Each channel is subscribed to once in Redis. Each message is in memory once, and is
//     decoded, filtered and framed once for all clients that get the same bytes.
//   - Clients that come at once share one read of a snapshot. See Limits.SnapshotAge.
//   - A panic in a hook, command or filter ends that connection only. In Protocol.Append
//     it loses one frame, in Source.Follow one subscription.
//   - [Handler.Shutdown] spreads the closing of connections over the time that it is
//     given, and tells each client when to reconnect.
//
// # Tasks
//
//   - To serve WebSockets and event streams, see [New]; to stop, [Handler.Shutdown] and [Handler.Close].
//   - To choose what clients may read and follow, see [Config].Channels, Keys and Allow.
//   - To know the user, see [Config].Authenticate and Refresh, [Conn.Principal],
//     [Conn.SetPrincipal] and [Handler.Disconnect].
//   - To admit pages of other sites, see [Config].Origins.
//   - To bound what a client may cost, see [Limits] and [Conn.Charge].
//   - To choose what happens to slow clients, see [Channel].Slow and Key.
//   - To let clients resume, see [Channel].History; to get the last messages, Rewind; to
//     list followers, Presence; to tell clients who comes and goes, Joins.
//   - To add a command, see [Command], [Get], [Conn.Reply] and [Errorf].
//   - To withhold or change messages for one connection, see [Conn.SetFilter],
//     [Message.With] and [Message.Memo].
//   - To see or change what passes, for all connections, see [Hooks].
//   - To send from the server, see [Broadcast], [Handler.Conns] and [Conn.Send].
//   - To disconnect, subscribe or send to a user from any process, see [Remote].
//   - To make a client follow a channel, see [Conn.Subscribe] and [Conn.Unsubscribe]; to
//     see all messages of a channel on the server, [Config].Follow.
//   - To change the format of commands and messages, see [Protocol]: [Text], [JSON] and
//     [Plain] are built in.
//   - To get publications from elsewhere than Redis, see [Source].
//   - To watch the handler, see [Handler.Stats].
//   - For maps, see package gateway/geo; for groups of clients, gateway/fws; to sign in by
//     JSON Web Tokens, gateway/jwt; for a client in JavaScript, gateway/client;
//     for browsers that call workers and set keywords, gateway/control.
//
// README.md has the protocols exactly, close codes, the rights that Redis must grant, and
// figures.
package gateway
