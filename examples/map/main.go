// Map is a map in a browser on which trains, boats and planes move, each a GeoJSON
// Feature that is published to Redis twice a second:
//
//	go run ./examples/map [-port 8080] [-objects 300]
//
// The page tells the gateway which box it looks at and in which projection it
// draws, and gets only that, projected. Pan, zoom, choose another projection, and
// see what the box saves. The Redis is that of REDIS_URL or, if that is not set, one
// inside the process.
//
// Read serve for the gateway, feed.go for the side that publishes, and map.js for
// the side of the browser.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/heliograph/heliograph/gateway"
	js "github.com/heliograph/heliograph/gateway/client"
	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// maxObjects fit into the snapshot of a hash: Limits.Bytes is 1 MiB by default.
const maxObjects = 4000

func main() {
	port := flag.Int("port", 8080, "`number` of the port on localhost; 0: any that is free")
	objects := flag.Int("objects", 300, fmt.Sprintf("how `many` move on the map, up to %d", maxObjects))
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	logging.Disable() // go-redis logs every failed dial; errors that matter are returned
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stderr, *port, *objects); err != nil {
		fmt.Fprintln(os.Stderr, "map:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, port, objects int) error {
	if objects < 1 || objects > maxObjects {
		return fmt.Errorf("-objects: %d; want 1 to %d", objects, maxObjects)
	}
	if port < 0 || port > 65535 {
		return fmt.Errorf("-port: %d; want 0 to 65535", port)
	}
	pool, err := open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("-port: %w", err)
	}
	fmt.Fprintf(out, "map: http://%s\n", listener.Addr())
	return serve(ctx, out, pool, listener, objects)
}

// serve serves the map until ctx ends.
func serve(ctx context.Context, out io.Writer, pool *storage.Pool, listener net.Listener, objects int) error {
	defer listener.Close()
	g, err := geo.New(geo.Config{})
	if err != nil {
		return err
	}
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{ // a slow page gets the newest position of each object
			{Pattern: objectsName, Slow: gateway.SlowConflate, Key: idOf},
			{Pattern: statsName, Slow: gateway.SlowConflate},
		},
		Keys:     []string{groundName, objectsName, statsName},
		Commands: g.Commands(),
	})
	if err != nil {
		return err
	}
	f, err := newFeed(pool, objects)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	mux.Handle("/heliograph.js", js.Handler())
	mux.Handle("/", page())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() {
		f.run(ctx, func(err error) { fmt.Fprintln(out, "map: Redis:", err) })
	})
	ended := make(chan error, 1)
	running.Go(func() { ended <- srv.Serve(listener) })
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	stop()
	shutdown(h, srv)
	running.Wait()
	return err
}

// grace is how long closing all connections may take.
const grace = 2 * time.Second

// shutdown tells the pages to reconnect, and ends the server.
func shutdown(h *gateway.Handler, srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = h.Shutdown(ctx) // at the end of ctx the rest is cut off
	_ = srv.Close()     // browsers keep idle connections open
}

// open returns a pool on the Redis of REDIS_URL, or on one inside the process.
func open(ctx context.Context) (*storage.Pool, error) {
	if url := os.Getenv("REDIS_URL"); url != "" {
		pool, err := storage.Open(storage.Config{URL: url, Prefix: prefix})
		if err != nil {
			return nil, fmt.Errorf("REDIS_URL: %w", err)
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := pool.Ping(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("REDIS_URL: %w", err), pool.Close())
		}
		return pool, nil
	}
	return embedded.Open(storage.Config{Prefix: prefix})
}

// prefix separates the keys of the map from others in the Redis.
const prefix = "map"
