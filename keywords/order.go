package keywords

import (
	"math/rand/v2"
	"sync"
)

// line has the modifies by ModifyAsync that a client has not sent yet. Those to one
// dispatcher are sent one after another.
type line struct {
	client int64 // a number by which dispatchers know the client

	mu   sync.Mutex
	turn int64             // of the newest place
	last map[string]*place // by type of the dispatcher's worker
}

// place is that of one modify.
type place struct {
	line   *line
	typ    string
	turn   int64
	before <-chan struct{} // closed when the one before was sent; nil: there was none
	once   sync.Once
	sent   chan struct{}
}

func newLine() line { return line{client: rand.Int64(), last: make(map[string]*place)} }

// join adds a modify to the end of the line. It must leave.
func (l *line) join(typ string) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	p := &place{line: l, typ: typ, turn: l.turn, sent: make(chan struct{})}
	if last := l.last[typ]; last != nil {
		p.before = last.sent
	}
	l.last[typ] = p
	return p
}

// end returns a channel that is closed when all that are in line now were sent; nil: none
// is.
func (l *line) end(typ string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.last[typ]; last != nil {
		return last.sent
	}
	return nil
}

// leave lets the next one be sent. A modify that has given up before its turn leaves
// in its turn.
func (p *place) leave() {
	p.once.Do(func() {
		if p.before == nil || closed(p.before) {
			p.left()
			return
		}
		go func() {
			<-p.before
			p.left()
		}()
	})
}

func (p *place) left() {
	close(p.sent)
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	if p.line.last[p.typ] == p {
		delete(p.line.last, p.typ)
	}
}

// maxTurns is the number of clients whose turns a dispatcher knows.
const maxTurns = 4096

// turns are the newest turns that a dispatcher has begun, by client. A request can come
// late: when it stayed on its way through a lost connection, or in a dispatcher that was
// stopped while its successor went on, and which has returned it to the queue. It is
// used only by the holder of Dispatcher.turn.
type turns map[int64]int64

// take refuses a request after whose turn another one was begun.
func (t turns) take(req request) error {
	switch {
	case req.Turn == 0:
		return nil
	case req.Turn <= t[req.Client]:
		err := &Error{Code: CodeOvertaken, Text: "a later modify of the same client was carried out before"}
		if len(req.Changes) > 0 {
			err.Keyword = req.Changes[0].Name
		}
		return err
	}
	if len(t) >= maxTurns {
		clear(t)
	}
	t[req.Client] = req.Turn
	return nil
}
