// Package server is the stand-alone gateway, for the program examples/gateway and
// other programs that have it as a command.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// Main runs a gateway until ctx ends, and returns the exit status: 2 if the arguments
// are wrong, 1 after another error. Filters print to stdout, everything else goes to
// stderr.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o Options
	err := o.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stderr, "usage: gateway [flags]\nA WebSocket gateway to the hashes and channels of a Redis.")
		Options{}.Help(stderr)
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "gateway:", err)
		return 2
	}
	if err := o.Serve(ctx, nil, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "gateway:", strings.TrimPrefix(err.Error(), "gateway: "))
		return 1
	}
	return 0
}

// Serve serves until ctx ends, then closes all connections. Without a pool it opens
// one: on the Redis that the flags name, on that of $REDIS_URL, or on one inside the
// process.
func (o Options) Serve(ctx context.Context, pool *storage.Pool, stdout, stderr io.Writer) error {
	o.complete(pool != nil)
	if pool == nil {
		var err error
		if pool, err = o.open(ctx); err != nil {
			return err
		}
		defer pool.Close()
	}
	cfg, err := o.gateway(pool, stdout)
	if err != nil {
		return err
	}
	h, err := gateway.New(pool, cfg)
	if err != nil {
		return err
	}
	var worker *bus.Worker
	if !o.memory && o.Site != "" {
		if worker, err = o.worker(pool, h); err != nil {
			return err
		}
	}
	listener, scheme, err := o.listen()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	p := page{gateway: h, Plain: o.plain()}
	if o.memory {
		if !p.Plain {
			p.Follow = o.readable(feedNames)
		}
		beside.Go(func() { feed(ctx, pool) })
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	if len(o.channels) == 0 && !p.Plain {
		fmt.Fprintln(stderr, "gateway: clients may read nothing: -channels says what they may")
	}
	fmt.Fprintf(stderr, "gateway: %s, and a page at %s\n", o.url("ws"+scheme, listener), o.url("http"+scheme, listener))
	if worker != nil {
		beside.Go(func() {
			if err := worker.Run(ctx); err != nil { // a gateway goes on where it may only read Redis
				fmt.Fprintln(stderr, "gateway: not registered as a worker, statistics are not available:", err)
			}
		})
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return o.shutdown(srv, h)
	}
}

// shutdown closes all connections, within ShutdownTimeout.
func (o Options) shutdown(srv *http.Server, h *gateway.Handler) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.ShutdownTimeout)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) { // srv does not know of WebSockets
		return err
	}
	return srv.Close() // browsers keep idle connections open
}

// gateway returns the configuration of the handler.
func (o Options) gateway(pool *storage.Pool, stdout io.Writer) (gateway.Config, error) {
	hooks, err := o.hooks(pool, stdout)
	if err != nil {
		return gateway.Config{}, err
	}
	places, err := geo.New(geo.Config{IDProperty: o.geoID, StrictAxes: o.strictAxes})
	if err != nil {
		return gateway.Config{}, err
	}
	cfg := gateway.Config{
		Keys:     o.channels,
		Hooks:    hooks,
		Commands: places.Commands(), // BBOX, PROJECTION, PGET
		Limits:   gateway.Limits{Idle: time.Duration(o.readTimeout), Lifetime: time.Duration(o.keepAlive)},
	}
	for _, pattern := range o.channels {
		cfg.Channels = append(cfg.Channels, gateway.Channel{Pattern: pattern})
	}
	if o.consumes() {
		cfg.Follow = o.redisChannels
	}
	if o.plain() {
		cfg.Protocols = []gateway.Protocol{gateway.Plain}
	}
	if cfg.InsecureAnyOrigin = slices.Equal(o.origins, list{"*"}); !cfg.InsecureAnyOrigin {
		cfg.Origins = o.origins
	}
	return cfg, nil
}

// open returns a pool on the Redis that the options name, or on one inside the
// process.
func (o Options) open(ctx context.Context) (*storage.Pool, error) {
	if !o.memory {
		pool, err := storage.Open(storage.Config{URL: o.redis, Prefix: o.Prefix})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := pool.Ping(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("no Redis: %w", err), pool.Close())
		}
		return pool, nil
	}
	return embedded.Open(storage.Config{Prefix: o.Prefix})
}

// listen returns the listener, and "s" if it has TLS: the end of the schemes of its
// URLs.
func (o Options) listen() (l net.Listener, scheme string, err error) {
	var cfg *tls.Config
	if o.cert != "" {
		cert, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, "", fmt.Errorf("-cert, -key: %w", err)
		}
		cfg = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	if l, err = net.Listen("tcp", net.JoinHostPort(o.host, strconv.Itoa(o.port))); err != nil {
		return nil, "", err
	}
	if cfg != nil {
		return tls.NewListener(l, cfg), "s", nil
	}
	return l, "", nil
}

// url returns the URL of the server, with the port that it listens on.
func (o Options) url(scheme string, l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	host := o.host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
