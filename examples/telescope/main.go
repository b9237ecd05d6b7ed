// Telescope serves the keywords of a simulated stage and dome, and has an observer that
// moves, watches and waits for them:
//
//	go run ./examples/telescope           # both, on a Redis inside the process; ends
//
//	export REDIS_URL=redis://localhost:6379/0
//	go run ./examples/telescope           # the stage and the dome, until Ctrl-C
//	go run ./examples/telescope observe   # in another terminal: the observer; ends
//	go run ./examples/telescope archive positions.txt   # records every position of the stage
//
// keywords.go defines the keywords. stage.go and dome.go serve them; observe.go and
// archive.go use them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: telescope [observe | archive FILE]\nServes the keywords of a stage and a dome on the Redis of REDIS_URL, observes with them, or appends every position of the stage to FILE. Without REDIS_URL it serves and observes, on a Redis inside the process.")
	}
	flag.Parse()
	url := os.Getenv("REDIS_URL")
	switch args := flag.Args(); {
	case len(args) == 0, len(args) == 1 && args[0] == "observe":
	case len(args) == 2 && args[0] == "archive" && url != "":
	default:
		flag.Usage()
		os.Exit(2)
	}
	logging.Disable() // go-redis logs every failed dial; errors are returned anyway
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, url, flag.Args()...)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "telescope:", err)
		os.Exit(1)
	}
}

// run is the program: serve, observe, archive or, without a URL, the first two.
func run(ctx context.Context, out io.Writer, url string, args ...string) error {
	if url == "" {
		cfg, stop, err := embedded.Start()
		if err != nil {
			return err
		}
		defer stop()
		return with(ctx, cfg, func(pool *storage.Pool) error { return both(ctx, pool, out) })
	}
	return with(ctx, storage.Config{URL: url}, func(pool *storage.Pool) error {
		switch len(args) {
		case 1:
			return interrupted(ctx, observe(ctx, pool, out))
		case 2:
			return archive(ctx, pool, out, args[1])
		}
		return serve(ctx, pool, func() { fmt.Fprintln(out, "the stage and the dome are ready") })
	})
}

// with calls do with a pool, once Redis answers.
func with(ctx context.Context, cfg storage.Config, do func(*storage.Pool) error) error {
	pool, err := storage.Open(cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	ping, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := pool.Ping(ping); err != nil {
		return interrupted(ctx, fmt.Errorf("REDIS_URL: %w", err))
	}
	return do(pool)
}

// both serves while it observes.
func both(ctx context.Context, pool *storage.Pool, out io.Writer) error {
	serving, stop := context.WithCancel(ctx)
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- serve(serving, pool, func() { close(ready) }) }()
	var err error
	select {
	case <-ready:
		err = interrupted(ctx, observe(ctx, pool, out))
	case <-ctx.Done():
		err = interrupted(ctx, ctx.Err())
	case err = <-served:
		served <- nil
	}
	stop()
	return errors.Join(err, <-served)
}

// serve runs all dispatchers until ctx or one of them ends.
func serve(ctx context.Context, pool *storage.Pool, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []*keywords.Dispatcher
	for _, make := range []func(*storage.Pool) ([]*keywords.Dispatcher, error){newStage, newDome} {
		some, err := make(pool)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	ended := make(chan error)
	for _, d := range all {
		go func() {
			err := d.Run(ctx)
			cancel()
			ended <- err
		}()
	}
	up := true
	for _, d := range all {
		select {
		case <-d.Ready():
		case <-ctx.Done():
			up = false
		}
	}
	if up {
		ready()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// interrupted returns err, or after Ctrl-C a plain "interrupted".
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
