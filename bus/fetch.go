package bus

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// fetch reads calls from the worker's queues while it has slots free, until
// stop is closed. A read that is under way then is not cut, since what it has
// taken would be lost: the worker wakes it through its own queue.
func (w *Worker) fetch(client redis.UniversalClient, stop <-chan struct{}, beat func()) {
	q := popper{client: client, own: w.keys.ownQueue(w.info.ID), group: w.keys.queue()}
	for try := 0; ; {
		n := w.slots.wait(stop)
		if n == 0 {
			return
		}
		frames, direct, err := q.pop(n)
		w.slots.take(len(frames))
		for _, frame := range frames {
			w.arrive([]byte(frame), direct)
		}
		if err == nil {
			try = 0
			if closed(stop) {
				return
			}
			continue
		}
		// Redis is away, or says no. What waits in the queue can wait longer.
		var reply redis.Error
		refused := errors.As(err, &reply)
		if refused {
			w.noise.warn(w.link.log, "bus: Redis refuses to give calls", "error", err)
		} else {
			w.link.lost(err)
		}
		for again := true; again; try++ {
			select {
			case <-stop:
				return
			case <-time.After(backoff(try)):
			}
			again = !refused && client.Ping(context.Background()).Err() != nil
		}
		if !refused && w.link.found() {
			beat() // a server that was started again does not know us
		}
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// popper takes elements from the first of two lists that has any.
type popper struct {
	client     redis.UniversalClient
	own, group string
	simple     bool // the server has no BLMPOP, which is of Redis 7
}

// pop waits up to storage.BlockTime for up to n elements.
func (q *popper) pop(n int) (elems []string, own bool, err error) {
	ctx := context.Background()
	if q.simple {
		return q.popOne(ctx, n)
	}
	cmd := storage.Once(ctx, "blmpop", storage.BlockTime.Seconds(), 2, q.own, q.group, "left", "count", n)
	cmd.SetFirstKeyPos(3)
	_ = q.client.Process(ctx, cmd)
	key, elems, err := popped(cmd)
	if err != nil && strings.Contains(err.Error(), "unknown command") {
		q.simple = true
		return q.popOne(ctx, n)
	}
	return elems, key == q.own, err
}

// popOne is pop on Redis 6.2: one element that is waited for, and then as many
// as are there.
func (q *popper) popOne(ctx context.Context, n int) ([]string, bool, error) {
	cmd := storage.Once(ctx, "blpop", q.own, q.group, storage.BlockTime.Seconds())
	_ = q.client.Process(ctx, cmd)
	key, elems, err := popped(cmd)
	if err != nil || len(elems) == 0 || n == 1 {
		return elems, key == q.own, err
	}
	more := storage.Once(ctx, "lpop", key, n-1)
	_ = q.client.Process(ctx, more)
	rest, err := more.StringSlice()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return append(elems, rest...), key == q.own, err
}

// popped reads the answer of BLPOP and BLMPOP, a key and one element or many.
func popped(cmd storage.OnceCmd) (key string, elems []string, err error) {
	answer, err := cmd.Slice()
	if errors.Is(err, redis.Nil) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if len(answer) == 2 {
		key, _ = answer[0].(string)
		switch v := answer[1].(type) {
		case string:
			elems = []string{v}
		case []any:
			elems = make([]string, len(v))
			for i := range v {
				elems[i], _ = v[i].(string)
			}
		}
	}
	return key, elems, nil
}
