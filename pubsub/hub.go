package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// hub is shared by all subscriptions of a client. It knows which queues belong to which
// channel and subscribes to each channel once, over as few connections as possible:
// one, and on a cluster one more to each primary for kinds that are [kind.placed].
type hub struct {
	c      *Client
	client redis.UniversalClient // for connections that subscribe
	tasks  sync.WaitGroup        // goroutines that end with close
	ctx    context.Context       // ends with close
	cancel context.CancelFunc

	mu         sync.Mutex
	closed     bool
	routes     [kinds]map[string]*route
	links      map[string]*link // by address; "" is the one that may be anywhere
	nextLink   int
	placing    bool        // placeRoutes is running
	moved      bool        // placeRoutes has something to do
	placeAgain *time.Timer // its next run
	trouble    error       // its last error
}

// route is a channel or pattern, with its queues and the connections that subscribe to
// it.
type route struct {
	kind     kind
	name     string // as Redis has it
	strip    int    // length of the pool's prefix in its channels
	members  []*member
	bindings []*binding
	once     bool // it has been live: a new binding is a gap
	linger   *time.Timer
}

// member is a queue on a route. The slice that holds it is never changed, only
// replaced: the goroutine that reads from Redis may still use it.
type member struct {
	q         *queue
	live      bool       // its queue knows that Redis has confirmed the route
	confirmed chan error // holds one
}

// liveLocked reports whether Redis has confirmed the route at all its servers.
func (r *route) liveLocked() bool {
	for _, l := range r.bindings {
		if l.state != live {
			return false
		}
	}
	return len(r.bindings) > 0
}

func newHub(c *Client) *hub {
	h := &hub{c: c, client: redisio.Of(c.pool).Dedicated(), links: make(map[string]*link)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	dialOnce(h.client)
	for k := range h.routes {
		h.routes[k] = make(map[string]*route)
	}
	return h
}

// join adds a queue to a route, and returns when Redis has confirmed it.
func (h *hub) join(ctx context.Context, q *queue) error {
	k, name, strip := h.wire(q.spec)
	q.kind, q.name = k, name
	m := &member{q: q, confirmed: make(chan error, 1)}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}
	r := h.routes[k][name]
	if r == nil {
		r = &route{kind: k, name: name, strip: strip}
		h.routes[k][name] = r
		h.placeLocked(r)
	}
	if r.linger != nil {
		r.linger.Stop()
		r.linger = nil
	}
	r.members = append(slices.Clip(slices.Clone(r.members)), m)
	if r.liveLocked() {
		m.endWaitLocked(nil)
	}
	h.mu.Unlock()

	select {
	case err := <-m.confirmed:
		return err
	case <-ctx.Done():
		return redisio.Because(ctx.Err(), h.why(r))
	}
}

// why returns what keeps a route from being confirmed, if that is known.
func (h *hub) why(r *route) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, binding := range r.bindings {
		if binding.state != live && binding.link.trouble != nil {
			return binding.link.trouble
		}
	}
	if len(r.bindings) == 0 {
		return h.trouble
	}
	return nil
}

// leave removes a queue from its routes. A route without queues is unsubscribed after
// Config.Linger.
func (h *hub) leave(q *queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routes[q.kind][q.name]
	if r == nil || len(r.members) == 0 {
		return
	}
	r.members = slices.DeleteFunc(slices.Clone(r.members), func(m *member) bool { return m.q == q })
	if len(r.members) > 0 || h.closed {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(max(h.c.cfg.Linger, 0), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if r.linger == t {
			r.linger = nil
			h.dropLocked(r)
		}
	})
	r.linger = t
}

// dropLocked ends a route that has no queue.
func (h *hub) dropLocked(r *route) {
	if h.routes[r.kind][r.name] == r {
		delete(h.routes[r.kind], r.name)
	}
	for _, binding := range r.bindings {
		binding.link.retireLocked(binding)
	}
	r.bindings = nil
}

