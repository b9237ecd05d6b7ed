// Thumbnails keeps small copies of the pictures of a folder, and a page that shows them:
//
//	go run ./examples/thumbnails -from pictures -to site -every 10s
//
// A schedule scans the folder. If there are new pictures a flow makes their thumbnails, each a
// job of its own, and then writes the page. REDIS_URL names the Redis that has the jobs;
// several processes may share the work if they see the same folders. A process may be ended
// at any time, by Ctrl-C or kill -9: what it had not finished is done by the next one. Files
// are written under another name and renamed, so that a job may be run twice.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
)

func main() {
	from := flag.String("from", "pictures", "folder of the pictures, PNG or JPEG")
	to := flag.String("to", "thumbnails", "folder of the thumbnails and of index.html")
	every := flag.Duration("every", 10*time.Second, "how often the folder is scanned, at least 1s")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pool, err := storage.Open(storage.Config{URL: cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379/0")})
	if err == nil {
		defer pool.Close()
		err = run(ctx, pool, album{*from, *to}, *every)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "thumbnails:", err)
		os.Exit(1)
	}
}

// queue is the queue of all jobs of this program.
const queue = "thumbnails"

var (
	scan  = bus.NewMethod[struct{}, int]("scan")     // returns how many pictures are new
	small = bus.NewMethod[string, struct{}]("small") // makes a thumbnail
	index = bus.NewMethod[struct{}, int]("index")    // returns how many pictures the page shows
)

// run does the work until ctx ends.
func run(ctx context.Context, pool *storage.Pool, a album, every time.Duration) error {
	if err := os.MkdirAll(a.to, 0o755); err != nil {
		return err
	}
	q, err := jobs.NewClient(pool, jobs.ClientConfig{})
	if err != nil {
		return err
	}
	defer q.Close()
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "thumbnails", Concurrency: 4})
	if err != nil {
		return err
	}
	bus.Handle(w, scan, func(ctx context.Context, _ struct{}) (int, error) { return submitNew(ctx, q, a) })
	bus.Handle(w, small, func(_ context.Context, name string) (struct{}, error) {
		err := a.shrink(name)
		if errors.Is(err, errBroken) { // it will be in another attempt too
			err = jobs.Discard(err)
		}
		return struct{}{}, err
	})
	bus.Handle(w, index, func(context.Context, struct{}) (int, error) { return a.writeIndex() })
	if err := jobs.Serve(w, queue, jobs.QueueConfig{}); err != nil {
		return err
	}
	// Each process schedules the scan when it starts, and the last one decides how often it runs.
	err = jobs.Schedule(ctx, q, "scan", "@every "+every.String(), queue, scan, struct{}{}, jobs.ScheduleOptions{Replace: true, Overlap: jobs.OverlapSkip})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// maxNew is how many pictures a flow has. The next scan finds the others.
const maxNew = 500

// submitNew submits a flow for the pictures that have no thumbnail: one job for each, and one
// that writes the page when all have ended, also if some failed. It waits for the flow, so that
// the next scan, which does not overlap, finds no picture that is being worked on. The id of
// the flow depends on what is new: while only broken pictures are, the flow exists.
func submitNew(ctx context.Context, q *jobs.Client, a album) (int, error) {
	names, id, err := a.news(maxNew)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	flow := &jobs.Flow{ID: id}
	var all []jobs.FlowJob
	for _, name := range names {
		all = append(all, jobs.Add(flow, small, name))
	}
	jobs.Add(flow, index, struct{}{}, jobs.FlowOptions{After: all, When: jobs.WhenEnded})
	id, err = q.SubmitFlow(ctx, queue, flow)
	for err == nil {
		info, failed := q.Flow(ctx, id)
		if failed != nil || info.Left == 0 {
			return len(names), failed
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return 0, err
}
