// Package fws has the filters and groups of filtered_websocket, as hooks for a
// gateway: clients that send messages to each other, without commands.
//
//	groups, err := fws.NewGroups(pool, fws.GroupsConfig{Tokens: true})
//	h, err := gateway.New(pool, gateway.Config{
//		Protocols: []gateway.Protocol{gateway.Plain},
//		Hooks:     []gateway.Hooks{groups.Hooks()},
//	})
//	mux.Handle("/ws", h)
//
// In the browser:
//
//	ws.send("token:tuesday")   // joins the group tuesday
//	ws.send("good morning")    // every other member gets "good morning"
//
// # Guarantees
//
//   - A connection is in at most one group, which it leaves when it joins another, or in
//     as many as GroupsConfig.PerConn allows. It leaves them when it ends.
//   - A group spans all processes that use the same Redis and GroupsConfig.Name.
//   - All members get the broadcasts of a group in the same order, each at most once.
//     A client that joins while a broadcast is on its way, or whose process is
//     disconnected from Redis, may miss it. The process logs that.
//   - The members of a process that has died are gone when its lease ends.
//   - After Redis has lost its data, members are back within a third of a lease.
//
// # Tasks
//
//   - To let clients choose their group, see [GroupsConfig].Tokens.
//   - To put connections into groups yourself, see [Groups.Join] and [Groups.Leave].
//   - To send to a group from the server, see [Groups.Broadcast].
//   - To see who is in a group, see [Groups.Members] and [Groups.GroupsOf].
//   - To send every message to every client, see [BroadcastMessages].
//   - To make every client follow channels, see [BroadcastPublications].
//   - To share sets of strings between hooks, see [Storage] and [StorageOf].
//   - To print what passes, see [PrintRaw], [PrintMessages] and [PrintPublications].
//
// README.md has the keys in Redis, the format of broadcasts, and a table for
// users of filtered_websocket.
package fws
