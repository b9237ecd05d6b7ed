package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Gap says which values a watch with WatchOptions.Every could not yield.
type Gap struct {
	After  Revision `json:"after"`  // of the last value before the gap: the one yielded last, or WatchOptions.From; zero: there is none
	Before Revision `json:"before"` // of the first value after the gap, which is the next event of the keyword
}

// String returns "values after 1790000000000000:5 and before 1790000000000000:9".
func (g Gap) String() string {
	if g.After == (Revision{}) {
		return fmt.Sprintf("values before %s", g.Before)
	}
	return fmt.Sprintf("values after %s and before %s", g.After, g.Before)
}

const (
	defaultQueue = 1 << 20 // of WatchOptions.Queue
	maxLines     = 256     // of a history that are read at once

	// maxRedefinitions is how many definitions of a keyword may wait to be told. Each is
	// of another run of its dispatcher. The oldest of more are not told.
	maxRedefinitions = 16
)

// redefinition is another definition of a keyword.
type redefinition struct {
	def  *Definition
	from Revision // values of this revision and later are under it
}

// everyChange is the part of a watcher that yields every change. The feed queues changes
// as they are published. The goroutine that ranges over the watch compares the revision of
// the line before, which each change has, with what it has yielded: if they differ,
// or a change did not fit the queue, it reads the history from there on. The
// history is the queue of a watch that is slow, or was cut off.
type everyChange struct {
	c     *Client
	from  Revision
	limit int // of bytes

	// By watcher.mu:
	service service
	keys    map[string]*followed // by name
	queue   []notice             // changes with a line in the history, as they were published
	bytes   int                  // of queue
	behind  []*followed          // whose history must be read, oldest first
	changed []*followed          // whose status must be told, oldest first

	// Of the goroutine that calls next:
	ready []notice  // what was found in the history
	again time.Time // when Redis is asked again, after an error
	tries int
}

// followed is a keyword of which every change is yielded.
type followed struct {
	name string
	key  string // of its history

	// By watcher.mu:
	def     *Definition
	defs    []redefinition // to be told, oldest first
	quality Quality
	status  EventKind // to be told; EventInitial: none; EventRedefined: only defs
	behind  bool      // it is in everyChange.behind
	queued  Revision  // of the newest change that was queued
	newest  Revision  // of the newest value that the feed has told

	// Of the goroutine that calls next:
	begun   bool     // at is known: the first value was looked for
	at      Revision // of the value that was made ready last, or WatchOptions.From
	last    *record  // of at
	scanned Revision // of the line that was read last
	read    Revision // the history was read to its end after the change of this revision was queued
	lines   int      // how many to read at once
	told    Quality  // of the event that was yielded last
}

func newEveryChange(c *Client, o WatchOptions) *everyChange {
	return &everyChange{c: c, from: o.From, limit: cmp.Or(o.Queue, defaultQueue), keys: make(map[string]*followed)}
}

// accept makes a watcher follow a keyword, or returns why it can't.
func (w *watcher) accept(s service, def *Definition, quality Quality) error {
	if w.every == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.every.service = s
	if w.every.followLocked(def, quality) == nil {
		return fmt.Errorf("keywords: %v: WatchOptions.Every needs a history, and Spec.History of the keyword is 0", def)
	}
	signal(w.more)
	return nil
}

// followLocked returns what is known of a keyword, or nil if it keeps no history.
func (e *everyChange) followLocked(def *Definition, quality Quality) *followed {
	k := e.keys[def.Name]
	if k == nil {
		if def.History == 0 || def.WriteOnly {
			return nil
		}
		k = &followed{name: def.Name, key: e.service.log(def.Name), begun: e.from != Revision{}, at: e.from, lines: 4}
		e.keys[def.Name] = k
		e.readLocked(k)
	}
	k.def, k.quality = def, quality
	return k
}

// readLocked notes that the history of a keyword must be read.
func (e *everyChange) readLocked(k *followed) {
	if !k.behind {
		k.behind = true
		e.behind = append(e.behind, k)
	}
}

// tellLocked notes that a change of a keyword's status must be told. A later one replaces it.
func (e *everyChange) tellLocked(k *followed, status EventKind) {
	if k.status == EventInitial {
		e.changed = append(e.changed, k)
	}
	k.status = status
}

// redefinedLocked notes that a keyword has the definition of a notice, the first with it.
func (e *everyChange) redefinedLocked(k *followed, n notice) {
	from := Revision{n.rec.rev.Epoch, n.rec.rev.N + 1}
	if n.kind != EventRedefined && n.rec.rev.Epoch != k.newest.Epoch {
		from.N = 0 // the run of the dispatcher that has the definition has set the value
	}
	if len(k.defs) == maxRedefinitions {
		k.defs = k.defs[1:]
	}
	k.defs = append(k.defs, redefinition{n.def, from})
	e.tellDefinitionsLocked(k)
}

