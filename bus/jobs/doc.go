// Package jobs provides durable jobs over Redis: a client submits a job to a queue, and
// a worker of package bus runs it by the handler that also answers calls.
//
//	var Resize = bus.NewMethod[ResizeArgs, string]("resize")
//
//	// the worker
//	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "images"})
//	bus.Handle(w, Resize, resize)
//	err = jobs.Serve(w, "images", jobs.QueueConfig{Concurrency: 16})
//	err = w.Run(ctx)
//
//	// the client
//	q, err := jobs.NewClient(pool, jobs.ClientConfig{})
//	id, err := jobs.Submit(ctx, q, "images", Resize, args, jobs.SubmitOptions{Delay: time.Minute})
//
// Clients and workers see only queues of their own site.
//
// # Guarantees
//
//   - A submitted job is in Redis until its handler has succeeded, it is cancelled or
//     discarded, or it is among the dead letters. Redis must persist its data, and must not evict
//     keys, for jobs to survive it.
//   - A job is run at least once, and never by two live workers at once. A worker has a
//     lease on its jobs, of WorkerConfig.Lease. Jobs of a worker whose lease has ended
//     are claimed by others within another lease, in one step with the check that it
//     has ended. How long a handler runs does not matter.
//   - A worker that can't renew its lease cancels the contexts of its jobs, with the
//     cause [ErrLeaseLost], before others may claim them.
//   - A job has at most SubmitOptions.Attempts attempts. An attempt whose worker died
//     counts. One that a stopping worker gave back, a lost lease ended or [Snooze]
//     put off does not.
//   - Jobs of one priority begin in the order in which they were submitted or became
//     due; those of a higher priority begin before. A job that is tried again begins anew.
//   - What failed too often, has expired, has no handler or can't be decoded goes to
//     the dead letters, with its error, the stack of a panic, attempts and time.
//   - A stopping worker takes no more jobs, gives back those that have not begun, and
//     waits for the others as for calls.
//   - [Submit] with SubmitOptions.ID may be repeated: for as long as the job is in
//     Redis, and a day after it was done, the queue has one job with that ID. Submit repeats
//     itself while it is unknown whether Redis has the job. Without an ID such a Submit
//     ends with [ErrIndeterminate], unless the job has a delay.
//   - While Redis can't take a job (unreachable, out of memory, loading, read-only)
//     Submit tries again until its context ends, and the error then says why.
//   - Bad options, names and arguments are refused with [ErrInvalid], a queue with more
//     than ClientConfig.MaxQueue jobs with [ErrQueueFull]. Nothing is written then.
//   - No command's cost depends on the number of jobs that wait, apart from the
//     logarithm that a sorted set needs.
//
// # To do something, see
//
//   - submit: [Submit], [SubmitMany], [SubmitOptions]
//   - run: [Serve], [QueueConfig]
//   - know in a handler which job it runs, and report progress: [FromContext], [Job]
//   - try again later, or give up, in a handler: [Snooze], [Discard]
//   - wait for a result: SubmitOptions.KeepResult, [Wait]
//   - look at a job or a queue: [Client.Get], [Client.List], [Client.Counts]
//   - cancel: [Client.Cancel]; deal with dead letters: [Client.Retry], [Client.Discard]
//   - stop and go on: [Client.Pause], [Client.Resume]
//   - the keys in Redis, the ACL line, and coming from asynq, River, BullMQ or Sidekiq:
//     README.md
package jobs
