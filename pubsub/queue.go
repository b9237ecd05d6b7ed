package pubsub

import (
	"context"
	"sync"
	"time"
)

// queue holds the messages that wait for the consumer of one subscription. It has a
// goroutine of [workers] only while it holds some, so that idle subscriptions have none.
type queue struct {
	c       *Client
	spec    spec
	kind    kind   // as the hub has it
	name    string // as Redis has it
	opts    SubscribeOptions
	keyOf   func(*packet) string // of OverflowConflate; nil: the channel
	deliver func(*packet)        // to the consumer; may wait until ctx ends
	ended   func()               // after the last deliver, before done
	ctx     context.Context      // ends when the queued messages are no longer wanted
	cancel  context.CancelFunc
	done    chan struct{} // closed: deliver is not called any more

	mu      sync.Mutex
	entries []entry // from head on
	head    int
	bytes   int
	byKey   map[string]int // of OverflowConflate: key → number of the entry
	first   int            // number of entries[0]
	lost    *GapError      // before entries[head]
	over    int            // bytes charged to the client's overflow
	patient *time.Timer    // of OverflowBlock, while the queue exceeds its limits
	running bool
	closing bool // no more messages are accepted
	err     error
	counts  counts
}

type entry struct {
	p   *packet
	key string
}

// counts are the parts of Stats that a subscription adds to.
type counts struct{ delivered, dropped, conflated, slow int64 }

// maxBatch and maxBatchBytes bound the packets that are handed to a consumer at once:
// they have left the queue, so that no overflow policy applies to them.
const (
	maxBatch      = 64
	maxBatchBytes = 64 << 10
)

// push adds a packet. It is called by the goroutine that reads from Redis, and
// never waits.
func (q *queue) push(p *packet) {
	e := entry{p: p}
	if q.opts.Overflow == OverflowConflate && p.gap == nil {
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
		q.addGapLocked(p)
	} else if !q.conflateLocked(e) && !q.admitLocked(e) {
		return
	}
	q.wakeLocked()
}

// addGapLocked adds a gap, unless the last entry is one.
func (q *queue) addGapLocked(p *packet) {
	if n := len(q.entries); n > q.head && q.entries[n-1].p.gap != nil {
		return
	}
	clear(q.byKey) // later messages must stay after the gap
	q.addLocked(entry{p: p})
}

// addLocked appends an entry.
func (q *queue) addLocked(e entry) {
	if q.head > len(q.entries)/2 && q.head > 32 {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.first, q.head = q.entries[:n], q.first+q.head, 0
	}
	q.entries = append(q.entries, e)
	q.bytes += e.p.size()
}

// conflateLocked replaces the entry with the same key by e.
func (q *queue) conflateLocked(e entry) bool {
	if q.opts.Overflow != OverflowConflate {
		return false
	}
	if number, ok := q.byKey[e.key]; ok {
		old := &q.entries[number-q.first]
		q.bytes += e.p.size() - old.p.size()
		old.p = e.p
		q.counts.conflated++
		return true
	}
	return false
}

// admitLocked adds e if the limits or the overflow policy allow it.
func (q *queue) admitLocked(e entry) bool {
	size := e.p.size()
	for q.fullLocked(size) {
		switch q.opts.Overflow {
		case OverflowDropOldest:
			q.dropOldestLocked()
			continue
		case OverflowBlock:
			if q.borrowLocked(size) {
				q.addLocked(e)
				return true
			}
		}
		q.endSlowLocked()
		return false
	}
	q.addLocked(e)
	if q.opts.Overflow == OverflowConflate {
		if q.byKey == nil {
			q.byKey = make(map[string]int)
		}
		q.byKey[e.key] = q.first + len(q.entries) - 1
	}
	return true
}

func (q *queue) fullLocked(size int) bool {
	n := len(q.entries) - q.head
	return n >= q.opts.MaxMessages || n > 0 && q.bytes+size > q.opts.MaxBytes
}

// dropOldestLocked drops the oldest entry.
func (q *queue) dropOldestLocked() {
	p := q.popLocked()
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

// popLocked removes and returns the oldest entry.
func (q *queue) popLocked() *packet {
	e := q.entries[q.head]
	if q.byKey != nil && q.byKey[e.key] == q.first+q.head {
		delete(q.byKey, e.key)
	}
	q.entries[q.head] = entry{}
	q.head++
	if q.head == len(q.entries) {
		q.first += q.head
		q.entries, q.head = q.entries[:0], 0
		if cap(q.entries) > 1024 {
			q.entries = nil
		}
	}
	q.bytes -= e.p.size()
	return e.p
}

// borrowLocked charges to the client what a queue of OverflowBlock holds beyond its
// limits.
func (q *queue) borrowLocked(size int) bool {
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
				q.endSlowLocked()
			}
		})
	}
	return true
}

// repayLocked ends borrowLocked when the queue is within its limits again, or is closed.
func (q *queue) repayLocked() {
	if q.patient != nil && (q.closing || !q.fullLocked(0)) {
		q.patient.Stop()
		q.patient = nil
		q.c.overflow.Add(-int64(q.over))
		q.over = 0
	}
}

// endSlowLocked ends the queue with ErrSlow after the messages in it.
func (q *queue) endSlowLocked() {
	q.counts.slow++
	q.endLocked(ErrSlow)
}

// endLocked accepts no more messages, and ends the queue with err after those in it.
func (q *queue) endLocked(err error) {
	if q.closing {
		return
	}
	q.closing, q.err = true, err
	q.repayLocked()
	q.wakeLocked()
	go q.c.hub.leave(q) // the caller may hold the hub's lock
}

// fail is endLocked for callers without the lock.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endLocked(err)
}

// close ends the queue at once and drops the messages in it. It does not wait for a
// running deliver.
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
	q.repayLocked()
	q.wakeLocked()
}

// wakeLocked starts the goroutine, unless it runs.
func (q *queue) wakeLocked() {
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

// run hands the queued messages to the consumer.
func (q *queue) run(hand []*packet) {
	for {
		n := q.nextBatch(hand)
		if n == 0 {
			return
		}
		for i, p := range hand[:n] {
			q.deliver(p)
			hand[i] = nil
		}
	}
}

// nextBatch fills hand from the queue. If the queue is empty, run ends; if it also
// accepts no more, the queue is done.
func (q *queue) nextBatch(hand []*packet) (n int) {
	if q.opts.Overflow == OverflowDropOldest || q.opts.Overflow == OverflowConflate {
		hand = hand[:1] // messages in hand are not conflated any more
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost != nil {
		hand[0] = &packet{gap: q.lost}
		q.lost = nil
		return 1
	}
	for size := 0; n < len(hand) && len(q.entries) > q.head && size < maxBatchBytes; n++ {
		hand[n] = q.popLocked()
		size += hand[n].size()
		if hand[n].gap == nil {
			q.counts.delivered++
		}
	}
	q.repayLocked()
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

// result returns why the queue ended: nil while it runs, and if it was closed.
func (q *queue) result() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}
