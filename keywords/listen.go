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

// Listener is a function that is called with the events of a keyword; see
// [Listen].
type Listener struct {
	close func()
}

// Close ends the calls. One that runs is not waited for.
func (l *Listener) Close() error { l.close(); return nil }

// Listen calls listener with the events of a keyword, as [Watch] yields them,
// until the Listener or the client is closed. All listeners of a keyword are
// called one after another for each event, the preferred first, otherwise in the
// order in which they were added; a new one is told the newest value. A panic in
// one is logged, and ends that call only. Ctx, or ClientConfig.Timeout, bounds the
// look whether there is such a keyword and Redis lets it be followed.
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
	// Its goroutine will follow the service too, and must not be the first to find
	// out that this can't be done.
	looking, cancel := c.bounded(ctx)
	defer cancel()
	leave, err := c.watch(looking, target{service: k.Service(), name: k.Name()}, newWatcher(WatchOptions{}, &c.stats))
	if err != nil {
		return nil, err
	}
	defer leave()
	one := &listenerEntry{preferred: o.Preferred, call: func(n notice) {
		if ev, err := eventOf(n, func(r *record) (Value[T], error) { return typed(k, r) }); err == nil {
			listener(ev)
		}
	}}
	g, err := c.listen(target{service: k.Service(), name: k.Name()}, one)
	if err != nil {
		return nil, err
	}
	return &Listener{close: sync.OnceFunc(func() { c.unlisten(g, one) })}, nil
}

type listenerEntry struct {
	preferred bool
	call      func(notice)
	told      bool // by listeners.calling
}

// listeners are those of one keyword. One goroutine watches and calls them.
type listeners struct {
	c      *Client
	key    string
	cancel context.CancelFunc
	done   chan struct{}
	all    []*listenerEntry // by Client.mu; replaced, and never changed

	calling sync.Mutex // held while they are called
	last    *notice
}

// listen adds a listener to those of its keyword.
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
	go g.callWithNewest(one) // who listens may be a listener that is being called
	return g, nil
}

// unlisten removes a listener, and ends the watch with the last.
func (c *Client) unlisten(g *listeners, one *listenerEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.all = slices.DeleteFunc(slices.Clone(g.all), func(l *listenerEntry) bool { return l == one })
	if len(g.all) == 0 {
		g.cancel()
		c.forgetLocked(g)
	}
}

// forgetLocked makes the next listener of the keyword begin anew. The lock is held.
func (c *Client) forgetLocked(g *listeners) {
	if c.listening[g.key] == g {
		delete(c.listening, g.key)
	}
}

// run watches until the last listener has gone.
func (g *listeners) run(ctx context.Context, t target) {
	defer close(g.done)
	for n, err := range g.c.events(ctx, nil, t) {
		if err != nil {
			if ctx.Err() == nil {
				redisio.Of(g.c.pool).Logger().Warn("keywords: listeners are told nothing any more", "keyword", g.key, "error", err)
				g.c.mu.Lock()
				g.c.forgetLocked(g)
				g.c.mu.Unlock()
			}
			return
		}
		g.c.mu.Lock()
		all := g.all
		g.c.mu.Unlock()
		g.calling.Lock()
		g.last = &n
		for _, one := range all {
			one.told = true
			g.call(one, n)
		}
		g.calling.Unlock()
	}
}

// callWithNewest tells a new listener the newest value, unless it has been told one
// or was closed meanwhile.
func (g *listeners) callWithNewest(one *listenerEntry) {
	g.calling.Lock()
	defer g.calling.Unlock()
	if one.told || g.last == nil || g.last.kind == EventGone {
		return
	}
	g.c.mu.Lock()
	open := slices.Contains(g.all, one)
	g.c.mu.Unlock()
	if !open {
		return
	}
	n := *g.last
	n.kind, n.prev = EventInitial, nil
	one.told = true
	g.call(one, n)
}

func (g *listeners) call(one *listenerEntry, n notice) {
	defer func() {
		if v := recover(); v != nil {
			redisio.Of(g.c.pool).Logger().Error("keywords: panic in a listener", "keyword", g.key, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	one.call(n)
}
