package bus

import "sync"

// lane runs the calls of a method, or of all methods of a Serial worker, in the
// order in which they came, and at most limit of them at a time. Calls that wait
// take no goroutine.
type lane struct {
	limit int // 0: none
	room  int // calls that may wait without a slot; 0: those that wait keep theirs

	shared, own *overflowList // of a lane with room: calls to the group, and to this worker

	mu        sync.Mutex
	running   int
	waiting   []*task
	refilling bool // a goroutine reads the overflow lists
	closing   bool // the overflow lists are not read any more
	halted    bool // no call begins any more
}

// place is where [lane.enter] has put a call.
type place int

const (
	placeRun      place = iota // the caller is to run it
	placeWait                  // it waits in the lane
	placeOverflow              // the caller is to move it to its overflow list
)

// enter puts a call into the lane. A call that was read from an overflow list is
// not put back there.
func (l *lane) enter(t *task) place {
	if l.limit == 0 {
		return placeRun
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room > 0 && !t.refilled && (l.listOf(t).holds || l.running >= l.limit && len(l.waiting) >= l.room) {
		return placeOverflow
	}
	if !l.halted && l.running < l.limit {
		l.running++
		return placeRun
	}
	if l.room > 0 {
		t.slot = false // the caller releases it
	}
	l.waiting = append(l.waiting, t)
	return placeWait
}

// listOf returns the overflow list to which a call belongs.
func (l *lane) listOf(t *task) *overflowList {
	if t.direct {
		return l.own
	}
	return l.shared
}

// crowded reports whether maxControl calls wait.
func (l *lane) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) >= maxControl
}

// maxControl is how many calls to built-in methods may wait in a worker.
const maxControl = 1024

// next returns the call that the caller, which has run one, is to run now, or nil.
func (l *lane) next() *task {
	if l.limit == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted || len(l.waiting) == 0 {
		l.running--
		return nil
	}
	t := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	if l.room > 0 {
		t.slot = true // the caller acquires it
	}
	return t
}

// halt keeps waiting calls from beginning, and returns them.
func (l *lane) halt() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.waiting
	l.waiting, l.halted = nil, true
	return left
}
