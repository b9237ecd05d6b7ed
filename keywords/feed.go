package keywords

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// feed holds the values of a watched service, which it follows by one subscription for
// all watchers of the client. It exists while the service has watchers. Its run method
// is one goroutine; the pub/sub client calls onMessage on another.
type feed struct {
	c      *Client
	s      service
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	primed chan struct{} // closed once all values were read for the first time, or err is set
	users  int           // number of watchers; guarded by Client.mu

	reading chan struct{} // holds a token, taken while a message is applied and while the service is read

	mu       sync.Mutex
	err      error     // why the feed has ended
	contact  time.Time // when Redis was heard of last
	cut      bool      // watchers were told that it is not
	keywords map[string]*keywordState
	heads    map[string]*head // by dispatcher
	all      map[*watcher]func(name string) bool
}

// keywordState is what the feed knows of a keyword.
type keywordState struct {
	def      *Definition // replaced, never changed: watchers use it too
	rec      record
	after    *Revision // of the line before that of rec in the history; nil: rec was read, or has none
	ok       bool      // it has a value
	gone     bool      // it is not defined any more; its watchers wait until it is again
	watchers map[*watcher]struct{}
	polled   time.Time // when it was last read because its changes are not published
}

// head is the state of a dispatcher.
type head struct {
	newest Revision // of the newest value that the feed knows
	alive  bool
	behind int // consecutive checks that found newer values in Redis
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
			reading: make(chan struct{}, 1), contact: time.Now(), keywords: make(map[string]*keywordState), heads: make(map[string]*head), all: make(map[*watcher]func(string) bool),
		}
		f.reading <- struct{}{}
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

// leave removes a watcher from a feed, of the keyword exact if that is not empty. The
// feed ends with its last watcher.
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

// join adds a watcher and sends it the present values.
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
		case t.fits != nil:
			if err := t.fits(k.def.Kind); err != nil {
				return err
			}
		}
		if err := w.accept(f.s, k.def, f.qualityLocked(k)); err != nil {
			return err
		}
		k.watchers[w] = struct{}{}
		f.notifyLocked(w, EventInitial, k)
		return nil
	}
	f.all[w] = t.match
	var refused error
	accepted := 0
	for name, k := range f.keywords {
		if !t.match(name) {
			continue
		}
		if err := w.accept(f.s, k.def, f.qualityLocked(k)); err != nil {
			refused = err
		} else {
			accepted++
		}
		k.watchers[w] = struct{}{} // also of one that is not accepted now: its definition may change
		f.notifyLocked(w, EventInitial, k)
	}
	if accepted == 0 && refused != nil {
		return refused
	}
	return nil
}

// notifyLocked sends an event of a keyword to a watcher.
func (f *feed) notifyLocked(w *watcher, kind EventKind, k *keywordState) {
	if !k.ok && kind != EventGone || k.def.WriteOnly {
		return
	}
	w.push(notice{kind: kind, service: f.s.name, def: k.def, rec: k.rec, after: k.after, quality: f.qualityLocked(k)})
}

// notifyAllLocked sends an event of a keyword to all its watchers.
func (f *feed) notifyAllLocked(kind EventKind, k *keywordState) {
	for w := range k.watchers {
		f.notifyLocked(w, kind, k)
	}
}

func (f *feed) qualityLocked(k *keywordState) Quality {
	return qualityOf(f.heads[k.def.Dispatcher], f.cut)
}

// qualityOf returns the quality of the values of a dispatcher. Cut means that Redis is
// not heard of.
func qualityOf(h *head, cut bool) Quality {
	switch {
	case cut:
		return QualityDisconnected
	case h == nil || !h.alive:
		return QualityStale
	}
	return QualityGood
}

func (f *feed) alive(k *keywordState) bool {
	h := f.heads[k.def.Dispatcher]
	return h != nil && h.alive
}

// run follows the service until the feed or the pool is closed. What Redis refuses
// before anything was read, such as a right that the user lacks, ends it too.
func (f *feed) run() {
	defer close(f.done)
	topic, err := pubsub.ParseTopic[message](f.s.channel)
	for try := 0; err == nil; {
		var begun bool
		if begun, err = f.follow(topic); begun {
			try = 0
		}
		if f.ctx.Err() != nil {
			return // close tells the watchers
		}
		if f.endsWith(err) {
			break
		}
		if try == 1 {
			redisio.Of(f.c.pool).Logger().Warn("keywords: a service can't be watched, trying again", "service", f.s.name, "error", err)
		}
		f.c.trouble.set(err)
		f.checkContact()
		if !redisio.Sleep(f.ctx, redisio.Backoff(try)) {
			return
		}
		err = nil
		try++
	}
	f.fail(redisio.Wrap(fmt.Sprintf("keywords: watch of %s", f.s.name), err))
}

