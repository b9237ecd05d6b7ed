package bus

import (
	"context"
	"iter"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// WorkerEvent is a worker that has joined or left.
type WorkerEvent struct {
	Joined bool       `json:"joined"` // false: it has left or was lost
	Worker WorkerInfo `json:"worker"`
}

// Watch yields the workers of a type, or of all if typ is empty, that are there,
// as joined, and then each that joins or leaves, until ctx ends, which is the
// last and only error. It looks once a second: a worker that came and went in
// between is not seen. One that is killed leaves when its lease ends. While
// Redis is away, and until workers have had the time to come back after it,
// nobody leaves.
func (c *Client) Watch(ctx context.Context, typ string) iter.Seq2[WorkerEvent, error] {
	return func(yield func(WorkerEvent, error) bool) {
		if err := c.open(ctx); err != nil {
			yield(WorkerEvent{}, err)
			return
		}
		known := map[string]WorkerInfo{}
		for {
			inner, cancel := context.WithTimeout(ctx, 2*time.Second)
			workers, err := c.Workers(inner, typ)
			cancel()
			if isPermanent(err) || err != nil && Broadcast(typ).check() != nil {
				yield(WorkerEvent{}, err)
				return
			}
			if err == nil && !c.compare(known, workers, func(ev WorkerEvent) bool { return yield(ev, nil) }) {
				return
			}
			if end := c.pause(ctx, nil, time.After(tickTime)); end != nil {
				if end != ErrClosed {
					end = redisio.Because(end, err)
				}
				yield(WorkerEvent{}, end)
				return
			}
		}
	}
}

// compare yields what has changed since the last look, and notes it.
func (c *Client) compare(known map[string]WorkerInfo, workers []WorkerInfo, yield func(WorkerEvent) bool) bool {
	here := make(map[string]bool, len(workers))
	for _, w := range workers {
		here[w.ID] = true
		if _, old := known[w.ID]; !old {
			known[w.ID] = w
			if !yield(WorkerEvent{Joined: true, Worker: w}) {
				return false
			}
		}
	}
	if !c.link.settled(returnTime) {
		return true
	}
	for id, w := range known {
		if !here[id] {
			delete(known, id)
			if !yield(WorkerEvent{Worker: w}) {
				return false
			}
		}
	}
	return true
}
