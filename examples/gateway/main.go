// Gateway lets browsers read the hashes of a Redis and follow its channels:
//
//	go run ./examples/gateway [-redis URL -channels 'trains,[a-c]*']
//
// It serves a WebSocket at ws://localhost:8765 and, to a browser that comes
// without one, a page to talk to it. Without a Redis it brings one inside the
// process, with a few trains and a clock to look at. -h tells the flags: they are
// those of filtered_websocket's fws_server, and some more; its filters and the
// protocol of redis_websocket_api are served as their clients expect.
//
// Read server/server.go: it is what a program with a gateway of its own does.
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
	logging.Disable() // go-redis would tell of every dial that fails; what matters is returned
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(server.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
