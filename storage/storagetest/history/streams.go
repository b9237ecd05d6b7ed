package history

import "sync"

// Streams is a history of streams, whose handlers send the numbers 0, 1, 2 and so on.
// Its Check finds items that are missing, repeated or out of order, and streams that
// ended as if they were complete and were not.
type Streams struct {
	mu      sync.Mutex
	streams []*Stream
}

// Stream is one stream of [Streams].
type Stream struct {
	h     *Streams
	id    int
	n     int
	got   int
	wrong problems
	ends  int
	err   error
}

// Begin notes a stream whose handler sends n items and then returns nil.
func (h *Streams) Begin(n int) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Stream{h: h, id: len(h.streams), n: n}
	h.streams = append(h.streams, s)
	return s
}

// Item notes an item as it arrives.
func (s *Stream) Item(i int) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if i != s.got {
		s.wrong.addf("stream %d: item %d came in the place of item %d", s.id, i, s.got)
	}
	s.got = i + 1
}

// End notes the end of the stream. Err is nil if the stream ended as a complete one
// does. A caller that breaks off ends its stream with an error of its own.
func (s *Stream) End(err error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.ends++
	s.err = err
}

// Check returns what is wrong with the history, or nil.
func (h *Streams) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var p problems
	for _, s := range h.streams {
		p.all = append(p.all, s.wrong.all...)
		if s.ends != 1 {
			p.addf("stream %d ended %d times", s.id, s.ends)
		} else if s.err == nil && s.got != s.n {
			p.addf("stream %d ended without an error after %d of %d items", s.id, s.got, s.n)
		}
	}
	return p.err("streams")
}
