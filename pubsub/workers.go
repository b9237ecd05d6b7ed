package pubsub

import "sync"

// workers are goroutines that run queues in turn. Idle workers are kept: their stacks
// have grown to what decoding needs, and growing new ones took 15 % of the time with
// 10,000 channels.
//
// While queues are ready, one worker is waking up to take one, and wakes the next worker
// before it runs its queue. So no queue waits behind a handler that blocks, and a burst
// on many channels does not cost a wake-up for each.
type workers struct {
	mu     sync.Mutex
	ready  []*queue // that wait for a worker, from head on
	head   int
	waking bool            // a worker is waking up
	idle   []chan struct{} // of workers, the latest last
	closed bool
	tasks  sync.WaitGroup
}

// maxIdle is the number of idle workers that are kept.
const maxIdle = 128

// run makes a worker run a queue.
func (w *workers) run(q *queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head > 64 && w.head > len(w.ready)/2 {
		n := copy(w.ready, w.ready[w.head:])
		clear(w.ready[n:])
		w.ready, w.head = w.ready[:n], 0
	}
	w.ready = append(w.ready, q)
	w.wakeLocked()
}

// wakeLocked wakes a worker, unless one is waking up.
func (w *workers) wakeLocked() {
	if w.waking {
		return
	}
	w.waking = true
	if n := len(w.idle); n > 0 {
		w.idle[n-1] <- struct{}{}
		w.idle = w.idle[:n-1]
		return
	}
	w.tasks.Go(w.work)
}

func (w *workers) work() {
	woken, hand := make(chan struct{}, 1), make([]*packet, maxBatch)
	for arrived := true; ; {
		w.mu.Lock()
		if arrived {
			w.waking = false
		}
		if w.head == len(w.ready) {
			if w.closed || len(w.idle) == maxIdle {
				w.mu.Unlock()
				return
			}
			w.idle = append(w.idle, woken)
			w.mu.Unlock()
			<-woken
			arrived = true
			continue
		}
		q := w.nextLocked()
		if w.head < len(w.ready) {
			w.wakeLocked()
		}
		w.mu.Unlock()
		q.run(hand)
		arrived = false
	}
}

// nextLocked returns a queue that is ready.
func (w *workers) nextLocked() *queue {
	q := w.ready[w.head]
	w.ready[w.head] = nil
	w.head++
	if w.head == len(w.ready) {
		w.ready, w.head = w.ready[:0], 0
	}
	return q
}

// close ends the workers once they have nothing to do, and waits for them. The
// queues are closed already.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	for _, woken := range w.idle {
		woken <- struct{}{}
	}
	w.idle = nil
	w.mu.Unlock()
	w.tasks.Wait()
}
