package keywords

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"path"
	"strings"
	"sync"
	"time"
)

// EventKind says what an [Event] is about.
type EventKind uint8

const (
	EventInitial EventKind = iota // the value that is there when watching begins
	EventChange                   // a value was set
	EventResync                   // as EventChange, but found by reading again: values between may be missing
	EventStale                    // the dispatcher is gone; the value is the last that it left
	EventGood                     // after EventStale: a dispatcher lives again, and has the value that there was
	EventGone                     // the keyword has no value any more, or is no longer defined
)

var eventNames = [...]string{"initial", "change", "resync", "stale", "good", "gone"}

// String returns initial, change, resync, stale, good or gone.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is what a watcher sees.
type Event[T any] struct {
	Kind    EventKind
	Service string
	Keyword string
	Value   Value[T]  // of EventGone: the last value that there was
	Prev    *Value[T] // the one that this watcher saw before; nil: none
}

// WatchOptions are the options of [Watch], [WatchText] and [WatchMany].
type WatchOptions struct {
	// MinInterval is between two events of a keyword at least; the newest value is
	// yielded in the end. 0: none.
	MinInterval time.Duration

	// DeadBand is by how much a number, or an element of an array, may differ
	// from the one that was yielded last and not be yielded, as in [Spec]. 0:
	// whatever is set is yielded, the same value again too.
	DeadBand float64
}

func (o WatchOptions) check() error {
	switch {
	case o.MinInterval < 0:
		return fmt.Errorf("keywords: WatchOptions.MinInterval: %v is negative", o.MinInterval)
	case o.DeadBand < 0 || math.IsNaN(o.DeadBand):
		return fmt.Errorf("keywords: WatchOptions.DeadBand: %v", o.DeadBand)
	}
	return nil
}

// Watch yields the value of a keyword and then its changes, until ctx ends, which
// is the last and only error. A watcher who is slow gets the newest value next,
// and not those between. While Redis is away nothing is yielded; afterwards what
// has changed is, as Resync.
func Watch[T Type](ctx context.Context, c *Client, k Keyword[T], opts ...WatchOptions) iter.Seq2[Event[T], error] {
	return func(yield func(Event[T], error) bool) {
		def := k.Definition()
		value := func(r *record) (Value[T], error) { return typed(k, r) }
		watchAs(ctx, c, value, yield, opts, target{service: def.Service, name: def.Name})
	}
}

// WatchText is [Watch] of every keyword of a service whose name matches a glob
// (see [path.Match]; "*" is all), as canonical text. Those that are write-only are
// left out; to name one is [CodeWriteOnly].
func WatchText(ctx context.Context, c *Client, service, glob string, opts ...WatchOptions) iter.Seq2[Event[string], error] {
	return func(yield func(Event[string], error) bool) {
		if _, err := path.Match(glob, ""); err != nil {
			yield(Event[string]{}, fmt.Errorf("keywords: glob %q: %w", glob, err))
			return
		}
		watchAs(ctx, c, asText, yield, opts, target{service: service, glob: glob})
	}
}

// WatchMany is [Watch] of several keywords of one service by name, as canonical
// text. One that there is not is [CodeUnknownKeyword], at once.
func WatchMany(ctx context.Context, c *Client, service string, names []string, opts ...WatchOptions) iter.Seq2[Event[string], error] {
	return func(yield func(Event[string], error) bool) {
		if len(names) == 0 {
			yield(Event[string]{}, errors.New("keywords: WatchMany of nothing"))
			return
		}
		targets := make([]target, len(names))
		for i, name := range names {
			if name == "" {
				yield(Event[string]{}, &Error{Code: CodeUnknownKeyword, Service: service, Text: "empty name"})
				return
			}
			targets[i] = target{service: service, name: name}
		}
		watchAs(ctx, c, asText, yield, opts, targets...)
	}
}

// watchAs yields the events of some keywords, in the form that value gives them.
func watchAs[T any](ctx context.Context, c *Client, value func(*record) (Value[T], error), yield func(Event[T], error) bool, opts []WatchOptions, targets ...target) {
	for n, err := range c.events(ctx, opts, targets...) {
		var ev Event[T]
		if err == nil {
			ev, err = eventOf(n, value)
		}
		if !yield(ev, err) || err != nil {
			return
		}
	}
}

