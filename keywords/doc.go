// Package keywords keeps the named, typed values of an instrument, a robot or a
// service where everybody can read, watch and set them, and lets one process
// decide what a set does: the keywords of KTL, which run the telescopes of the
// Keck and Lick observatories, on the Redis you have.
//
//	var Speed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{
//		Units: "mm/s", Min: new(0.0), Max: new(20.0),
//	})
//
//	// the process that owns the stage
//	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
//	keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: moveStage})
//	err = d.Run(ctx)
//
//	// everybody else
//	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
//	rev, err := keywords.Modify(ctx, k, Speed, 3.5)
//	v, err := keywords.Read(ctx, k, Speed)
//	for ev, err := range keywords.Watch(ctx, k, Speed) { … }
//	v, err = keywords.WaitFor(ctx, k, Speed, func(v float64) bool { return v > 3 })
//
// A service is a set of keywords. Its definitions are published: a client that
// knows no Go type of it finds them with [Client.Keywords] and [Client.Describe],
// and uses [ReadText], [ModifyText] and [WatchText].
//
// # What a writer may rely on
//
//   - [Modify] is carried out by exactly one dispatcher, one modify at a time, and
//     returns when it is complete: hooks run, value committed and published. What
//     was refused is an [*Error] with a code, and has changed nothing.
//   - Nobody there to carry it out is [ErrNoDispatcher], at once. A dispatcher
//     that dies meanwhile is [ErrIndeterminate]: it may have happened.
//   - What a Modify has written, the same client reads afterwards.
//
// # What a reader may rely on
//
//   - Every value has a [Revision], which a dispatcher counts without a gap or a
//     repeat. Redis that has forgotten, or gone back, is a new epoch, and all
//     current values are written again.
//   - [Watch] yields the value that is there, and then changes, the newest always;
//     revisions strictly rise. A watcher who is slow skips values, and never holds
//     up others. After a lost connection it reads again: no change is missed for
//     good.
//   - A dispatcher that is gone is an event, EventStale, and what it has left is
//     still read. One that takes over with the same value is another, EventGood. A
//     value that is taken away is Gone.
//
// # What a dispatcher may rely on
//
//   - It is the only one of its service and name: a lease with a fencing number is
//     checked by every script that writes. Another one waits, and takes over within
//     two leases of a crash. One that has lost its lease can write nothing.
//   - Its hooks run strictly one after another, and need no locks.
//   - What others change in Redis behind its back (redis-cli, an old program) it
//     is told, and accepts or reverts, if DispatcherConfig.ExternalWrites says so. That takes
//     keyspace notifications: the flags that are missing are added, and none is
//     taken away. Where Redis refuses, [Dispatcher.Notifications] says what an
//     admin must do, and everything else works.
//
// # On the wire
//
// Everything of a service lies under kw:{service}, in one slot of a cluster: a
// hash for each value (v text, m its revision, time in µs, severity and who set
// it), one for the definitions as JSON, and what a dispatcher needs. A modify is a
// call to the worker kw.<service>.<dispatcher> of package bus, and Redis is written
// by one script for up to 64 of them: it checks the fence and that nothing is
// missing before the first revision, sets values, log and revision, answers the
// writers and publishes what has changed on kw:<service>:<database>:changes, as
// msgpack. A watcher who finds a gap in the numbers reads everything anew, and once
// a second it compares them with Redis. (On a cluster the writers are answered
// behind the script: their inboxes are elsewhere.)
//
// # Who may do what
//
// A dispatcher refuses writers by DispatcherConfig.Allow, which is told the user,
// host, process and program that a client says it is. Where that is not to be
// trusted, Redis keeps them apart. These are all that a dispatcher and a client
// need, on Redis 7 (TestACLOfDispatcherAndClient runs them):
//
//	ACL SETUSER dispatcher on >secret ~kw:* ~bus:* resetchannels &kw:* &pubsub:* +@all -@dangerous
//	ACL SETUSER client on >secret %R~kw:* ~bus:* resetchannels &kw:* &pubsub:* +@all -@dangerous
//
// Such a client changes a keyword by asking its dispatcher, and in no other way;
// [Client.Clear] is not for it. With a Prefix in storage.Config that stands before
// each: ~obs:kw:*, &obs:kw:* and so on. ~kw:{stage}:* instead of ~kw:* is one
// service, and then needs ~kw:services as well. Redis 6.2 has no %R~, and takes ~kw:*.
//
// DispatcherConfig.ExternalWrites takes &__keyspace@0__:kw:{stage}:v:* for each service,
// spelt out, behind the @ the number of the database; and +config|get +config|set,
// unless notify-keyspace-events is set already. Where that is refused,
// [Dispatcher.Notifications] says so, and all else works.
//
// # Coming from KTL or Cauldron
//
// A keyword has the same kinds, text and hooks here, by other names:
//
//	there                                        here
//	ktl.read, binary and ascii                   Read; ReadText
//	read through the dispatcher's read           ReadOptions.Refresh
//	ktl.write, wait=True                         Modify: returns when it is complete, or why not
//	write, wait=False, and wait on the sequence  ModifyAsync: a Future; what is only accepted is never reported as done
//	several writes in a row                      ModifyMany: all in one step, or none
//	monitor, subscribe                           for ev, err := range Watch(…); WatchText, several by name or glob
//	callback, preferred first                    Listen; ListenOptions.Preferred
//	callback on the dispatcher's side            Postwrite: all that is modified; Listen, on a client beside it: whoever has set it
//	gshow, the values before                     Spec.History; History
//	waitFor, wait on an expression               WaitFor, WaitForExpr, with the same $service.KEYWORD
//	timeout                                      the deadline of ctx, or ClientConfig.Timeout
//	ktl.cache, services, keywords                NewClient; Client.Services, Client.Keywords, Client.Describe
//	the keyword's XML file                       ktlxml.Load; or Define in Go, LoadDefinitions from JSON
//	boolean, integer, float, double, enumerated  bool; int32, int64, int; float32; float64; a type made from int32
//	mask, string, arrays                         a type made from uint32; string; []int64, []float64, []string
//	prewrite, check, write, postwrite            Hooks, in that order
//	DispatcherNoWriteNecessary                   ErrNoWriteNecessary: the modify is complete
//	preread, read, postread, period              Hooks
//	schedule                                     Schedule
//	keywords that do not broadcast               Spec.NoBroadcast: watchers poll
//	Keyword.set, from the dispatcher's own code  Set
//	orphan keywords                              Serve with no hooks: Hooks[T]{}
//	ValueError in the dispatcher's log           an *Error at the writer: CodeMalformed, CodeRange, CodeEnumerator, …
//	a dispatcher that is gone: waits for ever    ErrNoDispatcher at once; Stale values, Stale events
//	two dispatchers by mistake                   the second waits, or ErrServed; a fence in every script
//	dispatcher status and heartbeat keywords     DispatcherConfig.Status, Heartbeat
//	history of a keyword                         Spec.History, History
//	persistent values, initial values            Spec.Persist, Spec.Initial
//	one Redis pattern for each watched keyword   one subscription for each watched service
//
// go run ./examples/telescope shows most of them.
//
// # What it costs
//
// Beside NATS KV in memory, whose Put asks nobody, in one run on two cores that
// dispatcher, clients, Redis and, most of the time, other programs shared: the
// median of some twenty runs on two machines, each of nine turns, and the least and
// the most of them:
//
//	Modify, 64 writers    0.81 of the rate of Put (0.74–0.94)
//	Modify, 1 writer      2.4 times the p50 of Put (2.2–3.1): it goes to Redis twice
//	Watch, 64 writers     1.2 times the p50 from Put to a KV watcher (1.05–1.5)
//	Watch, 1 writer       2.1 times on one machine, 3.1 on the other (1.9–3.6)
//
// The commands of one modify by themselves, written to bare sockets, take 1.85
// times the p50 of Put. On its way a modify of one writer is handed from goroutine
// to goroutine four times. With hooks and commit on the one that reads the requests,
// two less, its p50 was 0.9 of what it is; but then a long hook would keep a
// dispatcher that stops from giving back what waits.
//
// (cd examples/peers && go test -run '^$' -bench 'Modify|Watch' -benchtime 20000x)
//
// With 10,000 keywords and 1,000 watchers of different ones in one process a
// modify takes 1.0 to 1.05 times as long as with one keyword and one watcher; of
// 64 writers, who then wake 64 watchers instead of one, 1.1 to 1.5 times.
//
// (go test -run '^$' -bench LargeService -benchtime 20000x ./keywords)
package keywords
