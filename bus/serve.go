package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"
)

// unsentPerSlot is how many replies, for each slot, may be on their way to Redis
// without taking a slot. A slot that is kept until Redis has the reply costs a
// quarter of the throughput at 256 callers; a bound there must be.
const unsentPerSlot = 4

// arrive takes a frame from a queue, for which a slot has been taken.
func (w *Worker) arrive(frame []byte, direct bool) {
	if len(frame) == 0 { // a stopping worker wakes itself
		w.slots.release()
		return
	}
	w.arrived++
	req := &request{direct: direct, order: w.arrived}
	if err := req.unpack(frame); err != nil {
		w.slots.release()
		w.stats.malformed.Add(1)
		w.noise.warn(w.link.log, "bus: a request that can't be understood", "error", err)
		return
	}
	w.held.Add(1)
	if n := len(req.body.Data); n > w.cfg.MaxMessage {
		w.answer(req, Body{}, &refusal{CodeBadArguments, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", n, w.cfg.MaxMessage)})
		return
	}
	m := w.find(req.method)
	if m == nil {
		w.answer(req, Body{}, &refusal{CodeUnknownMethod, fmt.Sprintf("type %s has no method %q", w.cfg.Type, req.method)})
		return
	}
	if m.lane.enter(req) {
		go w.serve(m, req)
	}
}

// serve runs a request and those that wait behind it in its lane.
func (w *Worker) serve(m *method, req *request) {
	lane, returned := m.lane, false
	defer func() {
		if !returned { // runtime.Goexit in a handler, as of testing.T.FailNow
			w.answer(req, Body{}, &refusal{code: CodePanic})
			if next := lane.next(); next != nil {
				go w.serve(w.find(next.method), next)
			}
		}
	}()
	for ; req != nil; req = lane.next() {
		body, err := w.call(w.find(req.method), req)
		if err == errExpired {
			w.drop()
		} else {
			w.answer(req, body, err)
		}
	}
	returned = true
}

// errExpired stands for the answer to a caller who does not wait any more: the
// deadline of the request has passed.
var errExpired = errors.New("expired")

// drop gives a request no answer.
func (w *Worker) drop() {
	w.slots.release()
	w.held.Done()
}

// call runs the handler.
func (w *Worker) call(m *method, req *request) (body Body, err error) {
	ctx := &callContext{parent: w.work, header: req.header}
	if req.deadline != 0 {
		left := time.UnixMilli(req.deadline).Sub(w.clock.Now())
		if left <= 0 {
			w.stats.expired.Add(1)
			return Body{}, errExpired
		}
		ctx.deadline = time.Now().Add(left)
	}
	defer ctx.end()
	defer func() {
		if v := recover(); v != nil {
			w.link.log.Error("bus: panic in a handler", "method", req.method, "panic", v, "stack", string(debug.Stack()))
			body, err = Body{}, &refusal{code: CodePanic}
		}
	}()
	body, err = m.call(ctx, req)
	switch {
	case err == nil:
	case w.work.Err() != nil:
		err = &refusal{CodeStopped, "the worker stopped: " + err.Error()}
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == context.DeadlineExceeded:
		w.stats.errors.Add(1)
		return Body{}, errExpired // the caller says so himself
	}
	return body, err
}

// answer sends the reply to a request and gives back its slot.
func (w *Worker) answer(req *request, body Body, err error) {
	w.stats.calls.Add(1)
	switch n := len(body.Data); {
	case err != nil:
	case n > w.cfg.MaxMessage:
		err = &refusal{CodeBadResult, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", n, w.cfg.MaxMessage)}
	case !body.Codec.Valid():
		err = &refusal{CodeBadResult, "unknown " + body.Codec.String()}
	}
	rep := reply{id: req.id, from: w.from, body: body}
	if err != nil {
		w.stats.errors.Add(1)
		rep.body = Body{}
		if ours, ok := err.(*refusal); ok {
			rep.code, rep.text = ours.code, ours.text
		} else {
			rep.code, rep.text = failure(err)
		}
		rep.text = cut(rep.text, w.cfg.MaxMessage)
	}
	w.send(req, &rep)
}

// cut shortens the text of an error to what a message may hold.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit]
}

// send writes a reply, unless none is wanted.
func (w *Worker) send(req *request, rep *reply) {
	inbox := w.inboxOf(req.client)
	if req.id == 0 || inbox == "" {
		w.drop()
		return
	}
	early := w.unsent.Add(1) <= int64(unsentPerSlot*w.slots.all)
	if early {
		w.slots.release()
	}
	w.pool.Writer().Append(w.life, inbox, rep.pack(), func(_ int64, err error) {
		w.unsent.Add(-1)
		if !early {
			w.slots.release()
		}
		w.held.Done()
		if err != nil {
			w.stats.lost.Add(1)
			if !errors.Is(err, redis.Nil) { // Nil: the client has gone
				w.noise.warn(w.link.log, "bus: a reply could not be written", "error", err)
			}
		}
	})
}

// inboxOf returns the key of a client's inbox, "" if it can't be one. The names
// of the clients that were seen last are kept.
func (w *Worker) inboxOf(client []byte) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, known := w.inboxes[string(client)]
	if !known {
		key, _ = inboxKey(w.pool, w.cfg.Site, string(client))
		if len(w.inboxes) >= maxInboxes {
			clear(w.inboxes)
		}
		w.inboxes[string(client)] = key
	}
	return key
}

// maxInboxes is how many names of inboxes a worker keeps.
const maxInboxes = 1024