// endsWith reports whether an error of follow ends the feed.
func (f *feed) endsWith(err error) bool {
	for _, end := range []error{ErrClosed, storage.ErrClosed, pubsub.ErrClosed, redis.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	return !closed(f.primed) && refusedByRedis(err)
}

// follow subscribes to the service, reads it, and applies what is published, until the
// subscription ends: because the client is slower than the service as a whole, or the
// pool is closed. Begun reports whether it came as far as that.
func (f *feed) follow(topic pubsub.Topic[message]) (begun bool, err error) {
	kind := EventInitial
	if closed(f.primed) {
		kind = EventResync
	}
	<-f.reading // messages wait until all values were read
	l, err := f.listen(topic)
	if err == nil {
		defer func() { _ = l.Close(); <-l.Done() }()
		err = f.readAll(kind)
	}
	f.reading <- struct{}{}
	if err != nil {
		return false, err
	}
	if kind == EventInitial {
		close(f.primed)
	}
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	poll := time.NewTimer(f.untilPoll())
	defer poll.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return true, f.ctx.Err()
		case <-l.Done():
			return true, l.Err()
		case <-check.C:
			<-f.reading
			if f.checkHeads() {
				_ = f.readAll(EventResync) // what Redis refuses now, it may give at the next check
			}
			f.reading <- struct{}{}
		case <-poll.C:
			<-f.reading
			f.pollDue()
			f.reading <- struct{}{}
			poll.Reset(f.untilPoll())
		}
	}
}

// listen subscribes to the service. A shared pub/sub client does not tell why it waits for
// Redis: the error of a try that takes long does.
func (f *feed) listen(topic pubsub.Topic[message]) (*pubsub.Listener, error) {
	ctx, cancel := context.WithTimeout(f.ctx, maxSilence)
	defer cancel()
	return pubsub.Listen(ctx, f.c.ps, topic, f.onMessage)
}

// maxResyncDelay spreads the reads of many clients after Redis was away.
const maxResyncDelay = 250 * time.Millisecond

// onMessage applies what a dispatcher publishes, on the goroutine that delivers it.
func (f *feed) onMessage(_ context.Context, m pubsub.Message[message]) error {
	<-f.reading
	defer func() { f.reading <- struct{}{} }()
	switch {
	case errors.Is(m.Err, pubsub.ErrGap):
		_ = redisio.Sleep(f.ctx, rand.N(maxResyncDelay))
		_ = f.readAll(EventResync) // or at the next check
	case m.Err == nil && f.apply(m.Value):
		_ = f.readAll(EventResync)
	}
	return nil
}

const (
	// checkInterval is between two checks of which dispatchers live, and whether all
	// that was committed has been published.
	checkInterval = time.Second

	// maxSilence is how long Redis may not be heard of until watchers are told.
	maxSilence = 3 * time.Second
)

// checkContact tells the watchers if Redis has not been heard of for too long.
func (f *feed) checkContact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut || time.Since(f.contact) < maxSilence {
		return
	}
	f.cut = true
	for _, k := range f.keywords {
		f.notifyAllLocked(EventDisconnected, k)
	}
}

// apply applies a message, and reports whether there is more to know than it says.
func (f *feed) apply(m message) (again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contact = time.Now()
	h := f.heads[m.Dispatcher]
	switch {
	case f.cut, m.Defined, h == nil:
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
			continue // pollDue reads it
		}
		f.setLocked(k, EventChange, record{
			name: ch.Name, text: ch.Text, rev: Revision{m.Epoch, m.N + uint64(i)}, at: ch.At, severity: ch.Severity, source: ch.Source, remark: ch.Remark,
		}, ch.After)
	}
	h.newest, h.behind = last, 0
	return false
}

// setLocked notes a value and notifies its watchers, unless it is known or older. A value
// that was committed again, by a dispatcher that took over or after Redis had lost it,
// has another revision and is otherwise the same: it is an EventGood. After is the revision
// of the line before that of the value in its history, if it is known.
func (f *feed) setLocked(k *keywordState, kind EventKind, rec record, after *Revision) {
	if k.ok {
		order := rec.rev.Compare(k.rec.rev)
		if rec == k.rec || order < 0 || order == 0 && f.alive(k) {
			return // the same revision with another text is an external write, which the dispatcher handles
		}
		if order > 0 && rec.sameValue(k.rec) && f.alive(k) {
			kind = EventGood
		}
	}
	k.rec, k.after, k.ok = rec, after, true
	f.notifyAllLocked(kind, k)
}

// setReadLocked notes a value that was read, or that there is none any more. Text that is
// not a value of the keyword is an external write, which the dispatcher handles.
func (f *feed) setReadLocked(k *keywordState, kind EventKind, r readResult) {
	switch _, err := k.def.Parse(r.text); {
	case r.ok && err == nil:
		f.setLocked(k, kind, r.record, nil)
	case !r.ok && r.err == nil && k.ok:
		k.ok = false
		f.notifyAllLocked(EventGone, k)
	}
}

// notifyStaleLocked notifies the watchers of all keywords of a dispatcher that has gone.
func (f *feed) notifyStaleLocked(disp string) {
	for _, k := range f.keywords {
		if k.def.Dispatcher == disp {
			f.notifyAllLocked(EventStale, k)
		}
	}
}

// fail ends the feed and its watchers with an error.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	if !closed(f.primed) {
		close(f.primed)
	}
	for w := range f.all {
		w.fail(f.err)
	}
	for _, k := range f.keywords {
		for w := range k.watchers {
			w.fail(f.err)
		}
	}
}

// close ends the feed and its watchers with err, and waits for run.
func (f *feed) close(err error) {
	f.cancel()
	<-f.done
	f.fail(err)
}
