package keywords_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
)

// history is what clients and the dispatchers' own code did to keywords, and what they
// were told. Its check decides whether there is an order of all operations, each at some
// moment between its call and its return, in which every one was told the truth: whether
// the keywords are linearizable. Values are unique.
//
// An operation that is refused, or finds no dispatcher, has no effect: a read that
// returns its value fails the check. One with an unknown end may take effect at any time
// after its call, or never.
//
// A refusal because of the revision may come before the value that causes it is committed
// ("the keyword is being set"): it is right if the keyword does not have that revision
// at the end.
//
// From the moment at which Redis loses data until the dispatcher has restored it, reads
// return what Redis has. A read in that window is right if it returns the present value or an
// earlier one.
type history struct {
	clock atomic.Int64
	lossy atomic.Bool // a window is open

	mu      sync.Mutex
	windows atomic.Int64 // that were opened
	ops     []*operation
	refused []*operation
}

type operationKind string

const (
	opRead   operationKind = "read"
	opModify operationKind = "modify"
	opSet    operationKind = "set"
)

// operation is one call and its outcome.
type operation struct {
	kind           operationKind
	keyword        string
	value          string             // written or read; "": there is none
	rev            keywords.Revision  // returned; zero: unknown
	only           *keywords.Revision // of IfRevision
	call, returned int64
	lossy          bool // it overlaps a window
	perhaps        bool // its end is unknown

	window int64 // how many were opened before it was called
}

func (op *operation) String() string {
	s := fmt.Sprintf("%d-%d %s %s=%q %v", op.call, op.returned, op.kind, op.keyword, op.value, op.rev)
	if op.only != nil {
		s += " if " + op.only.String()
	}
	if op.perhaps {
		s += " perhaps"
	}
	if op.lossy {
		s += " lossy"
	}
	return s
}

// lose calls lose, which takes data from Redis, and then await, which waits until the
// dispatcher has restored it.
func (h *history) lose(lose, await func()) {
	h.windows.Add(1)
	h.lossy.Store(true)
	lose()
	await()
	h.lossy.Store(false)
}

// begin notes the call of an operation.
func (h *history) begin(op operation) *operation {
	op.window = h.windows.Load()
	op.lossy = h.lossy.Load()
	op.call = h.clock.Add(1)
	return &op
}

// end notes an operation that took effect, or that a read returned.
func (h *history) end(op *operation, rev keywords.Revision) {
	op.rev = rev
	h.note(op)
}

// unknown notes an operation with an unknown end.
func (h *history) unknown(op *operation) {
	op.perhaps = true
	h.note(op)
}

func (h *history) note(op *operation) {
	op.returned = h.clock.Add(1)
	op.lossy = op.lossy || h.lossy.Load() || h.windows.Load() != op.window
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// refuse notes that a modify was refused because of its revision.
func (h *history) refuse(op *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = append(h.refused, op)
}

// known is what the model knows of a keyword between two operations.
type known struct {
	value string
	rev   keywords.Revision // of the value, or of an earlier one if exact is false
	exact bool
}

// model is a keyword. A restore gives the same value a revision of a later epoch.
var model = porcupine.Model{
	Init: func() any { return known{exact: true} },
	Step: func(state, input, _ any) (bool, any) {
		now, op := state.(known), input.(*operation)
		if op.kind == opRead {
			return now.read(op)
		}
		return now.write(op)
	},
	DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[string][]porcupine.Operation)
		for _, one := range all {
			name := one.Input.(*operation).keyword
			parts[name] = append(parts[name], one)
		}
		return slices.Collect(maps.Values(parts))
	},
}

func (now known) read(op *operation) (ok bool, next known) {
	order := op.rev.Compare(now.rev)
	restored := op.rev.Epoch > now.rev.Epoch
	if op.value == now.value && (order == 0 && now.exact || order > 0 && (!now.exact || restored)) {
		return true, known{op.value, op.rev, true}
	}
	older := order <= 0 || !now.exact || restored // the present value may have a later revision, which no operation has told
	return op.lossy && older, now
}

func (now known) write(op *operation) (ok bool, next known) {
	if op.only != nil {
		order := op.only.Compare(now.rev)
		if now.exact && order != 0 || !now.exact && order <= 0 {
			return false, now
		}
	}
	// Redis can lose a value that readers have seen before its writer is told: then the
	// writer gets the revision of the restored one.
	if op.rev == (keywords.Revision{}) || op.lossy {
		return true, known{op.value, now.rev, false}
	}
	return op.rev.Compare(now.rev) > 0, known{op.value, op.rev, true}
}

