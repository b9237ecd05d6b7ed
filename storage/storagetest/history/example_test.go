package history_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// A service that runs a request again without being asked to.
func ExampleCalls() {
	var calls history.Calls
	handler := func(id int) {
		done := calls.Run(id)
		defer done()
	}

	call := calls.Begin()
	handler(call.ID)
	handler(call.ID) // a retry underneath
	call.End(history.Answered)
	fmt.Println(calls.Check())
	// Output: history: calls: call 0 is not idempotent and ran 2 times
}

func ExampleGathers() {
	var gathers history.Gathers
	g := gathers.Begin("a", "b")
	gathers.Run(g.ID, "a")
	g.Yield("a", true)
	g.End(nil)
	fmt.Println(gathers.Check())
	// Output: history: gathers: gather 0 ended without b, which lived
}

func ExampleStreams() {
	var streams history.Streams
	s := streams.Begin(3)
	for _, item := range []int{0, 1} {
		s.Item(item)
	}
	s.End(nil) // the loop ended without an error
	fmt.Println(streams.Check())
	// Output: history: streams: stream 0 ended without an error after 2 of 3 items
}

func ExampleMessages() {
	var messages history.Messages
	s := messages.Subscribe("positions")
	for range 3 {
		n, end := messages.Publish("positions")
		if n != 1 { // this one does not arrive
			s.Receive(n)
		}
		end(history.Answered)
	}
	fmt.Println(messages.Check())
	// Output: history: messages: positions: message 1 was missed without a gap
}

func ExampleRegisters() {
	var registers history.Registers
	registers.Write("SPEED", "3", history.Revision{}).Done(history.Revision{Epoch: 1, N: 1})
	registers.Write("SPEED", "4", history.Revision{}).Done(history.Revision{Epoch: 1, N: 2})
	registers.Read("SPEED").Returned("3", history.Revision{Epoch: 1, N: 1}) // it is 4
	fmt.Println(registers.Check())
	// Output:
	// history: registers: not linearizable (Illegal):
	// 1-2 write SPEED="3" {1 1}
	// 3-4 write SPEED="4" {1 2}
	// 5-6 read SPEED="3" {1 1}
}

func ExampleLeases() {
	var leases history.Leases
	leases.Acquire("stage", "first")(7)
	leases.Acquire("stage", "second")(8)
	leases.Commit("stage")(7) // the first did not notice
	fmt.Println(leases.Check())
	// Output: history: leases: stage: a commit under fence 7 was begun when fence 8 was known
}

func ExampleJobs() {
	var jobs history.Jobs
	handler := func(ctx context.Context, id string, fail error) {
		returned := jobs.Run(ctx, id)
		returned(fail == nil)
	}
	jobs.Acknowledge("resize-1")
	handler(context.Background(), "resize-1", errors.New("no space"))
	fmt.Println(jobs.Check(func(id string) bool { return false })) // the queue has no such job
	// Output: history: jobs: resize-1 was acknowledged and is lost
}

func ExampleMeasure() {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	ctx := context.Background()
	before, _ := history.Measure(ctx, pool.Redis())
	pool.Redis().Set(ctx, "forgotten", "v", 0)
	after, _ := history.Measure(ctx, pool.Redis())
	few := history.Bounds{Connections: 10, Goroutines: 10, Heap: 1 << 20}
	fmt.Println(before.Check(after, few))
	// Output: history: bounds: 1 keys, after 0 before; 0 more are allowed
}
