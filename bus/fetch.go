package bus

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// readCalls reads calls from the worker's queues while slots are free, until stop is
// closed. Run then wakes the command that waits, by an element of the worker's own
// queue: to close its connection could lose calls that it has taken.
func (w *Worker) readCalls(client redis.UniversalClient, stop <-chan struct{}) {
	own := w.keys.ownQueue(w.info.ID)
	q := popper{client: client, keys: []string{own, w.keys.queue()}}
	for try := 0; ; {
		n := w.slots.wait(stop)
		if n == 0 || !w.pause.wait(stop) {
			return
		}
		frames, from, err := q.pop(n)
		w.slots.acquire(frames)
		now := time.Now()
		for _, frame := range frames {
			w.handleCall(frame, from == own, now)
		}
		if err == nil {
			try = 0
			if closed(stop) {
				return
			}
			runtime.Gosched() // the calls begin before the next read is sent
			continue
		}
		if !w.recover(client, err, stop, &try) {
			return
		}
	}
}

// readControl reads the worker's control list until stop is closed and the command
// that waits has ended. Control frames take no slots.
func (w *Worker) readControl(client redis.UniversalClient, stop <-chan struct{}) {
	q := popper{client: client, keys: []string{w.keys.control(w.info.ID)}}
	for try := 0; !closed(stop); {
		frames, _, err := q.pop(controlCount)
		for _, frame := range frames {
			w.handleControl(frame)
		}
		if err == nil {
			try = 0
		} else if !w.recover(client, err, stop, &try) {
			return
		}
	}
}

// controlCount is how many frames of the control list are read at a time.
const controlCount = 128

// recover waits after a failed read until the server that has the worker's lists can be
// reached. It returns false once stop is closed.
func (w *Worker) recover(client redis.UniversalClient, err error, stop <-chan struct{}, try *int) bool {
	var reply redis.Error
	refused := errors.As(err, &reply)
	switch {
	case redis.IsPermissionError(err):
		select {
		case w.refused <- w.denied(err):
		default:
		}
		<-stop
		return false
	case refused:
		w.throttle.Warn(w.link.log, "bus: Redis refused to read calls, trying again", "error", err)
	default:
		w.link.markDown(err)
	}
	for again := true; again; *try++ {
		select {
		case <-stop:
			return false
		case <-time.After(redisio.Backoff(*try)):
		}
		again = !refused && client.PExpire(context.Background(), w.keys.queue(), queueTTL).Err() != nil
	}
	if !refused {
		w.link.markUp()
	}
	return true
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// popper takes elements from the first of its lists that has any.
type popper struct {
	client redis.UniversalClient
	keys   []string
	simple bool // the server has no BLMPOP, which came with Redis 7
}

// pop waits up to redisio.BlockTime for up to n elements of one list.
func (q *popper) pop(n int) (elems []string, key string, err error) {
	ctx := context.Background()
	if q.simple {
		return q.popOne(ctx, n)
	}
	args := []any{"blmpop", redisio.BlockTime.Seconds(), len(q.keys)}
	for _, k := range q.keys {
		args = append(args, k)
	}
	cmd := redisio.Once(ctx, append(args, "left", "count", n)...)
	cmd.SetFirstKeyPos(3)
	_ = q.client.Process(ctx, cmd)
	elems, key, err = popped(cmd)
	if err != nil && strings.Contains(err.Error(), "unknown command") {
		q.simple = true
		return q.popOne(ctx, n)
	}
	return elems, key, err
}

// popOne is pop on Redis 6.2: BLPOP waits for one element, and LPOP takes those behind
// it.
func (q *popper) popOne(ctx context.Context, n int) (elems []string, key string, err error) {
	args := []any{"blpop"}
	for _, k := range q.keys {
		args = append(args, k)
	}
	cmd := redisio.Once(ctx, append(args, redisio.BlockTime.Seconds())...)
	_ = q.client.Process(ctx, cmd)
	elems, key, err = popped(cmd)
	if err != nil || len(elems) == 0 || n == 1 {
		return elems, key, err
	}
	more := redisio.Once(ctx, "lpop", key, n-1)
	_ = q.client.Process(ctx, more)
	rest, err := more.StringSlice()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return append(elems, rest...), key, err
}

// popped decodes the answer of BLPOP or BLMPOP: a key, and one or more elements.
func popped(cmd redisio.OnceCmd) (elems []string, key string, err error) {
	answer, err := cmd.Slice()
	if errors.Is(err, redis.Nil) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
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
	return elems, key, nil
}