// tellDefinitionsLocked notes that the definitions of a keyword must be told, if no value
// comes that tells them.
func (e *everyChange) tellDefinitionsLocked(k *followed) {
	if k.status == EventInitial {
		e.tellLocked(k, EventRedefined)
	}
}

// nextDefinitionLocked returns the notice of the first definition to be told, with the
// value that was yielded last; nil: nothing was yielded, and so it need not be told.
func (e *everyChange) nextDefinitionLocked(k *followed, last *record) *notice {
	def := k.defs[0].def
	k.defs = k.defs[1:]
	if last == nil {
		return nil
	}
	return &notice{kind: EventRedefined, service: e.service.name, def: def, rec: *last, prev: last, quality: k.told}
}

// pushLocked adds what the feed says. It returns an error if the keyword keeps no
// history any more.
func (e *everyChange) pushLocked(n notice) error {
	if k := e.keys[n.def.Name]; k != nil && k.def != n.def {
		e.redefinedLocked(k, n)
	}
	k := e.followLocked(n.def, n.quality)
	switch {
	case k == nil:
		return nil // found by a glob
	case n.def.History == 0:
		return fmt.Errorf("keywords: %v: its dispatcher keeps no history any more, which WatchOptions.Every needs", n.def)
	}
	if n.rec.rev.Compare(k.newest) > 0 {
		k.newest = n.rec.rev
	}
	switch n.kind {
	case EventRedefined: // redefinedLocked has noted it
		return nil
	case EventStale, EventDisconnected, EventGone:
		e.tellLocked(k, n.kind)
		return nil
	case EventGood:
		e.tellLocked(k, n.kind)
	}
	switch size := n.rec.size(); {
	case n.after == nil || n.rec.rev.Compare(k.queued) <= 0:
		e.readLocked(k)
	case e.bytes+size > e.limit:
		e.c.stats.overflows.Add(1)
		e.readLocked(k)
	default:
		k.queued = n.rec.rev
		e.queue = append(e.queue, n)
		e.bytes += size
	}
	return nil
}

// size returns about how many bytes a record takes while it waits.
func (r *record) size() int { return len(r.text) + len(r.source) + len(r.remark) + 256 }

// next waits for the next event.
func (e *everyChange) next(ctx context.Context, w *watcher) (notice, error) {
	for {
		if err := ctx.Err(); err != nil {
			return notice{}, err
		}
		if len(e.ready) > 0 {
			return e.take(w), nil
		}
		k, upTo, err := e.work(w)
		switch {
		case err != nil:
			return notice{}, err
		case k != nil:
			if err := e.readHistory(ctx, w, k, upTo); err != nil {
				return notice{}, err
			}
			continue
		case len(e.ready) > 0:
			continue
		}
		var again <-chan time.Time
		if !e.again.IsZero() {
			again = time.After(time.Until(e.again))
		}
		select {
		case <-w.more:
		case <-again:
			e.again = time.Time{}
		case <-ctx.Done():
		}
	}
}

// take returns the first event that is ready, or before it that its value was set under
// another definition.
func (e *everyChange) take(w *watcher) notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := e.ready[0]
	k, rev := e.keys[n.rec.name], n.rec.rev
	if n.gap != nil {
		rev = n.gap.Before // the value is the next event
	}
	for n.kind != EventRedefined && len(k.defs) > 0 && rev.Compare(k.defs[0].from) >= 0 {
		if told := e.nextDefinitionLocked(k, n.prev); told != nil {
			return *told
		}
	}
	e.ready[0] = notice{}
	e.ready = e.ready[1:]
	if n.kind != EventRedefined {
		n.def, n.quality, k.told = k.def, k.quality, k.quality
	}
	return n
}

// work makes ready what waits first. Or it returns a keyword whose history must be read,
// and the newest of its changes in the queue: histories come before the queue, since they
// lose lines. While Redis is away, status comes before changes that need a history.
func (e *everyChange) work(w *watcher) (k *followed, upTo Revision, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, Revision{}, w.err
	}
	for len(e.queue) > 0 && len(e.behind) == 0 && len(e.ready) == 0 {
		n := e.queue[0]
		k := e.keys[n.rec.name]
		switch {
		case n.rec.rev.Compare(k.at) <= 0: // the history had it
		case follows(k.at, *n.after, n.rec.rev), n.rec.rev.Compare(k.read) <= 0: // or Redis has lost it
			e.admit(k, n.rec, *n.after)
		default:
			e.readLocked(k)
			continue
		}
		e.bytes -= n.rec.size()
		e.queue[0] = notice{}
		e.queue = e.queue[1:]
	}
	switch {
	case len(e.ready) > 0:
	case len(e.behind) > 0 && e.again.IsZero():
		k, e.behind = e.behind[0], e.behind[1:]
		k.behind = false
		return k, k.queued, nil
	case len(e.changed) > 0:
		k, e.changed = e.changed[0], e.changed[1:]
		for len(k.defs) > 0 && !k.behind { // or readHistory has it told afterwards
			if told := e.nextDefinitionLocked(k, k.last); told != nil {
				e.ready = append(e.ready, *told)
			}
		}
		if k.last != nil && k.status != EventRedefined && (k.status != EventGood || k.told != QualityGood) {
			e.ready = append(e.ready, notice{kind: k.status, service: e.service.name, rec: *k.last, prev: k.last})
		}
		k.status = EventInitial
	}
	return nil, Revision{}, nil
}

