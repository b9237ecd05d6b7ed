package pubsub

import "sync"

// workers are goroutines that take turns at running queues. One that has nothing
// to do is kept: its stack has grown to what decoding needs, and to grow it anew
// was 15 % of the time of 10,000 channels.
//
// While queues wait, one worker is on its way to them, and wakes the next before
// it runs what it took. So none waits behind a handler that blocks, and a burst
// for many channels does not pay a wake-up for each.
type workers struct {
	mu     sync.Mutex
	ready  []*queue // that wait for a worker, from head on
	head   int
	waking bool            // a worker is on its way
	idle   []chan struct{} // of workers, the latest last
	closed bool
	tasks  sync.WaitGroup
}

// maxIdle is how many workers are kept.
const maxIdle = 128

// run has a queue run on a goroutine of its own.
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

// wakeLocked sends a worker on its way, if none is. The lock is held.
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

// nextLocked takes a queue that is ready. The lock is held.
func (w *workers) nextLocked() *queue {
	q := w.ready[w.head]
	w.ready[w.head] = nil
	if w.head++; w.head == len(w.ready) {
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
