package history

import (
	"slices"
	"sync"
)

// Gathers is a history of requests to many workers. Its Check finds workers that were
// yielded twice or ran a request twice, results of workers that never ran it, and, in a
// gather that ended without an error, workers that are missing.
type Gathers struct {
	mu      sync.Mutex
	gathers []*Gather
	wrong   problems
}

// Gather is one gather of [Gathers].
type Gather struct {
	ID int // for its arguments: the handler tells it to Gathers.Run

	h       *Gathers
	want    []string
	yielded map[string]int
	runs    map[string]int
	good    map[string]bool
	ends    int
	again   bool // it may run again
	err     error
}

// Begin notes that a gather is about to be made. Workers are the ids of those that it
// must yield, with a result or with an error. Give those that live for as long as the
// gather lasts and that the registry knows; more may be yielded.
func (h *Gathers) Begin(workers ...string) *Gather {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &Gather{
		ID: len(h.gathers), h: h, want: workers,
		yielded: make(map[string]int), runs: make(map[string]int), good: make(map[string]bool),
	}
	h.gathers = append(h.gathers, g)
	return g
}

// Forgive notes that a worker need not be yielded: a fault befell it meanwhile.
func (g *Gather) Forgive() {
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.want = nil
}

// Forgive notes that requests may have come back, with older data of a server that has
// lost the newest: the gathers that were made until now may run again.
func (h *Gathers) Forgive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.gathers {
		g.again = true
	}
}

// Yield notes that a worker was yielded. Good says that it was with a result.
func (g *Gather) Yield(worker string, good bool) {
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	if g.ends > 0 {
		g.h.wrong.addf("gather %d yields %s after its end", g.ID, worker)
	}
	g.yielded[worker]++
	g.good[worker] = good
}

// End notes the end of the gather, with the error that ended it before it was complete,
// or nil.
func (g *Gather) End(err error) {
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.ends++
	g.err = err
}

// Run notes that a worker runs the handler of a gather.
func (h *Gathers) Run(id int, worker string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id < 0 || id >= len(h.gathers) {
		h.wrong.addf("%s runs gather %d, which was never made", worker, id)
		return
	}
	h.gathers[id].runs[worker]++
}

// Check returns what is wrong with the history, or nil.
func (h *Gathers) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := problems{slices.Clone(h.wrong.all)}
	for _, g := range h.gathers {
		if g.ends != 1 {
			p.addf("gather %d ended %d times", g.ID, g.ends)
		}
		for worker, n := range g.yielded {
			if n > 1 {
				p.addf("gather %d yields %s %d times", g.ID, worker, n)
			}
			if g.good[worker] && g.runs[worker] == 0 {
				p.addf("gather %d has a result of %s, which never ran it", g.ID, worker)
			}
		}
		for worker, n := range g.runs {
			if n > 1 && !g.again {
				p.addf("gather %d ran %d times on %s", g.ID, n, worker)
			}
		}
		for _, worker := range g.want {
			if g.err == nil && g.yielded[worker] == 0 {
				p.addf("gather %d ended without %s, which lived", g.ID, worker)
			}
		}
	}
	return p.err("gathers")
}
