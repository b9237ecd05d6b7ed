package keywords

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
)

// feed is what a client knows of a service that is watched: its values, from one
// subscription for all watchers. It lives as long as there are any.
type feed struct {
	c      *Client
	s      service
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	primed chan struct{} // closed: the first snapshot is there, or err
	users  int           // by Client.mu

	reading sync.Mutex // held while a message is taken, or all is read anew

	mu       sync.Mutex
	err      error
	keywords map[string]*keywordState
	heads    map[string]*head // by dispatcher
	all      map[*watcher]func(name string) bool
}

// keywordState is a keyword as the feed has seen it last.
type keywordState struct {
	def      *Definition // replaced, and never changed: watchers have it too
	rec      record
	ok       bool // it has a value
	gone     bool // it is not defined now; its watchers wait until it is again
	watchers map[*watcher]struct{}
	polled   time.Time // when it was read last, if nobody tells of it
}

// head is where a dispatcher is.
type head struct {
	newest Revision
	alive  bool
	behind int // looks that found Redis ahead of what was told
}

// watch adds a watcher of the target to the feed of its service. The watcher is told
// the present values first. Leave removes the watcher.
func (c *Client) watch(ctx context.Context, t target, w *watcher) (leave func(), err error) {
	s, err := newService(c.pool, t.service)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	f := c.feeds[t.service]
	if f == nil || closed(f.done) {
		f = &feed{
			c: c, s: s, done: make(chan struct{}), primed: make(chan struct{}),
			keywords: make(map[string]*keywordState), heads: make(map[string]*head), all: make(map[*watcher]func(string) bool),
		}
		f.ctx, f.cancel = context.WithCancel(context.Background())
		c.feeds[t.service] = f
		go f.run()
	}
	f.users++
	c.mu.Unlock()
	leave = func() { c.leave(f, w, t.name) }
	select {
	case <-f.primed:
	case <-ctx.Done():
		leave()
		return nil, redisio.Because(ctx.Err(), c.trouble.get())
	}
	if err := f.join(w, t); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// leave ends a watcher's part in a feed, of one keyword if that is named, and the
// feed with the last.
func (c *Client) leave(f *feed, w *watcher, exact string) {
	f.mu.Lock()
	if exact == "" {
		delete(f.all, w)
		for _, k := range f.keywords {
			delete(k.watchers, w)
		}
	} else if k := f.keywords[exact]; k != nil {
		delete(k.watchers, w)
	}
	f.mu.Unlock()
	c.mu.Lock()
	f.users--
	last := f.users == 0
	if last && c.feeds[f.s.name] == f {
		delete(c.feeds, f.s.name)
	}
	c.mu.Unlock()
	if last {
		f.close(ErrClosed)
	}
}

// join enters a watcher and tells it what there is.
func (f *feed) join(w *watcher, t target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if len(f.heads) == 0 {
		return &Error{Code: CodeUnknownService, Service: f.s.name}
	}
	if t.name != "" {
		k := f.keywords[t.name]
		switch {
		case k == nil || k.gone:
			return &Error{Code: CodeUnknownKeyword, Service: f.s.name, Keyword: t.name}
		case k.def.WriteOnly:
			return &Error{Code: CodeWriteOnly, Service: f.s.name, Keyword: t.name}
		}
		k.watchers[w] = struct{}{}
		f.notifyLocked(w, EventInitial, k)
		return nil
	}
	f.all[w] = t.match
	for name, k := range f.keywords {
		if t.match(name) {
			k.watchers[w] = struct{}{}
			f.notifyLocked(w, EventInitial, k)
		}
	}
	return nil
}

// tell hands a keyword to a watcher. The lock is held.
func (f *feed) notifyLocked(w *watcher, kind EventKind, k *keywordState) {
	if !k.ok && kind != EventGone || k.def.WriteOnly {
		return
	}
	n := notice{kind: kind, service: f.s.name, def: k.def, rec: k.rec}
	if !f.alive(k) {
		n.quality = QualityStale
	}
	w.push(n)
}

// tellAll hands it to all its watchers. The lock is held.
func (f *feed) notifyAllLocked(kind EventKind, k *keywordState) {
	for w := range k.watchers {
		f.notifyLocked(w, kind, k)
	}
}

func (f *feed) alive(k *keywordState) bool {
	h := f.heads[k.def.Dispatcher]
	return h != nil && h.alive
}

// run follows the service until the feed is closed.
func (f *feed) run() {
	defer close(f.done)
	var primed bool
	prime := func(err error) {
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
		if !primed {
			primed = true
			close(f.primed)
		}
	}
	topic, err := pubsub.ParseTopic[message](f.s.channel)
	if err != nil {
		prime(err)
		return
	}
	f.reading.Lock() // what is told waits until all was read
	l, err := pubsub.Listen(f.ctx, f.c.ps, topic, f.onMessage)
	if err == nil {
		defer func() { _ = l.Close(); <-l.Done() }()
		err = f.readAll(EventInitial)
	}
	f.reading.Unlock()
	prime(err)
	if err != nil {
		return
	}
	look := time.NewTicker(checkInterval)
	defer look.Stop()
	poll := time.NewTimer(f.untilPoll())
	defer poll.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-l.Done(): // too slow for a service as a whole: begin anew
			prime(redisio.Wrap(fmt.Sprintf("keywords: watch of %s", f.s.name), l.Err()))
			f.fail()
			return
		case <-look.C:
			f.reading.Lock()
			if f.checkHeads() {
				_ = f.readAll(EventResync) // what Redis refuses now, it may give at the next look
			}
			f.reading.Unlock()
		case <-poll.C:
			f.reading.Lock()
			f.pollDue()
			f.reading.Unlock()
			poll.Reset(f.untilPoll())
		}
	}
}

