package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Revision orders the values of a register. It has the fields of a revision of package
// keywords, and can be converted from one.
type Revision struct{ Epoch, N uint64 }

// Compare returns -1, 0 or 1 as r is before, equal to or after other.
func (r Revision) Compare(other Revision) int {
	return cmp.Or(cmp.Compare(r.Epoch, other.Epoch), cmp.Compare(r.N, other.N))
}

// Registers is a history of reads and writes of registers, such as keywords. Its Check
// decides whether they are linearizable: whether there is an order of all operations,
// each at some moment between its begin and its end, in which every one was told the
// truth. Written values must be unique.
//
// An operation that is refused, or finds no worker that carries it out, has no effect: a read
// that returns its value fails the check. One with an unknown end may take effect at any
// time after its begin, or never.
//
// A refusal because of the revision may come before the value that causes it is
// committed: it is right if the register does not have that revision at the end.
//
// From the moment at which the store loses data until its owner has restored it (see
// Lose), reads return what the store has. A read in that window is right if it returns
// the present value or an earlier one.
type Registers struct {
	mu      sync.Mutex
	clock   int64
	lossy   bool  // a window is open
	windows int64 // that were opened
	ops     []*Operation
	refused []*Operation
}

// Operation is one read or write of a register.
type Operation struct {
	h           *Registers
	register    string
	write       bool
	value       string // written or read; "": there is none
	rev         Revision
	only        Revision // zero: whatever it is
	call, ended int64
	lossy       bool // it overlaps a window
	perhaps     bool // its end is unknown
	window      int64
}

func (op *Operation) String() string {
	kind := "read"
	if op.write {
		kind = "write"
	}
	s := fmt.Sprintf("%d-%d %s %s=%q %v", op.call, op.ended, kind, op.register, op.value, op.rev)
	if op.only != (Revision{}) {
		s += fmt.Sprint(" if ", op.only)
	}
	if op.perhaps {
		s += " perhaps"
	}
	if op.lossy {
		s += " lossy"
	}
	return s
}

// Read notes that a register is about to be read.
func (h *Registers) Read(register string) *Operation {
	return h.begin(Operation{register: register})
}

// Write notes that a value is about to be written, if the register has the revision
// only. Zero: whatever it has.
func (h *Registers) Write(register, value string, only Revision) *Operation {
	return h.begin(Operation{register: register, write: true, value: value, only: only})
}

func (h *Registers) begin(op Operation) *Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.h, op.window, op.lossy = h, h.windows, h.lossy
	h.clock++
	op.call = h.clock
	return &op
}

// Returned notes the value that a read has returned, "" if there is none, and its
// revision.
func (op *Operation) Returned(value string, rev Revision) {
	op.value, op.rev = value, rev
	op.note()
}

// Done notes that a write has taken effect, and the revision of its value, or zero if it
// is not known.
func (op *Operation) Done(rev Revision) {
	op.rev = rev
	op.note()
}

// Unknown notes that it is not known whether a write takes effect.
func (op *Operation) Unknown() {
	op.perhaps = true
	op.note()
}

func (op *Operation) note() {
	h := op.h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	op.ended = h.clock
	op.lossy = op.lossy || h.lossy || h.windows != op.window
	h.ops = append(h.ops, op)
}

// Refused notes that a write was refused because of its revision.
func (op *Operation) Refused() {
	op.h.mu.Lock()
	defer op.h.mu.Unlock()
	op.h.refused = append(op.h.refused, op)
}

// Lose calls lose, which takes data from the store, and then await, which must return
// once the data is restored.
func (h *Registers) Lose(lose, await func()) {
	set := func(lossy bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lossy = lossy
		if lossy {
			h.windows++
		}
	}
	set(true)
	lose()
	await()
	set(false)
}

// Len returns the number of operations in the history.
func (h *Registers) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops) + len(h.refused)
}

// checkTime bounds the search for an order of the operations of one register.
const checkTime = time.Minute

// Check returns what is wrong with the history, or nil. It takes at most a minute for
// each register, and fails if it has not found an order by then.
func (h *Registers) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.checkRevisionsLocked(); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, op := range h.ops {
		seen[op.value] = seen[op.value] || !op.write
	}
	parts := make(map[string][]porcupine.Operation)
	for _, op := range h.ops {
		ended := op.ended
		if op.perhaps {
			if !seen[op.value] {
				continue // as if it took effect at the end
			}
			ended = h.clock + 1
		}
		parts[op.register] = append(parts[op.register], porcupine.Operation{Input: op, Call: op.call, Return: ended})
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		part := parts[name]
		if result := porcupine.CheckOperationsTimeout(register, part, checkTime); result != porcupine.Ok {
			slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
			var s strings.Builder
			for _, one := range part {
				fmt.Fprintf(&s, "\n%v", one.Input)
			}
			return fmt.Errorf("history: registers: not linearizable (%v):%s", result, &s)
		}
	}
	return nil
}

// checkRevisionsLocked finds revisions of two values, and refusals without a cause.
func (h *Registers) checkRevisionsLocked() error {
	values := make(map[Revision]*Operation)
	last := make(map[string]*Operation)
	for _, op := range h.ops {
		if op.rev == (Revision{}) {
			continue
		}
		if was := values[op.rev]; was != nil && (was.value != op.value || was.register != op.register) {
			return fmt.Errorf("history: registers: one revision names two values: %v and %v", was, op)
		}
		values[op.rev] = op
		if was := last[op.register]; was == nil || was.rev.Compare(op.rev) < 0 {
			last[op.register] = op
		}
	}
	for _, op := range h.refused {
		if end := last[op.register]; end != nil && end.rev == op.only {
			return fmt.Errorf("history: registers: refused, and the register still has that revision: %v", op)
		}
	}
	return nil
}

// known is what the model knows of a register between two operations.
type known struct {
	value string
	rev   Revision // of the value, or of an earlier one if exact is false
	exact bool
}

// register is the model of one register. A restore gives the same value a revision of a
// later epoch.
var register = porcupine.Model{
	Init: func() any { return known{exact: true} },
	Step: func(state, input, _ any) (bool, any) {
		now, op := state.(known), input.(*Operation)
		if op.write {
			return now.write(op)
		}
		return now.read(op)
	},
	DescribeOperation: func(input, _ any) string { return input.(*Operation).String() },
}

func (now known) read(op *Operation) (ok bool, next known) {
	order := op.rev.Compare(now.rev)
	restored := op.rev.Epoch > now.rev.Epoch
	if op.value == now.value && (order == 0 && now.exact || order > 0 && (!now.exact || restored)) {
		return true, known{op.value, op.rev, true}
	}
	older := order <= 0 || !now.exact || restored // the present value may have a later revision, which no operation has told
	return op.lossy && older, now
}

func (now known) write(op *Operation) (ok bool, next known) {
	if op.only != (Revision{}) {
		order := op.only.Compare(now.rev)
		if now.exact && order != 0 || !now.exact && order <= 0 {
			return false, now
		}
	}
	// The store can lose a value that readers have seen before its writer is told: then
	// the writer gets the revision of the restored one.
	if op.rev == (Revision{}) || op.lossy {
		return true, known{op.value, now.rev, false}
	}
	return op.rev.Compare(now.rev) > 0, known{op.value, op.rev, true}
}
