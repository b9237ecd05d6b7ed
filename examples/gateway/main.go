// Gateway lets browsers read the hashes of a Redis and follow its channels:
//
//	go run ./examples/gateway [-redis URL -channels 'trains,[a-c]*']
//
// It serves a WebSocket at ws://localhost:8765, and a page to try it at
// http://localhost:8765. Without -redis, Redis runs inside the process, with a few
// trains and a clock to look at. -h lists the flags: those of filtered_websocket's
// fws_server, and some more. Clients of filtered_websocket and of redis_websocket_api
// can use it unchanged.
//
// Read server/server.go: it does what a program with its own gateway does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"github.com/heliograph/heliograph/examples/gateway/server"
)

func main() {
	logging.Disable() // go-redis logs every failed dial; errors that matter are returned
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(server.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
