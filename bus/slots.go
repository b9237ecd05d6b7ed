package bus

import "sync"

// slots counts the calls that a worker may still take.
type slots struct {
	mu    sync.Mutex
	all   int
	free  int
	freed chan struct{} // a slot was released; holds one
}

func (s *slots) init(n int) {
	s.all, s.free = n, n
	s.freed = make(chan struct{}, 1)
}

// wait returns how many slots are free once one is, or 0 when stop is closed.
func (s *slots) wait(stop <-chan struct{}) int {
	for {
		s.mu.Lock()
		n := s.free
		s.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-s.freed:
		case <-stop:
			return 0
		}
	}
}

func (s *slots) acquire(n int) {
	s.mu.Lock()
	s.free -= n
	s.mu.Unlock()
}

func (s *slots) release() {
	s.mu.Lock()
	s.free++
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all - s.free
}

// lane runs the calls of a method, or of a whole serial worker, in the order in
// which they came and as many at a time as its limit says. Those that wait take
// no goroutine.
type lane struct {
	limit int // 0: none

	mu      sync.Mutex
	running int
	waiting []*task
	halted  bool
}

// enter reports whether the caller is to run t now. If not, it waits.
func (l *lane) enter(t *task) bool {
	if l.limit == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.halted && l.running < l.limit {
		l.running++
		return true
	}
	l.waiting = append(l.waiting, t)
	return false
}

// crowded reports whether more wait than calls to built-in methods ever should.
func (l *lane) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) >= maxControl
}

// maxControl is how many calls to built-in methods may wait in a worker.
const maxControl = 1024

// next returns what the caller, who has run a request, is to run now, or nil.
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
	return t
}

// halt lets nothing begin any more and returns what waits.
func (l *lane) halt() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.waiting
	l.waiting, l.halted = nil, true
	return left
}
