package bus

import (
	"context"
	"iter"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// WorkerEvent says that a worker has joined or left.
type WorkerEvent struct {
	Joined bool       `json:"joined"` // false: it has left or was lost
	Worker WorkerInfo `json:"worker"`
}

// Watch yields the living workers of a type, or of all types if typ is empty, as
// joined, and then each worker that joins or leaves, until ctx ends. The end of ctx is
// its last item and only error. It reads the registry once a second: a worker that
// joins and leaves in between is not seen. A worker that is killed leaves when its
// lease ends. While Redis is unreachable or full, and for 3 seconds after, no worker
// leaves.
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

// compare yields the changes since the last read of the registry, and notes them.
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
	if !c.link.steady() {
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
