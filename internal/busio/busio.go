// Package busio holds what packages keywords and jobs need of package bus, and a host
// does not: workers that clients do not list, calls that are answered after their
// handler has returned, and requests that are no calls.
package busio

import (
	"context"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// Call is a call that waits for its answer. It must be answered, by Answer or by Pack
// and Packed, and counts as held by its worker until then. Further answers are ignored.
type Call interface {
	// Method returns the name of the method that was called.
	Method() string

	// Args returns the encoded arguments.
	Args() (storage.Codec, []byte)

	// Answer sends the result, or err as the return of a handler would be sent.
	Answer(codec storage.Codec, result []byte, err error)

	// Pack returns the answer as a frame that the caller is to append to the
	// stream inbox, by XADD with NOMKSTREAM and the field redisio.StreamField, in one
	// step with something else. Inbox is empty if no answer is wanted. Pack may be
	// called again, with another answer, until Packed is.
	Pack(codec storage.Codec, result []byte) (inbox string, frame []byte)

	// Packed ends the call: the frame of Pack was written, or no answer was wanted.
	Packed()
}

// CallOnce is bus.CallRaw by client, a *bus.Client, to the group of a type, of a call that
// is made once, whatever the client's Retry says. It calls queued, unless that is nil, when
// the pool's writer has the request: requests that are given to it one after another are
// queued in that order. A call that ends without being sent does not call queued. Package
// bus sets CallOnce.
var CallOnce func(ctx context.Context, client any, typ, method string, args []byte, queued func()) (result []byte, err error)

// NewWorker returns a *bus.Worker with the configuration cfg, a bus.WorkerConfig.
// The worker is left out of the types of its site, and its type may begin with
// "kw.". Handle gets all calls, except those to the built-in methods. A Serial
// worker begins the next call when handle returns. A call whose handle panics before
// the call is answered is answered with bus.CodePanic. Package bus sets NewWorker.
var NewWorker func(pool *storage.Pool, cfg any, handle func(ctx context.Context, call Call)) (worker any, err error)

// Source supplies a worker with requests that are no calls, such as the jobs of a queue.
// The worker runs them by its handlers, and waits for them when it stops.
type Source interface {
	// Start begins to supply requests. Run calls it once callers know the worker. Fail
	// ends Run with an error.
	Start(fail func(error))

	// Halt ends the supply: Host.Begin is not called any more once it has returned.
	Halt()

	// End is called when the requests have ended, or the worker does not wait for them
	// any longer.
	End()
}

// Host is a worker as its sources see it.
type Host interface {
	ID() string
	Pool() *storage.Pool
	Site() string
	Lease() time.Duration
	Concurrency() int

	// Context is the parent of the contexts of all handlers.
	Context() context.Context

	// Begin runs a request, at once or when the limit of its method permits it. It does
	// not block, and takes none of the slots of calls.
	Begin(r Request)
}

// Request is a request of a [Source].
type Request struct {
	Method  string
	Header  map[string]string
	Codec   storage.Codec
	Args    []byte
	Context context.Context // derived from Host.Context
	Timeout time.Duration   // from the start of the handler; 0: none
	Ended   func(Outcome)   // called once
}

// Outcome is how a [Request] ended.
type Outcome struct {
	Codec  storage.Codec
	Result []byte
	Err    error  // nil: the handler has succeeded
	Code   string // of an error of the bus itself, "" of one that the handler returned
	Stack  string // of a panic

	// Returned says that the worker stopped: the handler did not begin, or its context
	// was cancelled.
	Returned bool
}

// Attach makes source a source of a *bus.Worker that has not begun to run, and that has
// none of this name. Package bus sets Attach.
var Attach func(worker any, name string, source Source) (Host, error)
