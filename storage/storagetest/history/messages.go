package history

import "sync"

// Messages is a history of messages on channels with one publisher each. Its Check finds
// messages that came twice, out of order, or though they were refused; and messages that
// a subscription missed without being told of a gap there.
type Messages struct {
	mu       sync.Mutex
	channels map[string][]Outcome // of each message, by its number
	subs     []*Subscriber
}

// Subscriber is one subscription of [Messages].
type Subscriber struct {
	h       *Messages
	channel string
	next    int  // the number after that of the last message, or of the last before it
	gap     bool // told since
	got     []int
	missed  []int // without a gap
	wrong   problems
}

// Publish notes that a message is about to be published and returns its number: the
// message must carry it. End notes the outcome: Answered if it was published, NotRun if
// it was refused, or else Unknown.
func (h *Messages) Publish(channel string) (n int, end func(Outcome)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.channels == nil {
		h.channels = make(map[string][]Outcome)
	}
	n = len(h.channels[channel])
	h.channels[channel] = append(h.channels[channel], Unknown)
	return n, func(o Outcome) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.channels[channel][n] = o
	}
}

// Subscribe notes that a subscription has begun: it must get what is published from now
// on.
func (h *Messages) Subscribe(channel string) *Subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Subscriber{h: h, channel: channel, next: len(h.channels[channel])}
	h.subs = append(h.subs, s)
	return s
}

// Receive notes a message by its number.
func (s *Subscriber) Receive(n int) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if n < s.next || n >= len(s.h.channels[s.channel]) {
		s.wrong.addf("%s: message %d came where %d was next", s.channel, n, s.next)
		return
	}
	s.missLocked(n)
	s.got = append(s.got, n)
	s.next, s.gap = n+1, false
}

// Gap notes that the subscription was told of a gap.
func (s *Subscriber) Gap() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.gap = true
}

// End notes that nothing more will be received: what was published until now is missed.
func (s *Subscriber) End() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.missLocked(len(s.h.channels[s.channel]))
	s.next, s.gap = len(s.h.channels[s.channel]), false
}

// missLocked notes that the messages from next up to number n did not come. Whether they
// were published may not be known yet.
func (s *Subscriber) missLocked(n int) {
	for i := s.next; i < n && !s.gap; i++ {
		s.missed = append(s.missed, i)
	}
}

// Check returns what is wrong with the history, or nil.
func (h *Messages) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var p problems
	for _, s := range h.subs {
		p.all = append(p.all, s.wrong.all...)
		for _, n := range s.missed {
			if h.channels[s.channel][n] == Answered {
				p.addf("%s: message %d was missed without a gap", s.channel, n)
			}
		}
		for _, n := range s.got {
			if h.channels[s.channel][n] == NotRun {
				p.addf("%s: message %d was refused, and came", s.channel, n)
			}
		}
	}
	return p.err("messages")
}
