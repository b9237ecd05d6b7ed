package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// unsentPerSlot is the number of replies per slot that may be on their way to Redis
// without a slot. To keep the slot until Redis has the reply would cost a quarter of
// the throughput at 256 callers.
const unsentPerSlot = 4

// maxHead is the size limit of a request without its body, in bytes.
const maxHead = 64 << 10

// handleCall handles a frame of a queue, which has a slot.
func (w *Worker) handleCall(frame string, direct bool, now time.Time) {
	if frame == "" { // see Worker.wake
		w.slots.release()
		return
	}
	t := &task{frame: frame, direct: direct, order: w.arrived.Add(1), slot: true}
	if !w.accept(t, now) {
		return
	}
	lane := t.method.lane
	switch lane.enter(t) {
	case placeRun:
		go w.serve(t)
	case placeOverflow:
		w.overflow(t)
	case placeWait:
		if lane.room > 0 {
			w.slots.release()
		}
	}
}

// handleControl handles a frame of the control list: a notice, or a call to a built-in
// method, which needs no slot.
func (w *Worker) handleControl(frame string) {
	if frame == "" {
		return
	}
	if isNotice(frame) {
		var n notice
		if err := n.unpack(frame); err != nil {
			w.malformed(err)
			return
		}
		w.handleNotice(n)
		return
	}
	t := &task{frame: frame, direct: true, control: true}
	if !w.accept(t, time.Now()) {
		return
	}
	switch {
	case !isBuiltin(t.request.method):
		w.answer(t, Body{}, &refusal{CodeMalformed, "only built-in methods are called through the control list"})
	case t.method.lane.crowded():
		w.answer(t, Body{}, &refusal{CodeFailed, "too many calls to built-in methods wait"})
	case t.method.lane.enter(t) == placeRun:
		go w.serve(t)
	}
}

