package bus

import (
	"sync"
	"sync/atomic"
)

// slots counts the calls that a worker may still read, and the bytes of those that it
// holds.
type slots struct {
	mu      sync.Mutex
	all     int
	free    int
	largest int // size of a recent request, in bytes

	maxBytes int64
	bytes    atomic.Int64  // of the requests held
	freed    chan struct{} // a slot or bytes were released; holds one
}

func (s *slots) init(n, maxBytes int) {
	s.all, s.free, s.maxBytes = n, n, int64(maxBytes)
	s.freed = make(chan struct{}, 1)
}

// wait returns how many calls to read once there is room for one, or 0 when stop is
// closed.
func (s *slots) wait(stop <-chan struct{}) int {
	for {
		s.mu.Lock()
		n := s.fitLocked(s.free)
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

// fitLocked returns how many of n calls may be read, if they are as large as recent ones:
// a read has no limit in bytes.
func (s *slots) fitLocked(n int) int {
	left := s.maxBytes - s.bytes.Load()
	if left <= 0 {
		return 0
	}
	return min(n, max(int(left/int64(max(s.largest, 1))), 1))
}

// fit returns how many of n calls that a worker has room for may be read at once, at
// least 1.
func (s *slots) fit(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.fitLocked(n), 1)
}

// acquire notes that calls of these frames were read.
func (s *slots) acquire(frames []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free -= len(frames)
	s.largest -= s.largest / 8 // large ones count for some time
	for _, frame := range frames {
		s.largest = max(s.largest, len(frame))
	}
}

// take takes a slot for a call that was read before.
func (s *slots) take() {
	s.mu.Lock()
	s.free--
	s.mu.Unlock()
}

func (s *slots) release() {
	s.mu.Lock()
	s.free++
	s.mu.Unlock()
	signal(s.freed)
}

// hold counts the bytes of a request.
func (s *slots) hold(bytes int) { s.bytes.Add(int64(bytes)) }

// drop ends hold.
func (s *slots) drop(bytes int) {
	if now := s.bytes.Add(-int64(bytes)); now < s.maxBytes && now+int64(bytes) >= s.maxBytes {
		signal(s.freed)
	}
}

func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all - s.free
}
