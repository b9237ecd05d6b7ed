package history

import (
	"context"
	"slices"
	"sync"
)

// Jobs is a history of durable jobs. Its Check finds jobs that were acknowledged and are
// neither done nor dead nor held, and jobs that ran on two workers at a time which had
// not been told to stop.
type Jobs struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	running      map[string]context.Context // of the newest run
	done         map[string]bool
	wrong        problems
}

// Acknowledge notes that a job was submitted: its id was returned.
func (h *Jobs) Acknowledge(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.init()
	h.acknowledged[id] = true
}

func (h *Jobs) init() {
	if h.acknowledged == nil {
		h.acknowledged, h.done = make(map[string]bool), make(map[string]bool)
		h.running = make(map[string]context.Context)
	}
}

// Run notes that the handler of a job has begun; ctx is its context, whose end tells it
// to stop. Returned notes that it has returned, and whether the job is done.
func (h *Jobs) Run(ctx context.Context, id string) (returned func(done bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.init()
	if other := h.running[id]; other != nil && other.Err() == nil {
		h.wrong.addf("%s runs on two live workers", id)
	}
	h.running[id] = ctx
	return func(done bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.running[id] == ctx {
			delete(h.running, id)
		}
		if done {
			h.done[id] = true
		}
	}
}

// Acknowledged returns the ids of the jobs that were acknowledged.
func (h *Jobs) Acknowledged() (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.acknowledged {
		ids = append(ids, id)
	}
	return ids
}

// Check returns what is wrong with the history, or nil. Held reports whether a job that
// is not done waits, runs or is a dead letter.
func (h *Jobs) Check(held func(id string) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := problems{slices.Clone(h.wrong.all)}
	for id := range h.acknowledged {
		if !h.done[id] && !held(id) {
			p.addf("%s was acknowledged and is lost", id)
		}
	}
	return p.err("jobs")
}