// accept decodes a request and enters it into the roster, or answers it and returns
// false.
func (w *Worker) accept(t *task, now time.Time) bool {
	err := t.unpack(t.frame)
	t.ctx.parent, t.ctx.header = w.work, t.header
	if t.deadline != 0 {
		t.ctx.deadline = w.clock.Local(time.UnixMilli(t.deadline))
	}
	w.heldGroup(t).Add(1)
	t.size = len(t.frame)
	w.slots.hold(t.size)
	if err != nil {
		w.malformed(err)
		ours := t.request
		t.request = request{}
		if ours.id, ours.client, _ = caller(t.frame); ours.id != 0 {
			t.id, t.client = ours.id, ours.client
		}
		w.answer(t, Body{}, &refusal{CodeMalformed, err.Error()})
		return false
	}
	t.method = w.find(t.request.method)
	var no *refusal
	switch m := t.method; {
	case len(t.body.Data) > w.cfg.MaxMessage:
		no = &refusal{CodeBadArguments, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", len(t.body.Data), w.cfg.MaxMessage)}
	case len(t.frame)-len(t.body.Data) > maxHead:
		no = &refusal{CodeBadArguments, fmt.Sprintf("headers of more than %d bytes", maxHead)}
	case m == nil:
		no = &refusal{CodeUnknownMethod, fmt.Sprintf("type %s has no method %q", w.cfg.Type, t.request.method)}
	case m.stream && t.window.items == 0:
		no = &refusal{CodeUnknownMethod, fmt.Sprintf("method %q is a stream", t.request.method)}
	case !m.stream && t.window.items > 0:
		no = &refusal{CodeUnknownMethod, fmt.Sprintf("method %q is not a stream", t.request.method)}
	}
	if no != nil {
		w.answer(t, Body{}, no)
		return false
	}
	t.entered = true
	t.method.stats.held.Add(1)
	if t.method.stream {
		t.sender = newItemSender(w, t)
	}
	w.roster.add(t, now)
	return true
}

func (w *Worker) malformed(err error) {
	w.stats.malformed.Add(1)
	w.throttle.Warn(w.link.log, "bus: request refused: it can't be decoded", "error", err)
}

// serve runs a call, and then calls that wait in its lane.
func (w *Worker) serve(t *task) {
	lane, returned := t.method.lane, false
	defer func() {
		if !returned { // the handler called runtime.Goexit, for example by testing.T.FailNow
			w.answer(t, Body{}, &refusal{code: CodePanic})
			if next := w.nextCall(lane); next != nil {
				go w.serve(next)
			}
		}
	}()
	for ; t != nil; t = w.nextCall(lane) {
		if body, err := w.call(t); err != errDeferred {
			w.answer(t, body, err)
		}
	}
	returned = true
}

// errExpired is returned in place of an answer that the caller does not wait for,
// because its deadline has passed or it has given up.
var errExpired = errors.New("expired")

// errDeferred is returned in place of an answer that a [busio.Call] gives later.
var errDeferred = errors.New("deferred")

// finish ends a request without an answer.
func (w *Worker) finish(t *task) {
	w.forget(t)
	w.release(t)
	w.heldGroup(t).Done()
}

// heldGroup returns the group that counts a request until its end.
func (w *Worker) heldGroup(t *task) *sync.WaitGroup {
	if t.control {
		return &w.heldControl
	}
	return &w.held
}

// forget takes a request out of the roster and the statistics.
func (w *Worker) forget(t *task) {
	w.roster.remove(t)
	w.slots.drop(t.size)
	if t.entered {
		t.method.stats.held.Add(-1)
	}
}

func (w *Worker) release(t *task) {
	if t.slot {
		w.slots.release()
	}
}

// call runs the handler.
func (w *Worker) call(t *task) (body Body, err error) {
	ctx, m := &t.ctx, t.method
	begun := time.Now()
	if t.foreign != nil && t.foreign.timeout > 0 {
		ctx.deadline = begun.Add(t.foreign.timeout)
	}
	if t.deadline != 0 && !begun.Before(ctx.deadline) || t.begin != 0 && !begun.Before(w.clock.Local(time.UnixMilli(t.begin))) {
		w.stats.expired.Add(1)
		m.stats.expired.Add(1)
		return Body{}, errExpired
	}
	if t.sent != 0 {
		m.stats.wait.add(w.clock.At(begun).Sub(time.UnixMilli(t.sent)))
	}
	defer func() {
		if err != errDeferred {
			ctx.end()
		}
	}()
	switch {
	case ctx.abandoned():
		return Body{}, errExpired
	case t.elsewhere && w.tenure.hasLapsed():
		return Body{}, &refusal{CodeStopped, ErrLeaseLapsed.Error()}
	}
	if t.sender != nil {
		w.roster.announceNow(t)
	}
	defer func() {
		if v := recover(); v != nil {
			stack := string(debug.Stack())
			w.link.log.Error("bus: handler panicked; its caller gets CodePanic", "method", t.request.method, "panic", v, "stack", stack)
			body, err = Body{}, &refusal{code: CodePanic}
			if t.foreign != nil {
				t.foreign.panicked(v, stack)
			}
		}
		m.stats.time.add(time.Since(begun))
	}()
	if m.wrapped {
		body, err = w.through(t)
	} else {
		body, err = m.call(ctx, t)
	}
	switch {
	case err == nil, err == errDeferred:
		return body, err
	case w.work.Err() != nil:
		err = &refusal{CodeStopped, "the worker stopped: " + err.Error()}
	case ctx.lapsed.Load(): // the call may be made again
		err = &refusal{CodeStopped, ErrLeaseLapsed.Error() + ": " + err.Error()}
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == context.DeadlineExceeded:
		w.stats.errors.Add(1)
		m.stats.late.Add(1)
		return Body{}, errExpired // the caller knows its own deadline
	}
	if ctx.Err() == context.DeadlineExceeded {
		m.stats.late.Add(1)
	}
	return body, err
}

// answer sends the reply to a request, if its caller waits for one, and releases its
// slot. A second answer is ignored: a handler may give a [busio.Call] an answer, or to
// another goroutine, and then panic.
func (w *Worker) answer(t *task, body Body, err error) {
	if t.answered.Swap(true) {
		return
	}
	if t.foreign != nil {
		w.endForeign(t, body, err)
		return
	}
	if t.ctx.abandoned() {
		if t.entered {
			t.method.stats.cancelled.Add(1)
		}
		w.finish(t)
		return
	}
	if err == errExpired || t.frame == "" { // a tick
		w.finish(t)
		return
	}
	rep := w.reply(t, body, err)
	w.stats.calls.Add(1)
	if rep.code != "" {
		w.stats.errors.Add(1)
	}
	if t.entered {
		t.method.stats.answered(rep.code)
	}
	w.sendReply(t, &rep)
}

// reply returns the reply to a request whose handler returned body and err.
func (w *Worker) reply(t *task, body Body, err error) reply {
	rep := reply{id: t.id, from: w.info.ID, header: t.answer}
	if t.sender != nil {
		var bad *refusal
		if rep.seq, bad = t.sender.end(); bad != nil {
			err = bad
		}
	}
	switch n := len(body.Data); {
	case err != nil:
	case n > w.cfg.MaxMessage:
		err = &refusal{CodeBadResult, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", n, w.cfg.MaxMessage)}
	case !body.Codec.Valid():
		err = &refusal{CodeBadResult, "unknown " + body.Codec.String()}
	default:
		rep.body = body
	}
	if err != nil {
		if ours, ok := err.(*refusal); ok {
			rep.code, rep.text = ours.code, ours.text
		} else {
			rep.code, rep.text = failure(err)
		}
		rep.text = cut(rep.text, w.cfg.MaxMessage)
	}
	return rep
}

// cut shortens the text of an error to the size limit of a message.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit]
}

// sendReply sends a reply, unless the caller wants none.
func (w *Worker) sendReply(t *task, rep *reply) {
	inbox := w.inboxOf(t.client)
	if t.id == 0 || inbox == "" {
		w.finish(t)
		return
	}
	w.forget(t)
	early := !t.slot || w.unsent.Add(1) <= int64(unsentPerSlot*w.slots.all)
	if early {
		w.release(t)
	}
	w.writeReply(inbox, rep.pack(), replyTries, func(err error) {
		if t.slot {
			w.unsent.Add(-1)
		}
		if !early {
			w.release(t)
		}
		w.heldGroup(t).Done()
		if err != nil {
			w.stats.lost.Add(1)
			if !errors.Is(err, redis.Nil) { // Nil: the client has no inbox any more
				w.throttle.Warn(w.link.log, "bus: reply lost: it could not be written", "error", err)
			}
		}
	})
}

// replyTries is how often a reply is written while it is unknown whether Redis has it.
// The client takes the first.
const replyTries = 3

func (w *Worker) writeReply(inbox string, frame []byte, tries int, done func(error)) {
	redisio.Of(w.pool).Writer().Append(w.life, inbox, frame, func(_ int64, err error) {
		if tries > 1 && errors.Is(err, storage.ErrIndeterminate) {
			w.writeReply(inbox, frame, tries-1, done)
			return
		}
		done(err)
	})
}

// inboxOf returns the key of a client's inbox, or "" if the client's id is not valid.
// It keeps the keys of recent clients.
func (w *Worker) inboxOf(client string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, known := w.inboxes[client]
	if !known {
		key, _ = inboxKey(w.pool, w.cfg.Site, client)
		if len(w.inboxes) >= maxInboxes {
			clear(w.inboxes)
		}
		w.inboxes[strings.Clone(client)] = key // client would keep the whole frame in memory
	}
	return key
}

// maxInboxes is the number of keys of inboxes that a worker keeps.
const maxInboxes = 1024