func eventOf[T any](n notice, value func(*record) (Value[T], error)) (ev Event[T], err error) {
	ev = Event[T]{Kind: n.kind, Service: n.service, Keyword: n.rec.name}
	if ev.Value, err = value(&n.rec); err != nil {
		return Event[T]{}, err
	}
	ev.Value.Quality = n.quality
	if n.prev != nil {
		prev, err := value(n.prev)
		if err != nil {
			return Event[T]{}, err
		}
		ev.Prev = &prev
	}
	return ev, nil
}

// target is what is watched of a service.
type target struct{ service, name, glob string }

// events yields what happens to some keywords.
func (c *Client) events(ctx context.Context, opts []WatchOptions, targets ...target) iter.Seq2[notice, error] {
	return func(yield func(notice, error) bool) {
		o, err := optional(opts)
		if err == nil {
			err = o.check()
		}
		if err != nil {
			yield(notice{}, err)
			return
		}
		w := newWatcher(o)
		for _, t := range targets {
			match := func(name string) bool { ok, _ := path.Match(t.glob, name); return ok }
			name := t.name
			if name == "" && !strings.ContainsAny(t.glob, `*?[\`) {
				name = t.glob
			}
			leave, err := c.watch(ctx, t.service, w, match, name)
			if err != nil {
				yield(notice{}, err)
				return
			}
			defer leave()
		}
		for {
			n, err := w.next(ctx)
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// notice is an event on its way to a watcher.
type notice struct {
	kind    EventKind
	service string
	def     *Definition
	rec     record
	prev    *record
	quality Quality
}

// watcher holds the newest notice of each keyword until it is asked for: that is
// all a slow one costs.
type watcher struct {
	opts WatchOptions
	more chan struct{} // there is something; holds one

	mu      sync.Mutex
	waiting map[string]*notice // by service.NAME
	order   []string           // of waiting, oldest first
	err     error

	// Of the one who iterates:
	last map[string]*yielded
	due  map[string]time.Time // when the next may be
}

func newWatcher(o WatchOptions) *watcher {
	return &watcher{
		opts: o, more: make(chan struct{}, 1), waiting: make(map[string]*notice),
		last: make(map[string]*yielded), due: make(map[string]time.Time),
	}
}

// yielded is what a watcher had of a keyword last.
type yielded struct {
	rec     record
	quality Quality
	gone    bool
}

// push adds a notice, or puts it in the place of one that was not yet taken.
func (w *watcher) push(n notice) {
	key := n.service + "." + n.rec.name
	w.mu.Lock()
	if old := w.waiting[key]; old != nil {
		if old.kind == EventInitial && (n.kind == EventChange || n.kind == EventGood) {
			n.kind = EventInitial
		}
		*old = n
	} else {
		w.waiting[key] = &n
		w.order = append(w.order, key)
	}
	w.mu.Unlock()
	signal(w.more)
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	signal(w.more)
}

// next waits for a notice that is due.
func (w *watcher) next(ctx context.Context) (notice, error) {
	for {
		if err := ctx.Err(); err != nil {
			return notice{}, err
		}
		n, wait, err := w.take(time.Now())
		if n != nil || err != nil {
			if err != nil {
				return notice{}, err
			}
			return *n, nil
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-w.more:
		case <-later:
		case <-ctx.Done():
		}
	}
}

// take returns the oldest notice that is due, or how long until one is.
func (w *watcher) take(now time.Time) (due *notice, wait time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, 0, w.err
	}
	for i := 0; i < len(w.order); i++ {
		key := w.order[i]
		if left := w.due[key].Sub(now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		n := w.waiting[key]
		delete(w.waiting, key)
		copy(w.order[1:], w.order[:i]) // those that are not due stay before the others
		w.order = w.order[1:]
		i--
		if w.small(key, n) {
			continue
		}
		if last := w.last[key]; last != nil {
			n.prev = &last.rec
		}
		w.last[key] = &yielded{n.rec, n.quality, n.kind == EventGone}
		if w.opts.MinInterval > 0 {
			w.due[key] = now.Add(w.opts.MinInterval)
		}
		return n, 0, nil
	}
	return nil, wait, nil
}

// small reports whether a change is within the dead band.
func (w *watcher) small(key string, n *notice) bool {
	last := w.last[key]
	switch {
	case w.opts.DeadBand == 0, last == nil || last.gone, !n.def.Kind.isNumeric():
		return false
	case n.kind != EventChange && n.kind != EventResync, last.quality != n.quality, last.rec.severity != n.rec.severity:
		return false
	}
	a, errA := n.def.Parse(last.rec.text)
	b, errB := n.def.Parse(n.rec.text)
	return errA == nil && errB == nil && near(a, b, w.opts.DeadBand)
}
