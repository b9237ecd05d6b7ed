// Package bus provides workers with RPC over Redis: a client calls a worker, one
// worker of a group, or all workers that match, and gets their results.
//
//	var Add = bus.NewMethod[AddArgs, int]("add")
//
//	// the worker
//	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
//	bus.Handle(w, Add, func(ctx context.Context, a AddArgs) (int, error) { return a.A + a.B, nil })
//	err = w.Run(ctx)
//
//	// the client
//	c, err := bus.NewClient(pool, bus.ClientConfig{})
//	sum, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{1, 2})
//
// Workers and clients see only those of their own site.
//
// # Guarantees to callers
//
//   - A request is written at most once and taken by at most one worker. If it is
//     unknown whether Redis got it, the call waits for the reply until its deadline.
//     Only a method that is [Method.Idempotent] is called again after its worker was
//     lost. (A Redis that fails over, or restarts from an old snapshot, may itself
//     bring back a request that a worker had taken.)
//   - Each queue is first in, first out. A worker takes the calls to it alone before
//     those to its group.
//   - Without a living worker a call ends with [ErrNoWorkers] after one round trip
//     (two on a cluster), and leaves nothing of itself in Redis. A client believes for one second that a worker
//     lives; if the last one ends in that second, the error comes a second later.
//   - If its worker dies a call ends with [ErrWorkerLost] within two leases (of 5 s).
//   - Above ClientConfig.MaxQueue waiting calls, or MaxQueueBytes, further calls end
//     with [ErrQueueFull], unsent.
//   - What the worker says is an [*Error] with a [Code]. All other errors are facts
//     of the client's side.
//   - The handler's context has the caller's deadline, or ClientConfig.Timeout, and
//     is cancelled when the caller gives up or its process ends. Deadlines are
//     compared in Redis time: clocks may differ. An expired request is not run.
//   - While Redis is unreachable or full, calls wait until their deadline, and their
//     error then says why. A reply that is written meanwhile is still delivered.
//   - [Gather] learns from the registry which workers to expect, yields each once,
//     with its result or an error, and ends after the last. If Redis has lost the
//     registry, it waits until workers had 3 seconds to register again.
//   - A [Stream] yields items in order and without a gap. If one is lost the stream
//     ends with [ErrStreamBroken]. A slow caller delays only its own handler.
//
// # Guarantees to workers
//
//   - A worker runs at most WorkerConfig.Concurrency calls, and leaves others in
//     Redis for other workers.
//   - Calls over a method's own limit, HandleOptions.MaxInFlight, wait beside the
//     Concurrency slots and do not delay other methods.
//   - With WorkerConfig.Serial handlers run one at a time, OnTick included, and need
//     no locks.
//   - The built-in methods [Ping], [Info], [Stats], [Stop] and [UpdateSpawner], and
//     cancels and credits of streams, are handled even while all slots are taken.
//   - When the context of [Worker.Run] ends, the worker leaves the registry, returns
//     calls that have not begun to the head of their queue, waits WorkerConfig.Drain
//     for its handlers, and then cancels their contexts. No call to the group is lost.
//   - If Redis is unreachable for longer than the worker's lease, the contexts of handlers
//     of idempotent calls end ([ErrLeaseLapsed]): these may be made elsewhere. Others run on.
//   - A panic in a handler is logged with its stack and answered with [CodePanic].
//   - A worker whose Redis user lacks a right ends with an error that names it.
//   - A request that can't be decoded is counted, logged at most once a minute, and
//     answered with [CodeMalformed] if its caller can be told from it.
//
// # To do something, see
//
//   - start a worker and know that it serves: [Start]
//   - call one worker, or all that match: [Direct], [Gather], [Multicast], [Local]
//   - send a call without waiting for a result: [Send]; a job that must not be lost: package jobs
//   - answer with many items: [HandleStream], [Stream]
//   - call again after a failure: [Method.Idempotent], [Retry], [Breaker]
//   - limit a method: [HandleOptions]; all calls of a worker: WorkerConfig.Concurrency
//   - serve the methods of an object: [Register]; all names: [HandleAny]
//   - call with JSON and a method's name: [CallRaw], [GatherRaw], [StreamRaw]
//   - trace, authenticate or encrypt calls: [Middleware], [Header]
//   - list workers and their methods: [Client.Workers], [Client.Watch], [Info]
//   - know whether a worker is healthy: [Worker.Healthy], WorkerConfig.OnLease
//   - count: [Client.Stats], [Worker.Stats], [Client.Queued], [Histogram]
//   - look into a queue, empty it, pause a type: [Client.Peek], [Client.Purge], [Client.Pause]
//   - read a worker's log or files from afar: [Worker.LogHandler], [Files]
//   - the keys and frames in Redis, the ACL line, figures, and coming from redisbus,
//     NATS micro or asynq: README.md
package bus
