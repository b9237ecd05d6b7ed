package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

type ResizeArgs struct {
	Picture string `json:"picture"`
	Width   int    `json:"width"`
}

var Resize = bus.NewMethod[ResizeArgs, string]("resize")

// exampleQueue runs a worker of the queue images and returns a client.
func exampleQueue(cfg jobs.QueueConfig, resize func(context.Context, ResizeArgs) (string, error)) (c *jobs.Client, stop func()) {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "images"})
	if err != nil {
		log.Fatal(err)
	}
	bus.Handle(w, Resize, resize)
	if err := jobs.Serve(w, "images", cfg); err != nil {
		log.Fatal(err)
	}
	if _, err := bus.Start(context.Background(), w); err != nil {
		log.Fatal(err)
	}
	if c, err = jobs.NewClient(pool, jobs.ClientConfig{}); err != nil {
		log.Fatal(err)
	}
	return c, func() { _ = pool.Close() }
}

func Example() {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	ctx := context.Background()

	// The worker answers calls of Resize, and runs jobs of it.
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "images"})
	if err != nil {
		log.Fatal(err)
	}
	bus.Handle(w, Resize, func(_ context.Context, a ResizeArgs) (string, error) {
		return fmt.Sprintf("%s in %d px", a.Picture, a.Width), nil
	})
	if err := jobs.Serve(w, "images", jobs.QueueConfig{Concurrency: 16}); err != nil {
		log.Fatal(err)
	}
	stop, err := bus.Start(ctx, w)
	if err != nil {
		log.Fatal(err)
	}

	// The client submits a job, which any worker of the queue runs, and waits for its
	// result.
	q, err := jobs.NewClient(pool, jobs.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	id, err := jobs.Submit(ctx, q, "images", Resize, ResizeArgs{"moon.png", 400}, jobs.SubmitOptions{KeepResult: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	result, err := jobs.Wait(ctx, q, Resize, id)
	fmt.Println(result, err)
	fmt.Println(stop())
	// Output:
	// moon.png in 400 px <nil>
	// <nil>
}

// With an ID of its own a job may be submitted as often as one likes.
func ExampleSubmitMany() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	list := []ResizeArgs{{"moon.png", 400}, {"sun.png", 400}}
	for range 2 {
		all, err := jobs.SubmitMany(context.Background(), q, "images", Resize, list, jobs.SubmitOptions{ID: "night-7"})
		fmt.Println(all, err)
	}
	// Output:
	// [{images:night-7-0 true} {images:night-7-1 true}] <nil>
	// [{images:night-7-0 false} {images:night-7-1 false}] <nil>
}

// What a handler returns decides whether and when its job is tried again.
func ExampleFromContext() {
	q, stop := exampleQueue(
		jobs.QueueConfig{Backoff: func(j jobs.Job, err error) time.Duration {
			return min(jobs.DefaultBackoff(j, err), 10*time.Millisecond)
		}},
		func(ctx context.Context, a ResizeArgs) (string, error) {
			job, ok := jobs.FromContext(ctx)
			if !ok {
				return "", errors.New("this is a call")
			}
			_ = job.Progress(ctx, "reading "+a.Picture)
			switch {
			case a.Width == 0:
				return "", jobs.Discard(errors.New("no width")) // never again
			case time.Since(job.Submitted) < 20*time.Millisecond:
				return "", jobs.Snooze(20 * time.Millisecond) // not an attempt
			case job.Attempt < 3:
				return "", errors.New("disk full") // another attempt, after Backoff
			}
			return fmt.Sprintf("done in attempt %d of %d", job.Attempt, job.Attempts), nil
		})
	defer stop()
	ctx := context.Background()
	for _, a := range []ResizeArgs{{"moon.png", 400}, {"sun.png", 0}} {
		id, err := jobs.Submit(ctx, q, "images", Resize, a, jobs.SubmitOptions{Attempts: 4, KeepResult: time.Minute})
		if err != nil {
			log.Fatal(err)
		}
		result, err := jobs.Wait(ctx, q, Resize, id)
		var dead *jobs.Error
		if errors.As(err, &dead) {
			fmt.Println(dead.Text)
			continue
		}
		fmt.Println(result, err)
	}
	// Output:
	// done in attempt 3 of 4 <nil>
	// no width
}

// A dead letter says what was wrong, and waits to be retried or discarded.
func ExampleClient_List() {
	broken := true
	q, stop := exampleQueue(jobs.QueueConfig{}, func(_ context.Context, a ResizeArgs) (string, error) {
		if broken {
			return "", errors.New("no such picture")
		}
		return a.Picture, nil
	})
	defer stop()
	ctx := context.Background()
	id, err := jobs.Submit(ctx, q, "images", Resize, ResizeArgs{}, jobs.SubmitOptions{Attempts: 1, ID: "a", KeepResult: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	_, _ = jobs.Wait(ctx, q, Resize, id)
	dead, _, err := q.List(ctx, "images", jobs.StateDead, jobs.ListOptions{Limit: 10})
	for _, j := range dead {
		fmt.Println(j.ID, j.Method, j.Error, j.Begun, err)
	}
	broken = false
	fmt.Println(q.Retry(ctx, id))
	_, err = jobs.Wait(ctx, q, Resize, id)
	fmt.Println(err)
	fmt.Println(errors.Is(q.Discard(ctx, id), jobs.ErrNotDead))
	// Output:
	// images:a resize no such picture 1 <nil>
	// <nil>
	// <nil>
	// true
}

// A paused queue takes jobs, and begins none. Jobs that wait may be cancelled.
func ExampleClient_Pause() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	ctx := context.Background()
	args := bus.Body{Codec: storage.JSON, Data: []byte(`{"picture":"moon.png","width":400}`)}
	done, err := jobs.SubmitRaw(ctx, q, "images", Resize.Name(), args, jobs.SubmitOptions{KeepResult: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	result, err := jobs.WaitRaw(ctx, q, done)
	fmt.Printf("%s %v\n", result.Codec, err)
	if err := q.Pause(ctx, "images"); err != nil {
		log.Fatal(err)
	}
	id, err := jobs.SubmitRaw(ctx, q, "images", Resize.Name(), args, jobs.SubmitOptions{Delay: time.Hour, Priority: jobs.PriorityHigh})
	if err != nil {
		log.Fatal(err)
	}
	job, err := q.Get(ctx, id)
	fmt.Println(job.State, job.Priority, job.Method, err)
	fmt.Println(q.Queues(ctx))
	counts, err := q.Counts(ctx, "images")
	fmt.Printf("%+v %v\n", counts, err)
	state, err := q.Cancel(ctx, id)
	fmt.Println(state, err)
	fmt.Println(q.Resume(ctx, "images"))
	// Output:
	// json <nil>
	// scheduled high resize <nil>
	// [images] <nil>
	// {Waiting:0 Running:0 Scheduled:1 Dead:0 Paused:true} <nil>
	// scheduled <nil>
	// <nil>
}

// A schedule submits a job whenever it is due. Each process may schedule it when it starts.
func ExampleSchedule() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	ctx := context.Background()
	nightly := func(line string, opts ...jobs.ScheduleOptions) error {
		return jobs.Schedule(ctx, q, "nightly", line, "images", Resize, ResizeArgs{"moon.png", 400}, opts...)
	}
	fmt.Println(nightly("0 25 * * *"))
	fmt.Println(nightly("0 3 * * *"))
	fmt.Println(nightly("0 3 * * *"))
	fmt.Println(nightly("30 3 * * mon-fri"))
	fmt.Println(nightly("30 3 * * mon-fri", jobs.ScheduleOptions{Replace: true, Zone: "Europe/Berlin", Overlap: jobs.OverlapSkip}))
	// Output:
	// jobs: schedule nightly: invalid: cron line "0 25 * * *": field 2 (hour), "25": "25" is not between 0 and 23
	// <nil>
	// <nil>
	// jobs: schedule nightly: another schedule has the name
	// <nil>
}

// Schedules are paused, resumed and removed by their names.
func ExampleClient_Schedules() {
	q, stop := exampleQueue(jobs.QueueConfig{}, func(context.Context, ResizeArgs) (string, error) { return "", nil })
	defer stop()
	ctx := context.Background()
	args := bus.Body{Codec: storage.JSON, Data: []byte(`{"picture":"moon.png","width":400}`)}
	if err := jobs.ScheduleRaw(ctx, q, "leap", "0 12 29 2 *", "images", Resize.Name(), args); err != nil {
		log.Fatal(err)
	}
	list, err := q.Schedules(ctx, "images")
	for _, s := range list {
		next := s.Upcoming(2)
		fmt.Println(s.Name, s.Line, s.Method, next[0].Format("02 Jan 15:04"), next[1].Year()-next[0].Year(), err)
	}
	fmt.Println(q.PauseSchedule(ctx, "images", "leap"))
	fmt.Println(q.ResumeSchedule(ctx, "images", "leap"))
	fmt.Println(q.RemoveSchedule(ctx, "images", "leap"))
	// Output:
	// leap 0 12 29 2 * resize 29 Feb 12:00 4 <nil>
	// <nil>
	// <nil>
	// <nil>
}
