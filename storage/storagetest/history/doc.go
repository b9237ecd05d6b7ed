// Package history records what a service did under faults, and checks whether it kept
// its promises: a test records each operation and its outcome, and calls Check at the
// end.
//
//	var calls history.Calls
//	// the caller
//	call := calls.Begin()
//	_, err := bus.Call(ctx, c, to, Add, Args{ID: call.ID, …})
//	call.End(outcomeOf(err))
//	// the handler
//	defer calls.Run(args.ID)()
//	// the end of the test
//	require.NoError(t, calls.Check())
//
// There is one kind of history for each kind of promise:
//
//   - [Calls]: each call ends once, and runs at most once unless it is idempotent
//   - [Gathers]: each worker that lives is yielded, and none twice
//   - [Streams]: items come in order, without a gap, and a stream is never silently short
//   - [Messages]: what a subscription misses is covered by a gap that it was told of
//   - [Registers]: each key is linearizable, as keywords are
//   - [Leases]: fences rise, and nothing is committed under an older one
//   - [Jobs]: what was acknowledged is done, dead or held, and never runs twice at a time
//   - [Bounds]: keys, goroutines, connections and memory are where they were before
//
// The zero value of a history is ready for use, and its methods may be called by several
// goroutines. A history compares times of one process: record there what runs
// elsewhere. The error of Check names the operations that contradict each other.
//
// Registers are checked by github.com/anishathalye/porcupine; a program that imports
// this package depends on it.
package history
