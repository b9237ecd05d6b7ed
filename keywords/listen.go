package keywords

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
)

// ListenOptions are the options of [Listen].
type ListenOptions struct {
	// Preferred listeners are called before the others of their keyword.
	Preferred bool
}

// Listener is a function that is called for the events of a keyword. [Listen] returns it.
type Listener struct {
	one   *listenerEntry
	close func()
}

// Close ends the calls: none begins once Close has returned, and one that runs is not
// waited for. A listener may close itself.
func (l *Listener) Close() error {
	l.one.end(nil)
	l.close()
	return nil
}

// Done is closed when the listener is called no more.
func (l *Listener) Done() <-chan struct{} { return l.one.done }

// Err returns why the listener is called no more: nil while it is, and after Close;
// [ErrClosed] when the client or the pool was closed.
func (l *Listener) Err() error {
	l.one.mu.Lock()
	defer l.one.mu.Unlock()
	return l.one.err
}

// Listen calls listener for the events of a keyword, as [Watch] yields them, until the
// Listener or the client is closed. For each event, all listeners of a keyword are called
// one after another: the preferred first, the others in the order in which they were
// added. A new listener is called with the newest value first. A panic in a listener is
// logged and ends only that call.
//
// Listen returns once the keyword was found and is followed, or with an error. Ctx and
// ClientConfig.Timeout bound only that.
func Listen[T Type](ctx context.Context, c *Client, k Keyword[T], listener func(Event[T]), opts ...ListenOptions) (*Listener, error) {
	o, err := optional(opts)
	if err == nil {
		err = k.check("Listen")
	}
	if err == nil && listener == nil {
		err = errors.New("keywords: Listen: nil listener")
	}
	if err != nil {
		return nil, err
	}
	// The watch of the listeners' goroutine can't return an error to the caller: find out
	// first whether the service can be followed.
	looking, cancel := c.bounded(ctx)
	defer cancel()
	leave, err := c.watch(looking, target{service: k.Service(), name: k.Name(), fits: k.fits}, newWatcher(WatchOptions{}, &c.stats))
	if err != nil {
		return nil, err
	}
	defer leave()
	one := &listenerEntry{preferred: o.Preferred, done: make(chan struct{}), call: func(n notice) {
		listener(eventOf(n, func(r *record) (Value[T], error) { return typed(k, r) }))
	}}
	g, err := c.listen(target{service: k.Service(), name: k.Name()}, one)
	if err != nil {
		return nil, err
	}
	return &Listener{one: one, close: sync.OnceFunc(func() { c.unlisten(g, one) })}, nil
}

type listenerEntry struct {
	preferred bool
	call      func(notice)
	called    bool // at least once; guarded by listeners.calling

	done chan struct{} // closed: it is called no more
	mu   sync.Mutex
	err  error
}

// end ends the calls of the listener.
func (l *listenerEntry) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !closed(l.done) {
		l.err = why
		close(l.done)
	}
}

// listeners are the listeners of one keyword. Their run method is one goroutine, which
// watches the keyword and calls them.
type listeners struct {
	c      *Client
	key    string
	cancel context.CancelFunc
	done   chan struct{}
	all    []*listenerEntry // guarded by Client.mu; the slice is replaced, never changed

	calling sync.Mutex // held during calls of the functions
	last    *notice
}

// listen adds a listener to its keyword, and starts the goroutine for the first.
func (c *Client) listen(t target, one *listenerEntry) (*listeners, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	key := t.service + "." + t.name
	g := c.listening[key]
	if g == nil {
		ctx, cancel := context.WithCancel(context.Background())
		g = &listeners{c: c, key: key, cancel: cancel, done: make(chan struct{})}
		c.listening[key] = g
		go g.run(ctx, t)
	}
	i := len(g.all)
	if one.preferred {
		if j := slices.IndexFunc(g.all, func(l *listenerEntry) bool { return !l.preferred }); j >= 0 {
			i = j
		}
	}
	g.all = slices.Insert(slices.Clone(g.all), i, one)
	go g.callWithNewest(one) // a listener that calls Listen holds calling
	return g, nil
}

// unlisten removes a listener. The watch ends with the last.
func (c *Client) unlisten(g *listeners, one *listenerEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.all = slices.DeleteFunc(slices.Clone(g.all), func(l *listenerEntry) bool { return l == one })
	if len(g.all) == 0 {
		g.cancel()
		c.forgetLocked(g)
	}
}

// forgetLocked makes the next Listen of the keyword start a new goroutine.
func (c *Client) forgetLocked(g *listeners) {
	if c.listening[g.key] == g {
		delete(c.listening, g.key)
	}
}

// run watches the keyword and calls its listeners until the last is closed.
func (g *listeners) run(ctx context.Context, t target) {
	defer close(g.done)
	for n, err := range g.c.events(ctx, nil, t) {
		if err != nil {
			g.end(ctx, err)
			return
		}
		g.c.mu.Lock()
		all := g.all
		g.c.mu.Unlock()
		g.calling.Lock()
		g.last = &n
		for _, one := range all {
			one.called = true
			g.call(one, n)
		}
		g.calling.Unlock()
	}
}

// end ends the listeners that are left.
func (g *listeners) end(ctx context.Context, err error) {
	if ctx.Err() != nil {
		err = ErrClosed
	} else {
		redisio.Of(g.c.pool).Logger().Warn("keywords: listeners have ended", "keyword", g.key, "error", err)
	}
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	g.c.forgetLocked(g)
	for _, one := range g.all {
		one.end(err)
	}
}

// callWithNewest calls a new listener with the newest value, unless it was called or
// closed meanwhile.
func (g *listeners) callWithNewest(one *listenerEntry) {
	g.calling.Lock()
	defer g.calling.Unlock()
	if one.called || g.last == nil || g.last.kind == EventGone {
		return
	}
	n := *g.last
	n.kind, n.prev = EventInitial, nil
	one.called = true
	g.call(one, n)
}

func (g *listeners) call(one *listenerEntry, n notice) {
	if closed(one.done) {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			redisio.Of(g.c.pool).Logger().Error("keywords: panic in a listener", "keyword", g.key, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	one.call(n)
}
