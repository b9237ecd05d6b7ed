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
//   - Nobody there to carry it out is [ErrNoDispatcher], in one round trip. A
//     dispatcher that dies meanwhile is [ErrIndeterminate]: it may have happened.
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
//   - A dispatcher that is gone is an event, Stale or Gone, and what it has left
//     is still read.
//
// # What a dispatcher may rely on
//
//   - It is the only one of its service and name: a lease with a fencing number is
//     checked by every script that writes. Another one waits, and takes over within
//     two leases of a crash. One that has lost its lease can write nothing.
//   - Its hooks run strictly one after another, and need no locks.
//   - What others change in Redis behind its back (redis-cli, an old program) it
//     is told, and accepts or reverts, as its configuration says.
package keywords
