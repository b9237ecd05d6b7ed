package bus_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// failed is what the schedules say of most mutants. Which promise they find broken first
// is not always the same.
const failed = "--- FAIL: TestCallsSchedules/seed="

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
	}, failed}, // a call ran twice
	{storagetest.Mutant{
		Name: "a call is answered twice", File: "serve.go",
		Changes: []string{"	w.sendReply(t, &rep)\n", "	w.sendReply(t, &rep)\n	w.sendReply(t, &rep)\n"},
	}, "negative WaitGroup counter"},
	{storagetest.Mutant{
		Name: "a cancel is forgotten", File: "roster.go",
		Changes: []string{"case n.kind == kindCancel:", "case n.kind == kindCancel && false:"},
	}, failed}, // a handler ran on
	{storagetest.Mutant{
		Name: "an acknowledgement of a stream's window is dropped", File: "item_sender.go",
		Changes: []string{"max(o.spent.items, min(spent.items, o.sent.items))", "max(o.spent.items, min(0, o.sent.items))"},
	}, failed}, // a stream stood still
	{storagetest.Mutant{
		Name: "a cut is taken for the end of a stream", File: "inflight.go",
		Changes: []string{"case rep.seq != call.received:", "case rep.seq < call.received:"},
	}, failed}, // a stream ended without an error, or with that of the worker
}

// The schedules find defects that were made on purpose.
func TestMutantsAreCaught(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.Name, func(t *testing.T) {
			m.Caught(t, "^TestCallsSchedules$", "200", m.want)
		})
	}
}
