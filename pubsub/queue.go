package pubsub

import (
	"context"
	"sync"
	"time"
)

// queue is what waits for the consumer of one subscription. It has a goroutine of
// [workers] as long as there is something to hand over: ten thousand idle
// subscriptions have none.
type queue struct {
	c       *Client
	spec    spec
	kind    kind   // as the hub has it
	name    string // as Redis has it
	opts    SubscribeOptions
	keyOf   func(*packet) string // of Coalesce; nil: the channel
	deliver func(*packet)        // to the consumer; may wait until ctx ends
	ended   func()               // after the last deliver, before done
	ctx     context.Context      // ended: nobody waits for what is queued
	cancel  context.CancelFunc
	done    chan struct{} // closed: deliver is not called any more

	mu      sync.Mutex
	entries []entry // from head on
	head    int
	bytes   int
	byKey   map[string]int // of Coalesce: key → number of the entry
	first   int            // number of entries[0]
	lost    *GapError      // before entries[head]
	over    int            // bytes charged to the client's overflow
	patient *time.Timer    // of Block, while the queue is too long
	running bool
	closing bool // take nothing more
	err     error
	counts  counts
}

type entry struct {
	p   *packet
	key string
}

// counts are the parts of Stats that a subscription adds to.
type counts struct{ delivered, dropped, coalesced, slow int64 }

// handful is how many packets a consumer is handed at once, and handfulBytes how
// large: they have left the queue, and no policy reaches them.
const (
	handful      = 64
	handfulBytes = 64 << 10
)

// push adds a packet. It is called by the goroutine that reads from Redis, and
// never waits.
func (q *queue) push(p *packet) {
	e := entry{p: p}
	if q.opts.Policy == Coalesce && p.gap == nil {
		e.key = p.channel
		if q.keyOf != nil {
			e.key = q.keyOf(p)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return
	}
	if p.gap != nil {
		q.gap(p)
	} else if !q.coalesce(e) && !q.admit(e) {
		return
	}
	q.wake()
}

// gap adds a gap, unless the last entry is one. The lock is held.
func (q *queue) gap(p *packet) {
	if n := len(q.entries); n > q.head && q.entries[n-1].p.gap != nil {
		return
	}
	clear(q.byKey) // what comes behind the gap stays behind it
	q.add(entry{p: p})
}

// add appends. The lock is held.
func (q *queue) add(e entry) {
	if q.head > len(q.entries)/2 && q.head > 32 {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.first, q.head = q.entries[:n], q.first+q.head, 0
	}
	q.entries = append(q.entries, e)
	q.bytes += e.p.size()
}

// coalesce puts e in the place of one with its key. The lock is held.
func (q *queue) coalesce(e entry) bool {
	if q.opts.Policy != Coalesce {
		return false
	}
	if number, ok := q.byKey[e.key]; ok {
		old := &q.entries[number-q.first]
		q.bytes += e.p.size() - old.p.size()
		old.p = e.p
		q.counts.coalesced++
		return true
	}
	return false
}

// admit adds e if the limits allow it, or as the policy has it. The lock is
// held.
func (q *queue) admit(e entry) bool {
	size := e.p.size()
	for q.full(size) {
		switch q.opts.Policy {
		case DropOldest:
			q.dropHead()
			continue
		case Block:
			if q.borrow(size) {
				q.add(e)
				return true
			}
		}
		q.tooSlow()
		return false
	}
	q.add(e)
	if q.opts.Policy == Coalesce {
		if q.byKey == nil {
			q.byKey = make(map[string]int)
		}
		q.byKey[e.key] = q.first + len(q.entries) - 1
	}
	return true
}

func (q *queue) full(size int) bool {
	n := len(q.entries) - q.head
	return n >= q.opts.MaxMessages || n > 0 && q.bytes+size > q.opts.MaxBytes
}

// dropHead drops the oldest entry. The lock is held.
func (q *queue) dropHead() {
	p := q.pop()
	lost := GapError{}
	if q.lost != nil {
		lost = *q.lost
	}
	if p.gap == nil {
		lost.Dropped++
		q.counts.dropped++
	} else {
		lost.Dropped += p.gap.Dropped
		if lost.Cause == nil {
			lost.Cause = p.gap.Cause
		}
	}
	q.lost = &lost
}

// pop takes the oldest entry. The lock is held.
func (q *queue) pop() *packet {
	e := q.entries[q.head]
	if q.byKey != nil && q.byKey[e.key] == q.first+q.head {
		delete(q.byKey, e.key)
	}
	q.entries[q.head] = entry{}
	if q.head++; q.head == len(q.entries) {
		q.first += q.head
		q.entries, q.head = q.entries[:0], 0
		if cap(q.entries) > 1024 {
			q.entries = nil
		}
	}
	q.bytes -= e.p.size()
	return e.p
}

// borrow charges what a full queue of Block takes to the client. The lock is
// held.
func (q *queue) borrow(size int) bool {
	if q.c.overflow.Add(int64(size)) > int64(q.c.cfg.MaxOverflow) {
		q.c.overflow.Add(-int64(size))
		return false
	}
	q.over += size
	if q.patient == nil {
		q.patient = time.AfterFunc(q.opts.Patience, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.patient != nil && !q.closing {
				q.tooSlow()
			}
		})
	}
	return true
}

