// Tail prints the last lines of log files and follows them, with workers that stream
// them over Redis:
//
//	go run ./examples/tail [-n LINES] [-f] FILE...
//
// Each file has its own worker, as each machine of a cluster would. A gather asks all
// workers for the size of their files. Then one stream from each worker brings the
// lines, no faster than they are printed. Read logfile.go for the workers. REDIS_URL
// names the Redis; if it is not set, the program runs one inside the process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: tail [-n LINES] [-f] FILE...\nPrints the last lines of log files, and follows them with -f, by workers over Redis (REDIS_URL, or one inside the process).")
		flag.PrintDefaults()
	}
	args := TailArgs{}
	flag.IntVar(&args.Lines, "n", 10, "last lines of each file to print")
	flag.BoolVar(&args.Follow, "f", false, "go on with what is appended, until interrupted")
	flag.Parse()
	if flag.NArg() == 0 || args.Lines < 0 {
		flag.Usage()
		os.Exit(2)
	}
	logging.Disable() // go-redis logs every failed dial; errors are returned as well
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Stdout, os.Stderr, args, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "tail:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, info io.Writer, args TailArgs, files []string) error {
	pool, err := open()
	if err != nil {
		return err
	}
	defer pool.Close() // ends the workers and the client
	if err := pool.Ping(ctx); err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		if err := startWorker(ctx, pool, file); err != nil {
			return err
		}
	}
	c, err := bus.NewClient(pool, bus.ClientConfig{Site: site})
	if err != nil {
		return err
	}
	workers, err := survey(ctx, c, info)
	if err != nil {
		return err
	}
	return follow(ctx, c, out, args, workers)
}

// survey asks every worker about its file, and returns the workers that answered.
func survey(ctx context.Context, c *bus.Client, info io.Writer) ([]bus.WorkerInfo, error) {
	var workers []bus.WorkerInfo
	var errs []error
	for r, err := range bus.Gather(ctx, c, bus.Broadcast(workerType), Stat, struct{}{}) {
		if err != nil {
			errs = append(errs, err) // of one worker: the others may answer
			continue
		}
		fmt.Fprintf(info, "%s: %d bytes, %d lines\n", r.Value.File, r.Value.Bytes, r.Value.Lines)
		workers = append(workers, r.From)
	}
	slices.SortFunc(workers, func(a, b bus.WorkerInfo) int { return a.Started.Compare(b.Started) })
	return workers, errors.Join(errs...)
}

// follow prints the lines that the workers stream, each after its file's name if there
// are several files.
func follow(ctx context.Context, c *bus.Client, out io.Writer, args TailArgs, workers []bus.WorkerInfo) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex // of out
	for _, w := range workers {
		wg.Go(func() {
			for line, err := range bus.Stream(ctx, c, bus.Direct(w.ID), Tail, args) {
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				if len(workers) > 1 {
					fmt.Fprintf(out, "%s: ", line.File)
				}
				_, err = fmt.Fprintln(out, line.Text)
				mu.Unlock()
				if err != nil {
					cancel(err)
					return // cancels the handler
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) { // by Ctrl-C
		return err
	}
	return nil
}

// open returns a pool on the Redis of REDIS_URL, or on one inside the process.
func open() (*storage.Pool, error) {
	if url := os.Getenv("REDIS_URL"); url != "" {
		return storage.Open(storage.Config{URL: url})
	}
	return embedded.Open(storage.Config{})
}