// check returns what is wrong with the history, or nil.
func (h *history) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	values := make(map[keywords.Revision]*operation)
	last := make(map[string]*operation)
	seen := make(map[string]bool)
	for _, op := range h.ops {
		if op.kind == opRead {
			seen[op.value] = true
		}
		if op.rev == (keywords.Revision{}) {
			continue
		}
		if was := values[op.rev]; was != nil && (was.value != op.value || was.keyword != op.keyword) {
			return fmt.Errorf("one revision names two values: %v and %v", was, op)
		}
		values[op.rev] = op
		if was := last[op.keyword]; was == nil || was.rev.Compare(op.rev) < 0 {
			last[op.keyword] = op
		}
	}
	for _, op := range h.refused {
		if end := last[op.keyword]; end != nil && end.rev == *op.only {
			return fmt.Errorf("refused, and the keyword still has that revision: %v", op)
		}
	}
	var all []porcupine.Operation
	for _, op := range h.ops {
		returned := op.returned
		if op.perhaps {
			if !seen[op.value] {
				continue // as if it took effect at the end
			}
			returned = h.clock.Load() + 1
		}
		all = append(all, porcupine.Operation{Input: op, Call: op.call, Return: returned})
	}
	for _, part := range model.Partition(all) {
		if result := porcupine.CheckOperationsTimeout(model, part, time.Minute); result != porcupine.Ok {
			slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
			var s strings.Builder
			for _, one := range part {
				fmt.Fprintf(&s, "\n%v", one.Input)
			}
			return fmt.Errorf("not linearizable (%v):%s", result, &s)
		}
	}
	return nil
}

// recorded is a history of keyword K: "w" modifies, "s" sets, "r" reads, "c" modifies if the
// revision is right; "?" has an unknown end, "x" is refused. Each operation follows the
// one before.
func recorded(ops ...operation) *history {
	h := &history{}
	for _, op := range ops {
		op.keyword = "K"
		refused := op.only != nil && op.rev == (keywords.Revision{}) && !op.perhaps
		lossy := op.lossy
		began := h.begin(op)
		began.lossy = lossy
		if refused {
			h.refuse(began)
			continue
		}
		h.note(began)
	}
	return h
}

// The check of histories accepts what may happen, and nothing else.
func TestTheCheckOfHistories(t *testing.T) {
	t.Parallel()
	rev := func(epoch, n uint64) keywords.Revision { return keywords.Revision{Epoch: epoch, N: n} }
	at := func(epoch, n uint64) *keywords.Revision { r := rev(epoch, n); return &r }
	a := operation{kind: opModify, value: "a", rev: rev(1, 1)}
	b := operation{kind: opModify, value: "b", rev: rev(1, 2)}
	read := func(v string, r keywords.Revision) operation { return operation{kind: opRead, value: v, rev: r} }
	for name, h := range map[string]*history{
		"reads":                  recorded(read("", rev(0, 0)), a, read("a", rev(1, 1)), b, read("b", rev(1, 2))),
		"a restore":              recorded(a, read("a", rev(1, 1)), read("a", rev(2, 1))),
		"a set":                  recorded(a, operation{kind: opSet, value: "s"}, read("s", rev(1, 2))),
		"an unknown end":         recorded(operation{kind: opModify, value: "u", perhaps: true}, a, read("u", rev(1, 2))),
		"no end":                 recorded(operation{kind: opModify, value: "u", perhaps: true}, a, read("a", rev(1, 1))),
		"a revision":             recorded(a, operation{kind: opModify, value: "b", rev: rev(1, 2), only: at(1, 1)}),
		"a refusal":              recorded(a, operation{kind: opModify, value: "x", only: at(1, 1)}, b),
		"a stale read, lossy":    recorded(a, b, operation{kind: opRead, value: "a", rev: rev(1, 1), lossy: true}, read("b", rev(2, 1))),
		"a stale restore, lossy": recorded(a, operation{kind: opSet, value: "s"}, operation{kind: opRead, value: "a", rev: rev(2, 1), lossy: true}, read("s", rev(3, 1))),
		"no value, lossy":        recorded(a, operation{kind: opRead, lossy: true}, read("a", rev(2, 1))),
		"a writer told late":     recorded(operation{kind: opModify, value: "a", rev: rev(2, 1), lossy: true}, read("a", rev(2, 1))),
		"revisions with a gap":   recorded(a, operation{kind: opModify, value: "b", rev: rev(1, 9)}),
	} {
		require.NoError(t, h.check(), name)
	}
	for name, h := range map[string]*history{
		"a stale read":                 recorded(a, b, read("a", rev(1, 1))),
		"a lost value":                 recorded(a, b, read("a", rev(2, 1))),
		"a value that was not written": recorded(a, read("x", rev(1, 2))),
		"no value any more":            recorded(a, read("", rev(0, 0))),
		"a set that is lost":           recorded(a, operation{kind: opSet, value: "s"}, read("a", rev(1, 1))),
		"a revision that falls":        recorded(b, operation{kind: opModify, value: "a", rev: rev(1, 1)}),
		"a revision of two values":     recorded(a, operation{kind: opModify, value: "b", rev: rev(1, 1)}),
		"another revision":             recorded(a, read("a", rev(1, 2))),
		"a revision that is old":       recorded(a, b, operation{kind: opModify, value: "c", rev: rev(1, 3), only: at(1, 1)}),
		"a set that nothing read":      recorded(a, operation{kind: opSet, value: "s"}, operation{kind: opModify, value: "c", rev: rev(1, 3), only: at(1, 1)}),
		"a set in between":             recorded(a, operation{kind: opSet, value: "s"}, read("s", rev(1, 2)), operation{kind: opModify, value: "c", rev: rev(1, 3), only: at(1, 1)}),
		"a refusal without a cause":    recorded(a, operation{kind: opModify, value: "x", only: at(1, 1)}, read("a", rev(1, 1))),
	} {
		require.Error(t, h.check(), name)
	}
}
