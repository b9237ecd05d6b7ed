package history

import "sync"

// Leases is a history of leases with fences: numbers that rise with each owner, so that
// what an earlier owner does late can be told and refused. Its Check finds two owners
// with one fence, a fence that is not greater than an earlier one, and commits under a
// fence that succeeded although they were begun after a greater one was known.
type Leases struct {
	mu    sync.Mutex
	top   map[string]uint64            // the greatest fence that was seen
	owner map[string]map[uint64]string // who acquired a fence
	wrong problems
}

// Acquire notes that an owner is about to acquire a lease. Acquired notes that it has,
// and its fence.
func (h *Leases) Acquire(lease, owner string) (acquired func(fence uint64)) {
	top := h.seen(lease)
	return func(fence uint64) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.init(lease)
		if other, taken := h.owner[lease][fence]; taken && other != owner {
			h.wrong.addf("%s: fence %d is that of %s and of %s", lease, fence, other, owner)
		} else if !taken && fence <= top {
			h.wrong.addf("%s: %s acquired fence %d after %d", lease, owner, fence, top)
		}
		h.owner[lease][fence] = owner
		h.top[lease] = max(h.top[lease], fence)
	}
}

// Commit notes that something is about to be committed. Committed notes that it was,
// under that fence. A commit that was refused is not noted.
func (h *Leases) Commit(lease string) (committed func(fence uint64)) {
	top := h.seen(lease)
	return func(fence uint64) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.init(lease)
		if fence < top {
			h.wrong.addf("%s: a commit under fence %d was begun when fence %d was known", lease, fence, top)
		}
		h.top[lease] = max(h.top[lease], fence)
	}
}

func (h *Leases) init(lease string) {
	if h.top == nil {
		h.top, h.owner = make(map[string]uint64), make(map[string]map[uint64]string)
	}
	if h.owner[lease] == nil {
		h.owner[lease] = make(map[uint64]string)
	}
}

func (h *Leases) seen(lease string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.top[lease]
}

// Check returns what is wrong with the history, or nil.
func (h *Leases) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong.err("leases")
}
