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
		err := Broadcast(typ).check()
		if err == nil {
			err = c.open(ctx)
		}
		if err != nil {
			yield(WorkerEvent{}, err)
			return
		}
		known := map[string]WorkerInfo{}
		for {
			inner, cancel := context.WithTimeout(ctx, 2*time.Second)
			workers, steady, err := c.look(inner, typ)
			cancel()
			if isPermanent(err) {
				yield(WorkerEvent{}, err)
				return
			}
			if err == nil && !compare(known, workers, steady, func(ev WorkerEvent) bool { return yield(ev, nil) }) {
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

// look reads the registry, and reports whether a worker that is not there has left.
func (c *Client) look(ctx context.Context, typ string) (workers []WorkerInfo, steady bool, err error) {
	plain, err := c.primary()
	if err != nil {
		return nil, false, err
	}
	workers, shards, err := c.workers(ctx, plain, typ)
	steady = err == nil
	for _, s := range shards {
		steady = steady && (s.mark == "" || s.renew(ctx, plain) == nil) && s.link.steady()
	}
	return workers, steady, err
}

// compare yields the changes since the last read of the registry, and notes them.
func compare(known map[string]WorkerInfo, workers []WorkerInfo, steady bool, yield func(WorkerEvent) bool) bool {
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
	if !steady {
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
