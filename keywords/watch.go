package keywords

import (
	"context"
	"fmt"
	"iter"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// EventKind says what an [Event] is about.
type EventKind uint8

const (
	EventInitial      EventKind = iota // the value when watching begins
	EventChange                        // a value was set
	EventResync                        // like EventChange, but found by reading again: values between may be missing
	EventStale                         // no dispatcher lives any more; the value is the last that was set
	EventGood                          // a dispatcher lives again, or has committed the value again: it is the same, its revision may be new
	EventDisconnected                  // the client has not reached Redis for 3 s; the value is the last that it knows
	EventMismatch                      // the value can't be read as Event.Err says; it may have been set by a newer program
	EventGone                          // the keyword has no value any more, or is no longer defined
	EventRedefined                     // the keyword has another definition, such as other units, limits or enumerators: see Event.Definition
	EventGap                           // with WatchOptions.Every: values are lost, as Event.Gap says; Value has only Gap.After
)

var eventNames = [...]string{"initial", "change", "resync", "stale", "good", "disconnected", "mismatch", "gone", "redefined", "gap"}

// String returns initial, change, resync, stale, good, disconnected, mismatch,
// gone, redefined or gap.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k EventKind) MarshalText() ([]byte, error) {
	if int(k) >= len(eventNames) {
		return nil, fmt.Errorf("keywords: no %v", k)
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads the name of a kind.
func (k *EventKind) UnmarshalText(text []byte) error {
	i := slices.Index(eventNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("keywords: no kind of event %.40q", text)
	}
	*k = EventKind(i)
	return nil
}

// Event is what [Watch] yields.
type Event[T any] struct {
	Kind    EventKind `json:"kind"`
	Service string    `json:"service"`
	Keyword string    `json:"keyword"`
	Value   Value[T]  `json:"value"`          // the last value, if nothing was set
	Err     error     `json:"-"`              // why the value is none of the keyword's type, if Kind is EventMismatch or EventRedefined; Value.V is zero then
	Prev    *Value[T] `json:"prev,omitempty"` // the value of the event before, of the same watch and keyword; nil if this is the first
	Gap     *Gap      `json:"gap,omitempty"`  // if Kind is EventGap

	// Definition is the new definition, if Kind is EventRedefined. That event comes before
	// those of values that were set under it, with the value yielded last. A keyword that
	// has had no value yet is not announced: read its definition with Client.Describe.
	Definition *Definition `json:"definition,omitempty"`
}

// WatchOptions are the options of [Watch] and [WatchText].
type WatchOptions struct {
	// MinInterval is the minimum time between two yielded events of a keyword. The
	// newest value is always yielded in the end. Defaults to 0: no minimum.
	MinInterval time.Duration

	// DeadBand suppresses a change of a number, or of each element of an array, by
	// at most this much from the last yielded value, in the keyword's units.
	// Defaults to 0: every commit is yielded, also one of the same value.
	DeadBand float64

	// Every makes the watch yield every value that is set, in order: for archivers. The
	// values come out of the keyword's history, so that a loop may be as many values
	// behind as Spec.History says; that must not be 0. Values that the history has lost
	// are told as an [EventGap]. MinInterval and DeadBand must be 0. Defaults to false:
	// a loop that is slower than the changes misses values, but never the newest.
	Every bool

	// From is the revision after which a watch with Every begins: that of the last event
	// which an archive has. If the history does not reach back to it, the first event is
	// an [EventGap]. It is for a watch of one keyword. The zero Revision begins with
	// the present value, Revision{N: 1} with the oldest value of the history.
	From Revision

	// Queue is how many bytes of changes may wait in this process until a watch with
	// Every yields them. Changes that exceed it are left in the history and read from
	// there, as many bytes at a time. Defaults to 1 MiB.
	Queue int
}

func (o WatchOptions) check(targets []target) error {
	switch {
	case !o.Every && o.From != Revision{}:
		return fmt.Errorf("keywords: WatchOptions.From: %v without Every", o.From)
	case !o.Every && o.Queue != 0:
		return fmt.Errorf("keywords: WatchOptions.Queue: %d without Every", o.Queue)
	case o.Queue < 0:
		return fmt.Errorf("keywords: WatchOptions.Queue: %d is negative", o.Queue)
	case o.Every && o.MinInterval != 0:
		return fmt.Errorf("keywords: WatchOptions.MinInterval: %v with Every", o.MinInterval)
	case o.Every && o.DeadBand != 0:
		return fmt.Errorf("keywords: WatchOptions.DeadBand: %v with Every", o.DeadBand)
	case o.From != Revision{} && (len(targets) > 1 || targets[0].name == ""):
		return fmt.Errorf("keywords: WatchOptions.From: %v is of one keyword: watch each by itself", o.From)
	case o.MinInterval < 0:
		return fmt.Errorf("keywords: WatchOptions.MinInterval: %v is negative", o.MinInterval)
	case o.DeadBand < 0 || math.IsNaN(o.DeadBand):
		return fmt.Errorf("keywords: WatchOptions.DeadBand: %v", o.DeadBand)
	}
	return nil
}

// Watch yields the value of a keyword and then its changes, until ctx ends. An error
// is the last item. A loop that is slower than the changes gets the newest value next
// and misses those between, unless WatchOptions.Every is set. While Redis is unreachable
// no value is yielded; afterwards a changed value is yielded with EventResync.
func Watch[T Type](ctx context.Context, c *Client, k Keyword[T], opts ...WatchOptions) iter.Seq2[Event[T], error] {
	return func(yield func(Event[T], error) bool) {
		if err := k.check("Watch"); err != nil {
			yield(Event[T]{}, err)
			return
		}
		value := func(r *record) (Value[T], error) { return typed(k, r) }
		watchAs(ctx, c, value, yield, opts, target{service: k.def.Service, name: k.def.Name, fits: k.fits})
	}
}

// WatchText is [Watch] of the keywords of a service that a pattern matches. The
// pattern is a name or a glob (see [path.Match]; "*" matches every keyword), or several
// of them joined by commas: "SPEED,TEMP*". Values are canonical text. A name that is
// not defined is [CodeUnknownKeyword], and that of a write-only keyword is
// [CodeWriteOnly]; globs leave write-only keywords out.
func WatchText(ctx context.Context, c *Client, service, pattern string, opts ...WatchOptions) iter.Seq2[Event[string], error] {
	return func(yield func(Event[string], error) bool) {
		targets, err := targetsOf(service, pattern)
		if err != nil {
			yield(Event[string]{}, err)
			return
		}
		watchAs(ctx, c, asText, yield, opts, targets...)
	}
}

// watchAs yields the events of the targets, with values as the function value converts them.
func watchAs[T any](ctx context.Context, c *Client, value func(*record) (Value[T], error), yield func(Event[T], error) bool, opts []WatchOptions, targets ...target) {
	for n, err := range c.events(ctx, opts, targets...) {
		var ev Event[T]
		if err == nil {
			ev = eventOf(n, value)
		}
		if !yield(ev, err) || err != nil {
			return
		}
	}
}

// eventOf returns a notice as an event. A value that can't be read as a T, because the
// definition that this program was compiled with differs from the dispatcher's, does
// not end a watch.
func eventOf[T any](n notice, value func(*record) (Value[T], error)) Event[T] {
	ev := Event[T]{Kind: n.kind, Service: n.service, Keyword: n.rec.name, Gap: n.gap}
	if ev.Value, ev.Err = value(&n.rec); ev.Err != nil {
		var zero T
		ev.Value = valueOf(&n.rec, zero)
		if n.kind != EventRedefined {
			ev.Kind = EventMismatch
		}
	}
	if n.kind == EventRedefined {
		def := *n.def
		ev.Definition = &def
	}
	ev.Value.Quality = n.quality
	if n.prev != nil {
		if prev, err := value(n.prev); err == nil {
			ev.Prev = &prev
		}
	}
	return ev
}

// target is what is watched of a service: the keyword name, or if that is empty every
// keyword that match accepts.
type target struct {
	service, name string
	match         func(name string) bool
	fits          func(kind Kind) error // nil: any kind will do
}

// targetsOf returns what the pattern of [WatchText] asks for: the names, and all globs
// as one target.
func targetsOf(service, pattern string) (targets []target, err error) {
	var globs []string
	for part := range strings.SplitSeq(pattern, ",") {
		if part == "" {
			return nil, fmt.Errorf("keywords: WatchText: pattern %q: empty name", pattern)
		}
		if _, err := path.Match(part, ""); err != nil {
			return nil, fmt.Errorf("keywords: WatchText: pattern %q: %w", pattern, err)
		}
		if strings.ContainsAny(part, `*?[\`) {
			globs = append(globs, part)
		} else {
			targets = append(targets, target{service: service, name: part})
		}
	}
	if len(globs) > 0 {
		targets = append(targets, target{service: service, match: func(name string) bool {
			return slices.ContainsFunc(globs, func(glob string) bool { ok, _ := path.Match(glob, name); return ok })
		}})
	}
	return targets, nil
}

// events yields the events of the targets.
func (c *Client) events(ctx context.Context, opts []WatchOptions, targets ...target) iter.Seq2[notice, error] {
	return func(yield func(notice, error) bool) {
		o, err := optional(opts)
		if err == nil {
			err = o.check(targets)
		}
		if err != nil {
			yield(notice{}, err)
			return
		}
		w := newWatcher(o, &c.stats)
		if o.Every {
			w.every = newEveryChange(c, o)
		}
		c.stats.watchers.Add(1)
		defer c.stats.watchers.Add(-1)
		for _, t := range targets {
			leave, err := c.watch(ctx, t, w)
			if err != nil {
				yield(notice{}, err)
				return
			}
			defer leave()
		}
		for {
			n, err := w.next(ctx)
			if err != nil && err == ctx.Err() {
				err = redisio.Because(err, c.trouble.get())
			} else if err == nil {
				c.stats.events.Add(1)
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// notice is an event before its value is converted.
type notice struct {
	kind    EventKind
	service string
	def     *Definition
	rec     record
	prev    *record
	quality Quality
	after   *Revision // of the line before that of rec in the history; nil: it has none, or it is not known
	gap     *Gap
}

// watcher holds the newest notice of each keyword until it is yielded. A slow watcher
// costs nothing more. Feeds push notices; one goroutine takes them by next.
type watcher struct {
	opts  WatchOptions
	stats *clientStats
	more  chan struct{} // signals that there is something new; holds one
	kept  bool          // notices are looked at by newest and never taken
	every *everyChange  // nil without WatchOptions.Every

	mu      sync.Mutex
	waiting map[string]*notice // by service.NAME
	order   []string           // of waiting, oldest first
	err     error

	// Used only by the goroutine that calls next:
	last map[string]*yielded
	due  map[string]time.Time // when the next event may be yielded
}

func newWatcher(o WatchOptions, stats *clientStats) *watcher {
	return &watcher{
		opts: o, stats: stats, more: make(chan struct{}, 1), waiting: make(map[string]*notice),
		last: make(map[string]*yielded), due: make(map[string]time.Time),
	}
}

// yielded is the last event of a keyword that a watcher yielded.
type yielded struct {
	rec     record
	def     *Definition
	quality Quality
	gone    bool
}

// then returns the kind of an event that replaces an event of kind k by a later one of kind
// next. If only the quality of an unseen value changes, the value is still news.
func (k EventKind) then(next EventKind) EventKind {
	news := k == EventInitial || k == EventChange || k == EventResync
	switch {
	case next == EventRedefined: // watcher.redefined finds it
		return k
	case news && (next == EventStale || next == EventGood || next == EventDisconnected):
		return k
	case k == EventInitial && next != EventGone:
		return k
	}
	return next
}

// push adds a notice. It replaces an earlier one of the keyword that was not yielded yet.
func (w *watcher) push(n notice) {
	key := n.service + "." + n.rec.name
	w.mu.Lock()
	if w.every != nil {
		if err := w.every.pushLocked(n); err != nil {
			w.err = err
		}
	} else if old := w.waiting[key]; old != nil {
		n.kind = old.kind.then(n.kind)
		*old = n
		if !w.kept {
			w.stats.conflated.Add(1)
		}
	} else {
		w.waiting[key] = &n
		w.order = append(w.order, key)
	}
	w.mu.Unlock()
	signal(w.more)
}

// newest returns the newest notice of a keyword that was not taken. Ok is false if there
// is none.
func (w *watcher) newest(key string) (n notice, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return notice{}, false, w.err
	}
	if waiting := w.waiting[key]; waiting != nil {
		return *waiting, true, nil
	}
	return notice{}, false, nil
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	signal(w.more)
}

// next waits for a notice that is due.
func (w *watcher) next(ctx context.Context) (notice, error) {
	if w.every != nil {
		return w.every.next(ctx, w)
	}
	for {
		if err := ctx.Err(); err != nil {
			return notice{}, err
		}
		n, wait, err := w.nextDue(time.Now())
		if n != nil || err != nil {
			if err != nil {
				return notice{}, err
			}
			return *n, nil
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-w.more:
		case <-due:
		case <-ctx.Done():
		}
	}
}

// nextDue returns the oldest notice that is due, or the time until one is.
func (w *watcher) nextDue(now time.Time) (due *notice, wait time.Duration, err error) {
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
		if told := w.redefined(key, n); told != nil {
			if w.opts.MinInterval > 0 {
				w.due[key] = now.Add(w.opts.MinInterval)
			}
			return told, 0, nil
		}
		delete(w.waiting, key)
		copy(w.order[1:], w.order[:i]) // notices that are not due stay in front
		w.order = w.order[1:]
		i--
		if n.kind == EventRedefined { // it was told
			continue
		}
		if w.withinDeadBand(key, n) {
			w.stats.suppressed.Add(1)
			continue
		}
		if last := w.last[key]; last != nil {
			n.prev = &last.rec
		}
		w.last[key] = &yielded{n.rec, n.def, n.quality, n.kind == EventGone}
		if w.opts.MinInterval > 0 {
			w.due[key] = now.Add(w.opts.MinInterval)
		}
		return n, 0, nil
	}
	return nil, wait, nil
}

// redefined returns the notice that the definition has changed since the last event of
// the keyword, if it has; nil: it has not, or that was told. The waiting notice n comes
// later.
func (w *watcher) redefined(key string, n *notice) *notice {
	last := w.last[key]
	if last == nil || last.def == n.def || n.kind == EventGone {
		return nil
	}
	last.def = n.def
	told := *n
	told.kind, told.rec, told.quality, told.prev = EventRedefined, last.rec, last.quality, &last.rec
	return &told
}

// withinDeadBand reports whether a change is too small to be yielded.
func (w *watcher) withinDeadBand(key string, n *notice) bool {
	last := w.last[key]
	switch {
	case w.opts.DeadBand == 0, last == nil || last.gone, !n.def.Kind.isNumeric():
		return false
	case n.kind != EventChange && n.kind != EventResync, last.quality != n.quality, last.rec.severity != n.rec.severity, last.rec.remark != n.rec.remark:
		return false
	}
	a, errA := n.def.Parse(last.rec.text)
	b, errB := n.def.Parse(n.rec.text)
	return errA == nil && errB == nil && near(a, b, w.opts.DeadBand)
}
