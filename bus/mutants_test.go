package bus_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// mutants are defects that were made on purpose, with what the schedules say of them.
var mutants = []struct {
	storagetest.Mutant
	want string
}{
	{storagetest.Mutant{
		Name: "a request is written twice", File: "inflight.go",
		Changes: []string{
			"	redisio.Of(c.pool).Writer().PushExpiring(call, call.route.queue, call.frame, queueTTL, call.pushed)\n",
			"	redisio.Of(c.pool).Writer().PushExpiring(call, call.route.queue, call.frame, queueTTL, call.pushed)\n" +
				"	redisio.Of(c.pool).Writer().PushExpiring(call, call.route.queue, call.frame, queueTTL, func(int64, error) {})\n",
		},
	}, "is not idempotent and ran 2 times"},
	{storagetest.Mutant{
		Name: "a call is answered twice", File: "serve.go",
		Changes: []string{"	w.sendReply(t, &rep)\n", "	w.sendReply(t, &rep)\n	w.sendReply(t, &rep)\n"},
	}, "negative WaitGroup counter"},
	{storagetest.Mutant{
		Name: "a cancel is forgotten", File: "roster.go",
		Changes: []string{"case n.kind == kindCancel:", "case n.kind == kindCancel && false:"},
	}, "after it was cancelled"},
	{storagetest.Mutant{
		Name: "an acknowledgement of a stream's window is dropped", File: "item_sender.go",
		Changes: []string{"max(o.spent.items, min(spent.items, o.sent.items))", "max(o.spent.items, min(0, o.sent.items))"},
	}, "no fault befell a stream, which ended with"},
	{storagetest.Mutant{
		Name: "a cut is taken for the end of a stream", File: "inflight.go",
		Changes: []string{"case rep.seq != call.received:", "case rep.seq < call.received:"},
	}, "stream"}, // which ended without an error, or with that of the worker
}

// The schedules find defects that were made on purpose.
func TestMutantsAreCaught(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.Name, func(t *testing.T) {
			m.Caught(t, "^TestCallsSchedules$", "200", m.want)
		})
	}
}
