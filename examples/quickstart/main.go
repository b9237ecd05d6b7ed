// Quickstart hashes every regular file below a folder, with workers that it calls over
// Redis:
//
//	go run ./examples/quickstart [DIR]
//
// It prints what sha256sum would, sorted by path. Read hash.go for both sides of a
// call; the other files find files and show progress. REDIS_URL names the Redis; if it
// is not set, the program runs one inside the process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: quickstart [DIR]\nHashes the files below DIR, or the current folder, by workers over Redis (REDIS_URL, or one inside the process).")
	}
	flag.Parse()
	dir := "."
	switch flag.NArg() {
	case 0:
	case 1:
		dir = flag.Arg(0)
	default:
		flag.Usage()
		os.Exit(2)
	}
	logging.Disable() // go-redis logs every failed dial; errors are returned as well
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	con := newConsole(os.Stdout, os.Stderr)
	err := run(ctx, con, dir)
	cancel()
	con.flush()
	if err != nil {
		if err != errSome {
			con.complain(err)
		}
		os.Exit(1)
	}
}

// errSome ends a run in which some files failed; an error was printed for each.
var errSome = errors.New("some files could not be hashed")

// workers is the number of workers, if there are as many files.
const workers = 4

func run(ctx context.Context, con *console, dir string) error {
	files, bad := list(dir)
	for _, err := range bad {
		con.complain(err)
	}
	if len(files) == 0 && len(bad) > 0 {
		return errSome
	}
	slices.Sort(files)

	pool, err := open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close() // ends the workers and the client
	crew, err := startWorkers(ctx, pool, min(workers, len(files)))
	if err != nil {
		return err
	}
	c, err := bus.NewClient(pool, bus.ClientConfig{Site: crew.site, Timeout: -1}) // a large file may take its time
	if err != nil {
		return err
	}

	begin := time.Now()
	failed, bytes := hashAll(ctx, c, con, files)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if len(files) > 0 {
		took := time.Since(begin).Seconds()
		con.say("%d files, %d bytes, %.3f s, %.0f calls/s; %s", len(files), bytes, took, float64(len(files))/took, crew.shares())
	} else {
		con.say("0 files below %s", dir)
	}
	if failed > 0 || len(bad) > 0 {
		return errSome
	}
	return nil
}

// open returns a pool on the Redis of REDIS_URL, or on one inside the process.
func open(ctx context.Context) (*storage.Pool, error) {
	url := os.Getenv("REDIS_URL")
	if url != "" {
		pool, err := storage.Open(storage.Config{URL: url})
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
	return embedded.Open(storage.Config{})
}

// hashAll calls the workers for each file, several at a time, and prints the sums in
// the order of the files.
func hashAll(ctx context.Context, c *bus.Client, con *console, files []string) (failed int, bytes int64) {
	type answer struct {
		sum Sum
		err error
	}
	answers := make([]chan answer, len(files))
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	next := make(chan int)
	var callers sync.WaitGroup
	for range min(4*workers, len(files)) {
		callers.Go(func() {
			for i := range next {
				sum, err := bus.Call(ctx, c, bus.Group(hasherType), Hash, files[i])
				answers[i] <- answer{sum, err}
				con.advance(1, len(files), sum.Size)
			}
		})
	}
	go func() {
		defer close(next)
		for i := range files {
			next <- i
		}
	}()
	for i, path := range files {
		a := <-answers[i]
		if a.err != nil {
			failed++
			if ctx.Err() == nil {
				con.complain(remote(a.err))
			}
			continue
		}
		bytes += a.sum.Size
		con.print(line(path, a.sum))
	}
	callers.Wait()
	return failed, bytes
}

// remote returns the worker's error without the name of the method and worker.
func remote(err error) error {
	var said *bus.Error
	if errors.As(err, &said) && said.Code == bus.CodeFailed {
		return errors.New(said.Text)
	}
	return err
}

// line formats a sum as sha256sum does: a line with an escaped name begins with a
// backslash.
func line(path string, s Sum) string {
	name := strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(path)
	mark := ""
	if name != path {
		mark = "\\"
	}
	return fmt.Sprintf("%s%x  %s\n", mark, s.SHA256, name)
}
