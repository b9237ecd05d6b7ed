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
//   - A submitted job is in Redis until its handler has succeeded, or it is cancelled or
//     discarded. For jobs to survive a restart of Redis, Redis must persist its data. It
//     must not evict keys.
//   - A job is run at least once, and never by two live workers at once. A worker has a
//     lease on its jobs, of WorkerConfig.Lease. When the lease has ended, other workers
//     with free slots claim the jobs within another lease; one script checks the lease
//     and claims the jobs. How long a handler runs does not matter.
//   - A worker that can't renew its lease cancels the contexts of its jobs, with the
//     cause [ErrLeaseLost], before others may claim them.
//   - A job has at most SubmitOptions.Attempts attempts. An attempt counts if another
//     worker claimed the job because the lease of its worker had ended. An attempt that a
//     stopping worker gave back, or that [Snooze] put off, does not count.
//   - Jobs of one priority begin in the order in which they were submitted or became
//     due; those of a higher priority begin before. A job that is tried again goes to the
//     end of its priority.
//   - A job that failed too often, has expired, has no handler, can't be decoded or was
//     cancelled while it ran becomes a dead letter, with its error, the stack of a panic,
//     attempts and time.
//   - A stopping worker takes no more jobs, gives back those that have not begun, and
//     waits for the others up to WorkerConfig.Drain, as it does for calls.
//   - [Submit] with SubmitOptions.ID may be repeated: for as long as the job is in
//     Redis, and a day after it was done, the queue has one job with that ID. Submit repeats
//     itself while it is unknown whether Redis has the job. A Submit without an ID or
//     delay ends with [ErrIndeterminate] then.
//   - Each run of a [Schedule] is submitted once, whatever happens to workers. Runs that were
//     due while no worker was there follow ScheduleOptions.Missed.
//   - Limits of [QueueConfig] hold over all workers, also when some die. Groups take turns.
//   - The end of a job of a [Flow] and the beginning of those that wait for it are one step.
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
//   - do no step twice in several attempts: [Job.Checkpoint], [Job.Resume]
//   - try again later, or give up, in a handler: [Snooze], [Discard]
//   - wait for a result: SubmitOptions.KeepResult, [Wait]
//   - look at a job or a queue: [Client.Get], [Client.List], [Client.Counts],
//     [Client.Queues]
//   - run one job of a kind only: SubmitOptions.Unique
//   - share workers between tenants, limit what they use: SubmitOptions.Group, [QueueConfig],
//     [Rate], [Client.PauseGroup], [Client.ResumeGroup]
//   - run jobs after others, and one after many: [Flow], [Add], [Client.SubmitFlow],
//     [Client.Flow], [Client.CancelFlow]
//   - run at certain times: [Schedule], [Client.Schedules], [Client.PauseSchedule],
//     [Client.ResumeSchedule], [Client.RemoveSchedule]
//   - cancel: [Client.Cancel]; deal with dead letters: [Client.Retry], [Client.Discard];
//     remove many: [Client.Purge]
//   - stop and go on: [Client.Pause], [Client.Resume]
//   - the keys in Redis, the ACL line, and coming from asynq, River, BullMQ or Sidekiq:
//     README.md
package jobs
