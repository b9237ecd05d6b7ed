package pubsub

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// link is a connection that subscribes, and is replaced when it breaks. One goroutine
// reads from it and never waits for a consumer.
type link struct {
	hub   *hub
	addr  string // of a server of a cluster; "": any
	probe string // the channel on which it publishes to itself

	ctx      context.Context // ends with stop
	cancel   context.CancelFunc
	received atomic.Int64 // number of replies received

	// Guarded by the hub's lock.
	bindings     [kinds]map[string]*binding
	dirty        []*binding // that may need a command
	conn         *conn      // nil: there is none
	asks         []ask      // commands that Redis has not answered, oldest first
	flushing     bool
	probeRefused bool  // Redis refuses the probe
	trouble      error // why there is no connection
	cause        error // why the last one was lost
}

// binding is a route at a link.
type binding struct {
	route *route
	link  *link
	state state
	again bool // it was live before: the next confirmation is a gap
	alone bool // subscribe to it by itself: together with others it was refused
	over  bool // it is to be unsubscribed
}

// state is what the server knows of a binding.
type state uint8

const (
	idle    state = iota // nothing
	asked                // it has not answered SUBSCRIBE yet
	live                 // it sends messages
	leaving              // it has not answered UNSUBSCRIBE yet
)

// ask is a command that waits for its answers, which come in the order of the commands:
// one for each name, or one error for all.
type ask struct {
	bindings []*binding // nil: the probe
	left     int        // answers to come
	unsubs   bool
}

// maxNames is the number of names in one SUBSCRIBE.
const maxNames = 512

func newLink(h *hub, addr string, number int) *link {
	l := &link{hub: h, addr: addr}
	for k := range l.bindings {
		l.bindings[k] = make(map[string]*binding)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.probe = h.c.probeName(redisio.Of(h.c.pool).Database(), number)
	return l
}

// stopLocked ends the link. All …Locked functions here need the hub's lock.
func (l *link) stopLocked() {
	l.cancel()
	if l.hub.links[l.addr] == l {
		delete(l.hub.links, l.addr)
	}
}

// retireLocked removes a binding once the server has unsubscribed it.
func (l *link) retireLocked(binding *binding) {
	binding.over = true
	l.markLocked(binding)
}

// markLocked marks a binding for the next command.
func (l *link) markLocked(binding *binding) {
	if binding.over && (binding.state == idle || l.conn == nil) {
		l.removeLocked(binding)
		return
	}
	if l.conn != nil {
		l.dirty = append(l.dirty, binding)
		l.flushLocked()
	}
}

// removeLocked removes a binding, and ends a link that has none left.
func (l *link) removeLocked(binding *binding) {
	if bindings := l.bindings[binding.route.kind]; bindings[binding.route.name] == binding {
		delete(bindings, binding.route.name)
	}
	for _, bindings := range l.bindings {
		if len(bindings) > 0 {
			return
		}
	}
	l.stopLocked()
}

// flushLocked starts the goroutine that sends commands for dirty bindings, unless it
// runs.
func (l *link) flushLocked() {
	if l.conn != nil && !l.flushing && len(l.dirty) > 0 && !l.hub.closed {
		l.flushing = true
		to := l.conn
		l.hub.tasks.Go(func() { l.write(to) })
	}
}

// write sends commands to a connection until no binding needs one. A write that fails
// breaks the connection, which the reader notices.
func (l *link) write(to *conn) {
	for {
		command, names := l.next(to)
		if command == nil {
			return
		}
		_ = command(to.PubSub, guarded(l.ctx), names...)
	}
}

type command func(conn *redis.PubSub, ctx context.Context, names ...string) error

// commands are the commands that subscribe and unsubscribe, by kind.
var commands = [kinds][2]command{
	exact: {(*redis.PubSub).Subscribe, (*redis.PubSub).Unsubscribe},
	glob:  {(*redis.PubSub).PSubscribe, (*redis.PubSub).PUnsubscribe},
	shard: {(*redis.PubSub).SSubscribe, (*redis.PubSub).SUnsubscribe},
	key:   {(*redis.PubSub).Subscribe, (*redis.PubSub).Unsubscribe},
	keys:  {(*redis.PubSub).PSubscribe, (*redis.PubSub).PUnsubscribe},
}

// next returns the next command for a connection, with as many names as can go
// together, and notes that its answers are awaited.
func (l *link) next(to *conn) (command, []string) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.conn != to || l.ctx.Err() != nil {
		l.flushing = false
		l.flushLocked() // on the connection that is there now
		return nil, nil
	}
	var a ask
	var k kind
	var names []string
	for len(l.dirty) > 0 && len(a.bindings) < maxNames {
		binding := l.dirty[0]
		if binding.state == asked || binding.state == leaving || binding.over == (binding.state == idle) {
			l.skipLocked() // it is looked at again when the answer comes, or is as it should be
			continue
		}
		if len(a.bindings) > 0 && (binding.over != a.unsubs || binding.route.kind != k || binding.alone) {
			break
		}
		// A sharded command must keep to one slot.
		alone := binding.alone || binding.route.kind == shard && l.addr != ""
		k, a.unsubs = binding.route.kind, binding.over
		binding.state = asked
		if binding.over {
			binding.state = leaving
		}
		a.bindings, names = append(a.bindings, binding), append(names, binding.route.name)
		l.skipLocked()
		if alone {
			break
		}
	}
	if len(a.bindings) == 0 {
		l.flushing = false
		return nil, nil
	}
	a.left = len(a.bindings)
	l.asks = append(l.asks, a)
	if a.unsubs {
		return commands[k][1], names
	}
	return commands[k][0], names
}

