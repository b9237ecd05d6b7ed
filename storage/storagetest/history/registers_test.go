package history_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// did is one operation of a history of register K, after the one before it.
type did func(h *history.Registers)

// lossy does something while the store has lost data.
func (d did) lossy() did {
	return func(h *history.Registers) { h.Lose(func() { d(h) }, func() {}) }
}

func rev(epoch, n uint64) history.Revision { return history.Revision{Epoch: epoch, N: n} }

var anyRevision history.Revision

func read(value string, r history.Revision) did {
	return func(h *history.Registers) { h.Read("K").Returned(value, r) }
}

// write writes if the register has the revision only.
func write(value string, r, only history.Revision) did {
	return func(h *history.Registers) { h.Write("K", value, only).Done(r) }
}

func perhaps(value string) did {
	return func(h *history.Registers) { h.Write("K", value, anyRevision).Unknown() }
}

func refused(only history.Revision) did {
	return func(h *history.Registers) { h.Write("K", "refused", only).Refused() }
}

// Check accepts what may happen, and nothing else.
func TestRegisters(t *testing.T) {
	t.Parallel()
	a, b := write("a", rev(1, 1), anyRevision), write("b", rev(1, 2), anyRevision)
	set := write("s", anyRevision, anyRevision) // its revision is not known
	all := make(cases[history.Registers])
	for want, some := range map[string]map[string][]did{
		"": {
			"reads":                  {read("", anyRevision), a, read("a", rev(1, 1)), b, read("b", rev(1, 2))},
			"a restore":              {a, read("a", rev(1, 1)), read("a", rev(2, 1))},
			"a set":                  {a, set, read("s", rev(1, 2))},
			"an unknown end":         {perhaps("u"), a, read("u", rev(1, 2))},
			"no end":                 {perhaps("u"), a, read("a", rev(1, 1))},
			"a revision":             {a, write("b", rev(1, 2), rev(1, 1))},
			"a refusal":              {a, refused(rev(1, 1)), b},
			"a stale read, lossy":    {a, b, read("a", rev(1, 1)).lossy(), read("b", rev(2, 1))},
			"a stale restore, lossy": {a, set, read("a", rev(2, 1)).lossy(), read("s", rev(3, 1))},
			"no value, lossy":        {a, read("", anyRevision).lossy(), read("a", rev(2, 1))},
			"a writer told late":     {write("a", rev(2, 1), anyRevision).lossy(), read("a", rev(2, 1))},
			"revisions with a gap":   {a, write("b", rev(1, 9), anyRevision)},
		},
		"not linearizable (Illegal)": {
			"a stale read":                 {a, b, read("a", rev(1, 1))},
			"a lost value":                 {a, b, read("a", rev(2, 1))},
			"a value that was not written": {a, read("x", rev(1, 2))},
			"no value any more":            {a, read("", anyRevision)},
			"a set that is lost":           {a, set, read("a", rev(1, 1))},
			"a revision that falls":        {b, write("a", rev(1, 1), anyRevision)},
			"another revision":             {a, read("a", rev(1, 2))},
			"a revision that is old":       {a, b, write("c", rev(1, 3), rev(1, 1))},
			"a set that nothing read":      {a, set, write("c", rev(1, 3), rev(1, 1))},
			"a set in between":             {a, set, read("s", rev(1, 2)), write("c", rev(1, 3), rev(1, 1))},
		},
		"one revision names two values":                     {"a revision of two values": {a, write("b", rev(1, 1), anyRevision)}},
		"refused, and the register still has that revision": {"a refusal without a cause": {a, refused(rev(1, 1)), read("a", rev(1, 1))}},
	} {
		for name, ops := range some {
			all[name] = struct {
				make func(h *history.Registers)
				want string
			}{func(h *history.Registers) {
				for _, op := range ops {
					op(h)
				}
			}, want}
		}
	}
	all.run(t, func(h *history.Registers) error { return h.Check() })
}
