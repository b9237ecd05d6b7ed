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
// has a slot free. [Direct] names one worker. [Gather] calls every worker of an
// audience, a [Broadcast], a [Multicast] or those that are [Local], and yields
// their replies as they come. A [Stream] is a method that answers with items
// until one side has enough. A site is a world of its own: workers and clients
// see only their own site.
//
// # What a call may rely on
//
//   - At most once. A request is never written twice, and a worker never takes
//     it twice. Where Redis may or may not have got it, the call waits for the
//     reply until its deadline. Only the call of a [Method.Idempotent] is made
//     again, when its worker is lost, and then the first reply counts. (A Redis
//     that forgets does so without us: a failover, or a restart from an old
//     snapshot, may bring a request back that a worker had taken.)
//   - First in, first out, for each queue. A worker's own calls come before
//     those of the group.
//   - Nobody there is [ErrNoWorkers], in one round trip, and nothing is left in
//     Redis. (A client believes for a second that a worker is alive. If the last
//     one goes in that second, the call ends with ErrNoWorkers a second later.)
//   - A worker that dies with the call in its hands is [ErrWorkerLost], within
//     two of its leases (of 5 s): 3 to 4 seconds after it took a short call, 1 to
//     2 seconds after its lease ends for one that it has held for longer. A worker
//     that stops, and ends its last calls, is not lost.
//   - A queue longer than ClientConfig.MaxQueue is [ErrQueueFull]: further calls
//     are refused unsent for 100 ms.
//   - What the other side says is an [*Error] with a [Code]; all other errors
//     are facts of this side. An error inside a handler is never taken for a
//     method that does not exist.
//   - A handler's context has the deadline of the caller, who without one gets
//     ClientConfig.Timeout. It ends early when the caller does: his context was
//     cancelled, he left the loop of a stream or a gather, or his process is
//     gone. (A handler learns that 250 ms after its call was taken at the
//     earliest, of a stream at once.) A request that is past its deadline is not
//     run. Deadlines travel in the time of Redis: clocks may be wrong.
//   - Redis away is waited for, to the deadline. Workers and clients go on
//     within three seconds of its return. A reply that was written while the
//     client was cut off still arrives.
//
// # What a gather and a stream may rely on
//
//   - A gather knows whom to expect, from the registry, and ends with the last
//     of them, not with a timer. Each is yielded once: with its reply, or with
//     the error that says why there is none.
//   - The items of a stream come in order and without a gap. It ends with its
//     handler's end, or with an error: one that was lost on the way is
//     [ErrStreamBroken], never a short stream.
//   - No more than StreamOptions.Window items, and WindowBytes of them, are under
//     way. A caller who is slow slows the handler, and nobody else.
//   - Credits and cancels, and the built-in methods [Ping], [Info], [Stats],
//     [Stop] and [UpdateSpawner], have a queue of their own, which is read always:
//     a worker whose every slot is taken answers them.
//
// # What a worker may rely on
//
//   - It holds no more calls than WorkerConfig.Concurrency, waiting for a
//     method's own limit included, and reads none while it has no slot free: the
//     others stay in Redis, for other workers.
//   - With WorkerConfig.Serial its handlers run one at a time, in the order of
//     arrival, OnTick among them, and need no locks: see [Register].
//   - When the context of [Worker.Run] ends it leaves the registry, reads no
//     more, gives what it has not begun back to the head of the queue, in order,
//     waits up to WorkerConfig.Drain for its handlers and then cancels their
//     contexts. A clean stop loses no call to the group. A call that waits in
//     the queue of that one worker is answered with [CodeStopped].
//   - A panic in a handler is logged with its stack, and answered with
//     [CodePanic] without its text.
//   - What lies in its queues and is no request is counted, logged once a minute
//     at most, and answered with [CodeMalformed] if it says whose it is.
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
// nothing behind after a minute, but for its log.
//
// A worker announces a call that it has held for 250 ms to its client, and again
// every 5 s. The client then knows whose lease to watch, and where to send a
// cancel; an announcement of a call that it does not know any more it answers
// with one. Calls that are not announced are looked for at the head of their
// queue, once a second: what was pushed before the request there has been taken,
// unless it is found further behind, and if that is so at three looks and nobody
// has announced it, it is lost. Fast calls pay for none of this.
//
// Frames are msgpack arrays; elements behind those named here are skipped. All
// begin with the version, 1, and a kind. To a worker:
//
//	0 request  id of the call (0: no reply is wanted), id of the client, method,
//	           codec of the body, time sent and deadline (Redis time in ms, 0:
//	           none), window of a stream in items and bytes (0: a plain call),
//	           headers (a map of strings or nil), body (bin)
//	1 cancel   id of the call, id of the client, 0, 0
//	2 credit   id of the call, id of the client, items and bytes of the stream
//	           that were consumed since its beginning
//
// To a client, kinds 0 (reply, the end of a stream too), 1 (the worker holds the
// call), 2 (an item) and 3 (the worker has given the call back to the queue),
// all with: id of the call, id of the worker, number of items sent, error code
// ("" for none), error text, codec of the body, headers, body. Codecs are 0
// msgpack, 1 JSON, 2 text, 3 raw.
//
// # What it costs
//
// On two cores and loopback, each beside its peer in the same run: a stream of
// 32 KiB items carries 0.67 of what a bare list transfer with the same
// window does, and a gather over 50 workers takes 1.0 of its slowest reply
// (go test -run '^$' -bench 'Stream|Gather' ./bus). For calls see BenchmarkCall.
//
// Names of methods that begin with "bus." are those that every worker has.
// Types that begin with "kw." belong to package keywords, whose dispatchers are
// workers.
package bus