// repay ends borrow when the queue is back within its limits, or is closed. The
// lock is held.
func (q *queue) repay() {
	if q.patient != nil && (q.closing || !q.full(0)) {
		q.patient.Stop()
		q.patient = nil
		q.c.overflow.Add(-int64(q.over))
		q.over = 0
	}
}

// tooSlow ends the queue behind what is in it. The lock is held.
func (q *queue) tooSlow() {
	q.counts.slow++
	q.end(ErrSlow)
}

// end takes nothing more, and ends with err when what is there has been taken.
// The lock is held.
func (q *queue) end(err error) {
	if q.closing {
		return
	}
	q.closing, q.err = true, err
	q.repay()
	q.wake()
	go q.c.hub.leave(q) // the caller may hold the hub's lock
}

// fail is end without the lock.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(err)
}

// close ends the queue now, with what is in it. It does not wait for a deliver
// that runs.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return
	}
	q.cancel()
	if !q.closing {
		q.closing, q.err = true, err
	}
	q.entries, q.head, q.bytes, q.byKey, q.lost = nil, 0, 0, nil, nil
	q.repay()
	q.wake()
}

// wake has the goroutine run. The lock is held.
func (q *queue) wake() {
	if q.running || q.finished() {
		return
	}
	q.running = true
	q.c.workers.run(q)
}

func (q *queue) finished() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// run hands over what is there.
func (q *queue) run(hand []*packet) {
	for {
		n := q.take(hand)
		if n == 0 {
			return
		}
		for i, p := range hand[:n] {
			q.deliver(p)
			hand[i] = nil
		}
	}
}

// take fills hand from the queue. With nothing to take, run ends; if nothing
// will come, the queue is done.
func (q *queue) take(hand []*packet) (n int) {
	if q.opts.Policy == DropOldest || q.opts.Policy == Coalesce {
		hand = hand[:1] // what is in the hand grows old
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost != nil {
		hand[0] = &packet{gap: q.lost}
		q.lost = nil
		return 1
	}
	for size := 0; n < len(hand) && len(q.entries) > q.head && size < handfulBytes; n++ {
		hand[n] = q.pop()
		size += hand[n].size()
		if hand[n].gap == nil {
			q.counts.delivered++
		}
	}
	q.repay()
	if n > 0 {
		return n
	}
	if q.closing {
		q.mu.Unlock()
		q.ended()
		q.cancel()
		q.c.remove(q)
		q.mu.Lock()
		close(q.done)
	}
	q.running = false
	return 0
}

// result returns why the queue ended; nil while it has not, and if it was
// closed.
func (q *queue) result() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}
