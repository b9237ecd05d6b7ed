package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/bus/jobs"
)

// A queue of exports: one for each user at a time, of a tenant two at a time, and at most a
// hundred a second in all workers.
func ExampleUnique() {
	limits := jobs.QueueConfig{GroupConcurrency: 2, Rate: jobs.Rate{Jobs: 100, Burst: 10}}
	q, stop := exampleQueue(limits, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	ctx := context.Background()
	if err := q.PauseGroup(ctx, "images", "acme"); err != nil {
		log.Fatal(err)
	}
	options := jobs.SubmitOptions{Group: "acme", Unique: jobs.Unique{Key: "user:7"}}
	first, err := jobs.Submit(ctx, q, "images", Resize, ResizeArgs{"moon.png", 400}, options)
	if err != nil {
		log.Fatal(err)
	}
	other, err := jobs.Submit(ctx, q, "images", Resize, ResizeArgs{"sun.png", 400}, options)
	fmt.Println(errors.Is(err, jobs.ErrDuplicate), other == first)
	job, err := q.Get(ctx, first)
	fmt.Println(job.State, job.Group, err)
	fmt.Println(q.ResumeGroup(ctx, "images", "acme"))
	// Output:
	// true true
	// waiting acme <nil>
	// <nil>
}

// A handler of several steps notes which are done, so that another attempt goes on there.
func ExampleJob_Checkpoint() {
	q, stop := exampleQueue(
		jobs.QueueConfig{Backoff: func(jobs.Job, error) time.Duration { return time.Millisecond }},
		func(ctx context.Context, a ResizeArgs) (string, error) {
			job, _ := jobs.FromContext(ctx)
			var widths []int // done so far
			if _, err := job.Resume(ctx, &widths); err != nil {
				return "", err
			}
			for _, width := range []int{100, 200, 400}[len(widths):] {
				fmt.Println("attempt", job.Attempt, "width", width)
				widths = append(widths, width)
				if err := job.Checkpoint(ctx, widths); err != nil {
					return "", err
				}
				if width == 200 {
					return "", errors.New("disk full")
				}
			}
			return "done", nil
		})
	defer stop()
	ctx := context.Background()
	id, err := jobs.Submit(ctx, q, "images", Resize, ResizeArgs{Picture: "moon.png"}, jobs.SubmitOptions{KeepResult: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(jobs.Wait(ctx, q, Resize, id))
	// Output:
	// attempt 1 width 100
	// attempt 1 width 200
	// attempt 2 width 400
	// done <nil>
}

// Purge removes what was submitted by mistake.
func ExampleClient_Purge() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	ctx := context.Background()
	_, err := jobs.SubmitMany(ctx, q, "images", Resize, make([]ResizeArgs, 500), jobs.SubmitOptions{Delay: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(q.Purge(ctx, "images", jobs.StateScheduled))
	// Output: 500 <nil>
}

// A flow resizes pictures at the same time, then writes an index of them, and reports if one
// of them could not be resized.
func ExampleFlow() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(_ context.Context, a ResizeArgs) (string, error) {
		if a.Picture == "pluto.png" {
			return "", jobs.Discard(errors.New("no such picture"))
		}
		return a.Picture, nil
	})
	defer stop()
	ctx := context.Background()
	flow := new(jobs.Flow)
	var pictures []jobs.FlowJob
	for _, name := range []string{"moon.png", "pluto.png"} {
		pictures = append(pictures, jobs.Add(flow, Resize, ResizeArgs{name, 400}))
	}
	index := jobs.Add(flow, Resize, ResizeArgs{"index", 0}, jobs.FlowOptions{After: pictures})
	jobs.Add(flow, Resize, ResizeArgs{"report", 0}, jobs.FlowOptions{After: []jobs.FlowJob{index}, When: jobs.WhenFailed})
	id, err := q.SubmitFlow(ctx, "images", flow)
	if err != nil {
		log.Fatal(err)
	}
	info, err := q.Flow(ctx, id)
	for info.Left > 0 && err == nil {
		time.Sleep(10 * time.Millisecond)
		info, err = q.Flow(ctx, id)
	}
	for _, job := range info.Jobs {
		fmt.Println(job.Method, job.State)
	}
	fmt.Println(q.CancelFlow(ctx, id)) // changes nothing: it has ended
	// Output:
	// resize done
	// resize dead
	// resize left out
	// resize done
	// <nil>
}
