package bus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Times of announcements of calls.
const (
	holdTime     = 250 * time.Millisecond // after which a worker announces a call that it holds
	announceTime = 5 * time.Second        // after which it announces the call again
	goneTime     = 5 * time.Second        // without its inbox, after which a client is taken to be gone
	rosterTick   = time.Second            // between two checks of announced calls
)

// task is a request that a worker holds.
type task struct {
	request
	frame    string // as it was read; empty: a tick
	size     int    // of frame, as slots.hold counts it
	order    int64  // of arrival
	direct   bool   // sent to this worker alone
	slot     bool   // it has one
	refilled bool   // it was read from an overflow list
	control  bool   // read from the control list
	entered  bool   // its method's statistics count it
	method   *method
	ctx      callContext
	sender   *itemSender // of a stream
	answer   Header      // of the reply
	answered atomic.Bool // it has an answer
	foreign  *foreign    // of a busio.Source; nil: a call

	// Guarded by roster.mu:
	listed     bool // in the roster
	taken      time.Time
	prev, next *task         // neighbours in the list of calls not announced
	announced  *announcement // nil: it was not
}

// announcement is the state of an announced call.
type announcement struct {
	again time.Time // when it is due again
	gone  time.Time // since when the client has no inbox; zero: it has
}

// Err tells the writer that an item of a stream is not wanted any more, because the
// caller has given up. The handler may have returned.
func (t *task) Err() error {
	if t.ctx.abandoned() {
		return context.Canceled
	}
	return nil
}

// callKey identifies a call among those of all clients.
type callKey struct {
	client string
	id     uint64
}

func (t *task) key() callKey { return callKey{t.client, t.id} }

// roster has the calls that a worker holds and whose callers wait for a reply. It
// announces those that it has for a while. Most end earlier.
type roster struct {
	announce func(*task)

	mu             sync.Mutex
	oldest, newest *task             // not announced, in order of arrival
	known          map[callKey]*task // announced: their clients may send notices
	timer          *time.Timer
	armed, ended   bool
}

// add enters a call that was read just now.
func (r *roster) add(t *task, now time.Time) {
	if t.id == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.taken, t.listed = now, true
	t.prev = r.newest
	if t.prev != nil {
		t.prev.next = t
	} else {
		r.oldest = t
	}
	r.newest = t
	if !r.armed {
		r.armLocked(holdTime)
	}
}

// armLocked makes tick run after d.
func (r *roster) armLocked(d time.Duration) {
	if r.ended {
		return
	}
	r.armed = true
	if r.timer == nil {
		r.timer = time.AfterFunc(d, r.tick)
	} else {
		r.timer.Reset(d)
	}
}

// remove takes out a call that has ended, and reports whether it was announced.
func (r *roster) remove(t *task) (announced bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	announced = t.listed && t.announced != nil
	switch {
	case !t.listed:
	case t.announced != nil:
		delete(r.known, t.key())
	default:
		r.unlinkLocked(t)
	}
	t.listed = false
	return announced
}

// unlinkLocked takes a task out of the list of those not announced.
func (r *roster) unlinkLocked(t *task) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		r.oldest = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		r.newest = t.prev
	}
	t.prev, t.next = nil, nil
}

// markAnnouncedLocked moves a task to those announced.
func (r *roster) markAnnouncedLocked(t *task, now time.Time) {
	r.unlinkLocked(t)
	t.announced = &announcement{again: now.Add(announceTime)}
	r.known[t.key()] = t
}

// announceNow announces a call at once: the client of a stream must know where to send
// credits.
func (r *roster) announceNow(t *task) {
	r.mu.Lock()
	if t.listed && t.announced == nil {
		r.markAnnouncedLocked(t, time.Now())
	}
	r.mu.Unlock()
	r.announce(t)
}

// tick announces the calls that are due.
func (r *roster) tick() {
	var due []*task
	now := time.Now()
	r.mu.Lock()
	for t := r.oldest; t != nil && now.Sub(t.taken) >= holdTime; t = r.oldest {
		r.markAnnouncedLocked(t, now)
		due = append(due, t)
	}
	for _, t := range r.known {
		if a := t.announced; !now.Before(a.again) {
			a.again = now.Add(announceTime)
			due = append(due, t)
		}
	}
	r.armed = false
	switch {
	case r.oldest != nil:
		r.armLocked(r.oldest.taken.Add(holdTime).Sub(now))
	case len(r.known) > 0:
		r.armLocked(rosterTick)
	}
	r.mu.Unlock()
	for _, t := range due {
		r.announce(t)
	}
}

// announceAgain announces all announced calls again: Redis may have lost the
// announcements.
func (r *roster) announceAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.known {
		t.announced.again = time.Time{}
	}
	if len(r.known) > 0 {
		r.armLocked(0)
	}
}

// announcedCall returns an announced call, or nil.
func (r *roster) announcedCall(key callKey) *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[key]
}

// noteAnnounced notes whether an announcement was written, and reports whether the
// client is taken to be gone.
func (r *roster) noteAnnounced(t *task, err error) (gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, now := t.announced, time.Now()
	switch {
	case a == nil:
		return false
	case err == nil:
		a.gone = time.Time{}
		return false
	case !errors.Is(err, redis.Nil):
	case a.gone.IsZero():
		a.gone = now
	case now.Sub(a.gone) > goneTime:
		return true
	}
	a.again = now.Add(rosterTick)
	return false
}

// end stops the roster.
func (r *roster) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// announce tells a client that this worker holds its call, and how many items of a
// stream were sent.
func (w *Worker) announce(t *task) {
	inbox := w.inboxOf(t.client)
	if inbox == "" {
		return
	}
	rep := reply{kind: kindHeld, id: t.id, from: w.info.ID, lease: w.cfg.Lease}
	say := func() {
		redisio.Of(w.pool).Writer().Append(&t.ctx, inbox, rep.pack(), func(_ int64, err error) {
			if w.roster.noteAnnounced(t, err) {
				t.ctx.abandon()
			}
		})
	}
	if t.sender == nil {
		say()
	} else {
		t.sender.between(func(sent uint64) {
			rep.seq = sent
			say()
		})
	}
}

// handleNotice handles a notice of a client about one of its calls.
func (w *Worker) handleNotice(n notice) {
	if n.kind == kindRenew {
		signal(w.beat)
		return
	}
	t := w.roster.announcedCall(callKey{n.client, n.id})
	switch {
	case t == nil: // it has ended
	case n.kind == kindCancel:
		t.ctx.abandon()
	case t.sender != nil:
		t.sender.credit(n.spent)
	}
}

// announceReturned tells the clients of calls, for patience at the longest, that these
// are back in a queue. The calls are pushed afterwards, so that no client hears of the next
// worker first. With announcedOnly, clients that do not know this worker are told nothing.
func (w *Worker) announceReturned(tasks []*task, announcedOnly bool, patience time.Duration) {
	var told sync.WaitGroup
	for _, t := range tasks {
		announced := w.roster.remove(t)
		t.ctx.end() // an announcement that is late is not sent any more
		inbox := w.inboxOf(t.client)
		if t.id == 0 || inbox == "" || announcedOnly && !announced {
			continue
		}
		rep := reply{kind: kindReturned, id: t.id, from: w.info.ID}
		told.Add(1)
		redisio.Of(w.pool).Writer().Append(lasting(patience), inbox, rep.pack(), func(int64, error) { told.Done() })
	}
	told.Wait()
}
