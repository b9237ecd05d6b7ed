// Rig breaks real servers while calls and messages flow, and says which promises held.
//
//	go run ./examples/rig                       # one redis-server, a fault every 1.5 s for a minute
//	go run ./examples/rig -on sentinel          # three servers and three sentinels
//	go run ./examples/rig -on cluster           # six servers
//	go run ./examples/rig -soak 1h              # one CLIENT KILL a minute, and a line a minute
//
// Workers are processes of their own, which are killed and stopped. On one server Redis is
// killed and comes back empty, and connections are cut; with Sentinel and on a cluster
// primaries are killed, stopped for 8 seconds, and with Sentinel replaced as planned. The
// rig prints a table of promises, what it has observed, and a verdict, and exits with
// status 1 if a promise was broken. It needs redis-server on the PATH.
package main
