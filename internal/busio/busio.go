// Package busio holds what package keywords needs of package bus, and a host does
// not: workers that clients do not list, and calls that are answered after their
// handler has returned.
package busio

import (
	"context"

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
