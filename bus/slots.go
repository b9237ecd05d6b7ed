package bus

import "sync"

// slots counts the calls that a worker may still read.
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

// wait returns the number of free slots once there is one, or 0 when stop is closed.
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