func (l *link) skipLocked() {
	l.dirty[0] = nil
	l.dirty = l.dirty[1:]
}

// run keeps the connection until the link is stopped.
func (l *link) run() {
	for try := 0; l.ctx.Err() == nil; try++ {
		if try > 0 {
			l.hub.c.event(Event{Kind: EventReconnecting, Addr: l.addr, Try: try})
		}
		begin := time.Now()
		good, err := l.connect(try)
		l.disconnected(err)
		if good {
			if try = 0; time.Since(begin) > brief {
				continue // at once
			}
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(redisio.Backoff(try)):
		}
	}
}

// brief is the life of a connection after which the next one is made with a delay: a
// client that Redis disconnects again and again must not dial in a loop.
const brief = 20 * time.Millisecond

// connect makes a connection and reads from it until it breaks. It reports
// whether Redis had answered.
func (l *link) connect(try int) (good bool, err error) {
	c, err := l.dial()
	if err != nil {
		if l.ctx.Err() == nil {
			l.hub.c.event(Event{Kind: EventReconnectFailed, Addr: l.addr, Try: try, Err: err})
		}
		return false, err
	}
	l.hub.c.event(Event{Kind: EventConnected, Addr: l.addr, Try: try})
	good, err = l.read(c)
	if l.ctx.Err() == nil {
		l.hub.c.event(Event{Kind: EventDisconnected, Addr: l.addr, Err: err})
	}
	return good, err
}

// dial makes a connection and subscribes its probe.
func (l *link) dial() (*conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, dialTime)
	defer cancel()
	node, err := l.hub.node(ctx, l.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{PubSub: node.Subscribe(ctx)} // dials with its first command
	if err := c.Subscribe(context.WithValue(ctx, dialing{}, c), l.probe); err != nil {
		_ = c.Close()
		return nil, redisio.Normalize(ctx, err)
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.ctx.Err() != nil {
		_ = c.Close()
		return nil, l.ctx.Err()
	}
	l.conn, l.asks, l.dirty, l.probeRefused, l.trouble = c, []ask{{left: 1}}, nil, false, nil
	for _, bindings := range l.bindings {
		for _, binding := range bindings {
			l.dirty = append(l.dirty, binding)
		}
	}
	l.flushLocked()
	return c, nil
}

// dialTime bounds a dial, its handshake included.
const dialTime = 10 * time.Second

// disconnected notes that there is no connection.
func (l *link) disconnected(err error) {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.trouble = err; l.conn != nil {
		l.cause = err
	}
	l.conn, l.asks, l.dirty = nil, nil, nil
	for _, bindings := range l.bindings {
		for _, binding := range bindings {
			if binding.state = idle; binding.over {
				l.removeLocked(binding)
			} else if denied(err) {
				h.denyLocked(binding.route, err)
			}
		}
	}
	if l.addr != "" {
		h.schedulePlacementLocked() // the server may have left the cluster
	}
}

// denied reports whether Redis refuses the client, which waiting does not change.
func denied(err error) bool {
	var reply redis.Error
	return redis.IsAuthError(err) || redis.IsPermissionError(err) ||
		errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "WRONGPASS")
}

// denyLocked ends the waits for all routes with the error by which Redis refuses the
// client.
func (h *hub) denyLocked(r *route, err error) {
	for _, m := range r.members {
		if !m.live {
			m.endWaitLocked(err)
		}
	}
}

// probeName returns the name of the channel for probes.
func (c *Client) probeName(db, number int) string {
	name, err := c.pool.Key("pubsub", strconv.Itoa(db), "probe", c.id, strconv.Itoa(number))
	if err != nil {
		panic(err) // all parts are valid names
	}
	return name
}
