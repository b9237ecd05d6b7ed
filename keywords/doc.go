// Package keywords holds the named, typed values of an instrument, a robot or any other
// service. Any process reads, watches and sets them; one process, the dispatcher,
// decides what setting a value does. The model is that of KTL, the keyword library of
// the Keck and Lick observatories.
//
//	var Speed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{
//		Units: "mm/s", Min: new(0.0), Max: new(20.0),
//	})
//
//	// in the process that owns the stage
//	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
//	keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: moveStage})
//	err = d.Run(ctx)
//
//	// in any process
//	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
//	rev, err := keywords.Modify(ctx, k, Speed, 3.5)
//	v, err := keywords.Read(ctx, k, Speed)
//	for ev, err := range keywords.Watch(ctx, k, Speed) { … }
//	v, err = keywords.WaitFor(ctx, k, Speed, func(v float64) bool { return v > 3 })
//
// A service is a set of keywords. Each keyword belongs to one dispatcher of its service.
// Definitions are published in Redis, so that a client without the Go types finds them
// with [Client.Keywords] and [Client.Describe], and uses [ReadText], [ModifyText] and
// [WatchText].
//
// # Guarantees to writers
//
//   - [Modify] is carried out by exactly one dispatcher, one modify at a time (beside long
//     moves). It returns once the hooks have run and the value is committed and published.
//   - A refused modify is an [*Error] with a code, and has changed no value.
//   - If no dispatcher lives, the error is [ErrNoDispatcher], at once. If it dies meanwhile,
//     the error is [ErrIndeterminate]: the value may have been set.
//   - A client reads what it has set. Its modifies by [ModifyAsync] to one dispatcher are
//     carried out in the order of the calls.
//
// # Guarantees to readers
//
//   - Every value has a [Revision]. Revisions are totally ordered, and none is used twice.
//     If Redis loses data, the dispatcher commits all current values again, with new
//     revisions.
//   - [Watch] yields the present value and then changes with rising revisions. A slow
//     watcher misses values, but never the newest, and does not delay others. After a
//     lost connection the service is read again, so that no change is missed for good.
//   - A watcher is told when the dispatcher has gone ([EventStale]); values are still read,
//     with [QualityStale]. It is told when Redis can't be reached ([EventDisconnected]), when
//     a dispatcher has taken over with the same value ([EventGood]), when a value was
//     removed ([EventGone]), and when units or limits have changed ([EventRedefined]). A
//     watch goes on until its ctx ends.
//   - With WatchOptions.Every a watch yields every value, out of the keyword's history.
//     Values that the history has lost are told ([EventGap]).
//
// # Guarantees to dispatchers
//
//   - There is one dispatcher of a service and name. It holds a lease with a fencing number
//     that every script checks. Another one waits and takes over within two leases of a
//     crash, or at once after a clean end. A dispatcher that has lost its lease can't write.
//   - Hooks run one after another and need no locks, except Hooks.Move. A dispatcher that
//     can't reach Redis ends their context a tenth of the lease before another dispatcher
//     can take over, and starts none until it has renewed its lease.
//   - Changes that other programs make in Redis are accepted or reverted, as
//     DispatcherConfig.ExternalWrites says. That takes keyspace notifications; see
//     [Dispatcher.Notifications].
//
// # To do something, see
//
//   - define a keyword: [Define], [Spec]; from a file: [LoadDefinitions], package ktlxml, [Bind]
//   - act on a modify, poll the hardware: [Hooks], [Serve]; refresh later: [Schedule]
//   - move hardware for minutes, show how far it is, stop it: Hooks.Move, [Moving], [Abort],
//     [ReadMove], [WatchMove]
//   - set a value from the dispatcher's own code: [Set]; report a broken sensor, or the
//     device's own time: [SetOptions]
//   - start a dispatcher and know that it serves: [Start]
//   - set several keywords in one step: [ModifyMany]; without waiting: [ModifyAsync];
//     only if unchanged: ModifyOptions.IfRevision
//   - read from the hardware: ReadOptions.Refresh; without a round trip: ReadOptions.Cached;
//     several values of one moment: [ReadMany]
//   - call functions on each change: [Listen]; wait for several keywords: [WaitForExpr]
//   - read and watch a service that Cauldron still serves: [NewLegacy]
//   - read earlier values: Spec.History, [History]; record every value: WatchOptions.Every
//   - limit, raise alarms, display: Spec.Min, Spec.Alarm, Spec.Format, [Definition.Display]
//   - restrict who may write: DispatcherConfig.Allow; by Redis ACL: README.md
//   - list or remove services: [Client.Services], [Client.Clear]; see which processes serve
//     and wait: [Client.Dispatchers]
//   - count what happens: [Client.Stats], [Dispatcher.Stats]; share connections:
//     ClientConfig.PubSub, ClientConfig.Bus
//   - keys and messages, the ACL lines, figures, coming from KTL, Cauldron, EPICS or
//     Tango: README.md
//
// Run go run ./examples/telescope for a program that uses most of this.
package keywords