// refuseLocked ends the members of a route that Redis refuses.
func (h *hub) refuseLocked(r *route, err error) {
	members := r.members
	r.members = nil
	if r.linger != nil {
		r.linger.Stop()
		r.linger = nil
	}
	h.dropLocked(r)
	for _, m := range members {
		if m.live {
			m.q.fail(fmt.Errorf("pubsub: %s is no longer allowed: %w", r.name, err))
		} else {
			m.endWaitLocked(err)
		}
	}
}

// endWaitLocked ends the wait of join.
func (m *member) endWaitLocked(err error) {
	m.live = true
	m.confirmed <- err
}

// wire returns the name of a source in Redis, and the length of the prefix of its
// channels.
func (h *hub) wire(s spec) (k kind, name string, strip int) {
	if s.kind == exact || s.kind == shard {
		name = h.c.channel(s)
		return s.kind, name, len(name)
	}
	if prefix := h.c.prefix; prefix != "" {
		name = prefix + ":"
	}
	k = s.kind
	if k == key || k == keys {
		name = fmt.Sprintf("__keyspace@%d__:%s", redisio.Of(h.c.pool).Database(), name)
		if !h.isCluster() { // as any other channel, then
			k -= key - exact
		}
	}
	return k, name + s.name, len(name)
}

// placeLocked binds a new route to its servers.
func (h *hub) placeLocked(r *route) {
	if r.kind.placed() && h.isCluster() {
		h.schedulePlacementLocked()
		return
	}
	h.addBindingLocked(r, "")
}

// addBindingLocked subscribes to a route at an address.
func (h *hub) addBindingLocked(r *route, addr string) {
	l := h.links[addr]
	if l == nil {
		h.nextLink++
		l = newLink(h, addr, h.nextLink)
		h.links[addr] = l
		h.tasks.Go(l.run)
	}
	if old := l.bindings[r.kind][r.name]; old != nil { // it is being unsubscribed, and may be live
		old.route, old.over = r, false
		r.once = r.once || old.state == live
		old.again = r.once
		r.bindings = append(r.bindings, old)
		l.markLocked(old)
		return
	}
	binding := &binding{route: r, link: l, again: r.once}
	l.bindings[r.kind][r.name] = binding
	r.bindings = append(r.bindings, binding)
	l.markLocked(binding)
}

// confirmLocked notes that Redis has confirmed a binding. The next messages on its
// connection are live.
func (h *hub) confirmLocked(binding *binding, cause error) {
	r := binding.route
	binding.state = live
	if binding.again {
		h.c.stats.cuts.Add(1)
		if cause == nil {
			cause = errMoved
		}
		gap := &packet{gap: &GapError{Cause: cause}}
		for _, m := range r.members {
			if m.live {
				m.q.push(gap)
			}
		}
	}
	binding.again, binding.alone = true, false
	if !r.liveLocked() {
		return
	}
	r.once = true
	for _, m := range r.members {
		if !m.live {
			m.endWaitLocked(nil)
		}
	}
}

var errMoved = errors.New("the channel is at another server now")

func (h *hub) isCluster() bool {
	_, ok := h.client.(*redis.ClusterClient)
	return ok
}

// close ends all connections and waits for the goroutines. The queues are closed
// already.
func (h *hub) close() error {
	h.mu.Lock()
	h.closed = true
	h.cancel()
	for _, routes := range h.routes {
		for _, r := range routes {
			if r.linger != nil {
				r.linger.Stop()
			}
			for _, m := range r.members {
				if !m.live {
					m.endWaitLocked(ErrClosed)
				}
			}
		}
		clear(routes)
	}
	if h.placeAgain != nil {
		h.placeAgain.Stop()
	}
	for _, l := range h.links {
		l.stopLocked()
	}
	h.mu.Unlock()
	h.tasks.Wait()
	return redisio.Normalize(context.Background(), h.client.Close())
}