// hear takes what a dispatcher tells, on the goroutine that brings it.
func (f *feed) onMessage(_ context.Context, m pubsub.Message[message]) error {
	f.reading.Lock()
	defer f.reading.Unlock()
	if errors.Is(m.Err, pubsub.ErrGap) || m.Err == nil && f.apply(m.Value) {
		_ = f.readAll(EventResync) // or at the next look
	}
	return nil
}

// checkInterval is between two looks at who lives, and whether all that was committed
// has been told.
const checkInterval = time.Second

// take takes a message, and reports whether there is more to know than it says.
func (f *feed) apply(m message) (again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.heads[m.Dispatcher]
	switch {
	case m.Defined, h == nil:
		return true
	case m.Ended:
		h.alive = false
		f.notifyStaleLocked(m.Dispatcher)
		return false
	}
	last := Revision{m.Epoch, m.N + uint64(len(m.Changes)) - 1}
	switch {
	case last.Compare(h.newest) <= 0:
		return false // known from a snapshot, or of an earlier tenure
	case m.Epoch != h.newest.Epoch, m.N > h.newest.N+1, !h.alive:
		return true
	}
	for i, ch := range m.Changes {
		k := f.keywords[ch.Name]
		if k == nil || k.gone {
			return true
		}
		if ch.Silent {
			continue // polled
		}
		f.setLocked(k, EventChange, record{
			name: ch.Name, text: ch.Text, rev: Revision{m.Epoch, m.N + uint64(i)}, at: ch.At, severity: ch.Severity, source: ch.Source,
		})
	}
	h.newest, h.behind = last, 0
	return false
}

// setLocked notes a value and tells the watchers, unless it is known. A value that was
// committed again, by a dispatcher that took over or after Redis had lost it, has
// another revision and is otherwise the same. The lock is held.
func (f *feed) setLocked(k *keywordState, kind EventKind, rec record) {
	if k.ok {
		order := rec.rev.Compare(k.rec.rev)
		if rec == k.rec || order < 0 || order == 0 && f.alive(k) {
			return // of the same revision with another text: an external write
		}
		if order > 0 && rec.sameValue(k.rec) && f.alive(k) {
			kind = EventGood
		}
	}
	k.rec, k.ok = rec, true
	f.notifyAllLocked(kind, k)
}

// found notes a value that was read, or that there is none any more. What somebody
// else has written may be none of the keyword's: then its dispatcher will say what
// it is. The lock is held.
func (f *feed) setReadLocked(k *keywordState, kind EventKind, r readResult) {
	switch _, err := k.def.Parse(r.text); {
	case r.ok && err == nil:
		f.setLocked(k, kind, r.record)
	case !r.ok && r.err == nil && k.ok:
		k.ok = false
		f.notifyAllLocked(EventGone, k)
	}
}

// tellStale tells that a dispatcher is gone. The lock is held.
func (f *feed) notifyStaleLocked(disp string) {
	for _, k := range f.keywords {
		if k.def.Dispatcher == disp {
			f.notifyAllLocked(EventStale, k)
		}
	}
}

// fail ends the watchers with the feed's error.
func (f *feed) fail() {
	f.mu.Lock()
	defer f.mu.Unlock()
	tell := func(w *watcher) { w.fail(f.err) }
	for w := range f.all {
		tell(w)
	}
	for _, k := range f.keywords {
		for w := range k.watchers {
			tell(w)
		}
	}
}

// close ends the feed and its watchers, and waits.
func (f *feed) close(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.cancel()
	<-f.done
	f.fail()
}