// follows reports whether no line of a history is missing between the value of revision at
// and a line: prev is the revision of the line before. A value that was committed again
// has no line; its revision is of the tenure that began then, as is that of the next line.
func follows(at, prev, line Revision) bool {
	order := prev.Compare(at)
	return order == 0 || order < 0 && (line.Epoch == at.Epoch || at.Epoch == 0)
}

// admit makes a line of the history ready to be yielded, after the gap before it if there
// is one.
func (e *everyChange) admit(k *followed, rec record, prev Revision) {
	if !follows(k.at, prev, rec.rev) {
		e.c.stats.gaps.Add(1)
		e.ready = append(e.ready, notice{
			kind: EventGap, service: e.service.name, rec: record{name: rec.name, rev: k.at}, prev: k.last, gap: &Gap{After: k.at, Before: rec.rev},
		})
	}
	e.show(k, EventChange, rec)
}

// show makes a value ready to be yielded. One that was committed again, with a line since
// Redis had lost the first, is otherwise the same.
func (e *everyChange) show(k *followed, kind EventKind, rec record) {
	if k.last != nil && rec.sameValue(*k.last) {
		kind = EventGood
	}
	e.ready = append(e.ready, notice{kind: kind, service: e.service.name, rec: rec, prev: k.last})
	k.at, k.last = rec.rev, &rec
}

// readHistory reads the next lines of a keyword's history: as many as the queue may hold.
// While Redis is unreachable it has itself called again later.
func (e *everyChange) readHistory(ctx context.Context, w *watcher, k *followed, upTo Revision) error {
	lines, err := e.lines(ctx, k)
	switch {
	case err == nil, redis.HasErrorPrefix(err, "WRONGTYPE"): // the dispatcher replaces a key of another type
		e.tries = 0
	case errors.Is(err, redis.ErrClosed):
		return ErrClosed
	case refusedByRedis(err):
		return redisio.Wrap(fmt.Sprintf("keywords: history of %s.%s", e.service.name, k.name), err)
	default:
		e.c.trouble.set(err)
		e.again = time.Now().Add(redisio.Backoff(e.tries))
		e.tries++
		w.mu.Lock()
		defer w.mu.Unlock()
		e.readLocked(k)
		return nil
	}
	largest := 1
	for _, line := range lines {
		rec, prev, err := readLine(k.name, line)
		k.scanned = rec.rev
		switch {
		case err == nil && rec.rev == k.at: // WatchOptions.From
			k.last = &rec
		case err != nil: // another program's, or of another version: the next line tells a gap
		case k.begun:
			e.admit(k, rec, prev)
		default:
			e.show(k, EventInitial, rec)
		}
		largest = max(largest, rec.size())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(k.defs) > 0 {
		e.tellDefinitionsLocked(k)
	}
	if k.begun && len(lines) == k.lines {
		e.readLocked(k)
	} else {
		k.begun, k.read = true, upTo
	}
	k.lines = max(1, min(e.limit/largest, 4*k.lines, maxLines))
	return nil
}

// lines reads the lines of a history after what was yielded last, oldest first; at the
// begin of a watch the newest.
func (e *everyChange) lines(ctx context.Context, k *followed) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, maxSilence)
	defer cancel()
	rdb := e.c.pool.Redis()
	if !k.begun {
		lines, err := rdb.XRevRangeN(ctx, k.key, "+", "-", 1).Result()
		return lines, redisio.Normalize(ctx, err)
	}
	from := "(" + k.at.entryID()
	switch {
	case k.last == nil && k.scanned == Revision{}: // the value of WatchOptions.From is the Event.Prev of the first event
		from = k.at.entryID()
	case k.scanned.Compare(k.at) > 0:
		from = "(" + k.scanned.entryID()
	}
	lines, err := rdb.XRangeN(ctx, k.key, from, "+", int64(k.lines)).Result()
	return lines, redisio.Normalize(ctx, err)
}
