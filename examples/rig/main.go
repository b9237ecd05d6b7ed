package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if config := os.Getenv(workerConfig); config != "" {
		exit(workerMain(config))
	}
	var o options
	flag.StringVar(&o.on, "on", "standalone", "`deployment`: standalone, sentinel or cluster")
	flag.DurationVar(&o.lasts, "for", time.Minute, "how long faults are made")
	flag.DurationVar(&o.soak, "soak", 0, "run for so long with one CLIENT KILL in each -every, in place of the faults")
	flag.DurationVar(&o.every, "every", time.Minute, "time between two lines of a soak")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(start(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are those of the command line.
type options struct {
	on                 string
	lasts, soak, every time.Duration
}

// start runs the rig, whose servers end with it, and returns an error if a promise was
// broken.
func start(ctx context.Context, o options, out io.Writer) (err error) {
	h := &host{}
	defer h.end()
	defer func() {
		if failure, failed := recover().(hostFailure); failed {
			err = failure
		}
	}()
	d, err := deploy(h, o.on)
	if err != nil {
		return err
	}
	r, err := newRig(ctx, h, d)
	if err != nil {
		return err
	}
	if o.soak > 0 {
		err = r.soak(ctx, o, out)
	} else {
		err = r.cycle(ctx, o.lasts)
	}
	if err != nil {
		return err
	}
	return r.report(out)
}
