// Package bus gives Go services workers with RPC over the Redis they have: one
// calls and is answered, without a broker of its own.
//
//	var Add = bus.NewMethod[AddArgs, int]("add")
//
//	// the worker
//	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
//	bus.Handle(w, Add, func(ctx context.Context, a AddArgs) (int, error) { return a.A + a.B, nil })
//	err = w.Run(ctx)
//
//	// the caller
//	c, err := bus.NewClient(pool, bus.ClientConfig{})
//	sum, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{1, 2})
//
// Workers of one type share a queue: a call to the [Group] is taken by one that
// has a slot free. [Direct] names one worker. A site is a world of its own:
// workers and clients see only their own site.
//
// # What a call may rely on
//
//   - At most once. A request is never written twice, and a worker never takes
//     it twice. Where Redis may or may not have got it, the call waits for the
//     reply until its deadline.
//   - First in, first out, for each queue. A worker's own calls come before
//     those of the group.
//   - Nobody there is [ErrNoWorkers], in one round trip, and nothing is left in
//     Redis. (A client believes for a second that a worker is alive. If the last
//     one goes in that second, the call ends with ErrNoWorkers a second later,
//     or with [ErrWorkerLost] if it had been taken.)
//   - A queue longer than ClientConfig.MaxQueue is [ErrQueueFull]: further calls
//     are refused unsent for 100 ms.
//   - What the other side says is an [*Error] with a [Code]; all other errors
//     are facts of this side. An error inside a handler is never taken for a
//     method that does not exist.
//   - A handler's context has the deadline of the caller, who without one gets
//     ClientConfig.Timeout. A request that is past its deadline is not run.
//     Deadlines travel in the time of Redis: clocks may be wrong.
//   - Redis away is waited for, to the deadline. Workers and clients go on
//     within three seconds of its return. A reply that was written while the
//     client was cut off still arrives.
//
// # What a worker may rely on
//
//   - It holds no more calls than WorkerConfig.Concurrency, waiting for a
//     method's own limit included, and reads none while it has no slot free: the
//     others stay in Redis, for other workers.
//   - With WorkerConfig.Serial its handlers run one at a time, in the order of
//     arrival, and need no locks.
//   - When the context of [Worker.Run] ends it leaves the registry, reads no
//     more, gives what it has not begun back to the head of the queue, in order,
//     waits up to WorkerConfig.Drain for its handlers and then cancels their
//     contexts. A clean stop loses no call to the group. A call that waits in
//     the queue of that one worker is answered with [CodeStopped].
//   - A panic in a handler is logged with its stack, and answered with
//     [CodePanic] without its text.
//
// # On the wire
//
// Requests ride lists, read with BLMPOP: the queue of the type and that of the
// worker. Replies ride a stream, the inbox of the client, matched by the id of
// the call. Nothing rides pub/sub: each cut of a subscriber loses the replies
// in flight. A stream as inbox costs 2 to 7 % of the calls of 64 callers against a
// list, whose pops would be lost with the connection that they travel on. (The
// write and the read alone are 0.8 to 0.92 of a list's at 64 writers:
// go test -run '^$' -bench Inbox ./storage.)
//
// All keys of a type have the hash tag {site:type}, an inbox has its own, and
// there is no Lua on the path of a call. Every key that can be orphaned has a
// time to live, which its owner renews: a client or worker that is killed leaves
// nothing behind after a minute.
//
// A request is a msgpack array: version (1), id of the call (0: no reply is
// wanted), id of the client, method, codec of the body, time sent and deadline
// (Redis time in ms, 0: none), headers (a map of strings or nil), body (bin). A
// reply: version (1), kind (0), id of the call, id of the worker, error code
// ("" for a result), error text, codec of the body, headers, body. Codecs are 0
// msgpack, 1 JSON, 2 text, 3 raw. Elements behind these are skipped.
//
// Types that begin with "kw." belong to package keywords.
package bus
