package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Handler is an http.Handler that serves WebSockets and event streams. It starts no
// goroutine before its first connection, except for Config.Follow and Remote.
type Handler struct {
	pool     *storage.Pool
	cfg      Config
	log      *slog.Logger
	id       string // unique among the handlers of all processes
	source   Source
	redis    *redisSource // the source, if the handler made it; else nil
	marker   marker       // the source, if it is one; else nil
	remote   *remoteEnd   // nil: Config.Remote is empty
	hub      hub
	commands map[string]Command
	variants []variant // of each protocol in turn
	count    counters
	disown   func()

	ctx    context.Context // ends in Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the handler
	began  time.Time      // from which all times are counted
	clock  atomic.Int64   // when the sweeper last ran, as elapsed returns it
	warned struct{ unavailable, refused, presence, follow, remote redisio.Throttle }

	open      atomic.Int64 // connections
	next      atomic.Uint64
	withdrawn atomic.Uint64 // number of times that a Remote has unsubscribed a principal

	mu          sync.Mutex
	conns       map[*Conn]bool // whether the Connect hooks have accepted it
	addresses   map[string]int
	disconnects map[string]int64 // principals disconnected in the last minutes, and when
	accepts     bucket
	sweeping    bool
	draining    bool
	gone        chan struct{} // closed when the last connection has ended; nil: nothing waits for it
	closed      chan struct{} // closed when Close has ended; nil: it has not begun
}

// New returns a handler that reads and subscribes with the pool. It does not wait for
// Redis. [storage.Pool.Close] closes it, if nothing did before.
func New(pool *storage.Pool, cfg Config) (*Handler, error) {
	cfg, err := cfg.complete(pool)
	if err != nil {
		return nil, gatewayError(err)
	}
	h := &Handler{
		pool: pool, cfg: cfg, log: redisio.Of(pool).Logger(), id: rand.Text()[:16], source: cfg.Source, began: time.Now(),
		conns: make(map[*Conn]bool), addresses: make(map[string]int), disconnects: make(map[string]int64),
	}
	h.hub = hub{h: h, channels: make(map[string]*channel)}
	for _, p := range cfg.Protocols {
		h.variants = append(h.variants, variant{h: h, protocol: p}, variant{h: h, protocol: p, deflate: true}, variant{h: h, protocol: p, events: true})
	}
	if h.commands, err = h.newCommands(); err != nil {
		return nil, gatewayError(err)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if h.source == nil {
		if h.redis, err = newRedisSource(h); err != nil {
			return nil, gatewayError(err)
		}
		h.source = h.redis
	}
	h.marker, _ = h.source.(marker)
	if cfg.Remote != "" {
		if h.remote, err = newRemoteEnd(h); err != nil {
			return nil, gatewayError(err)
		}
	}
	if h.disown, err = redisio.Of(pool).Own(h.Close); err != nil {
		return nil, gatewayError(err)
	}
	if h.remote != nil {
		h.tasks.Go(h.remote.run)
	}
	for _, name := range cfg.Follow {
		h.tasks.Go(func() { h.followAlways(name) })
	}
	return h, nil
}

// Broadcast sends data to connections, as [Conn.Send] does. Connections of the same
// handler and protocol share one compiled message.
func Broadcast(data []byte, to ...*Conn) {
	f := &Frame{Kind: KindBroadcast, Content: data}
	compiled := make(map[*variant][]byte)
	for _, c := range to {
		if _, ok := compiled[c.v]; !ok {
			compiled[c.v] = compile(c.v, f)
		}
		c.push(entry{data: compiled[c.v]})
	}
}

// Disconnect closes all connections of a principal, and returns their number. The close
// code only asks clients not to reconnect; Config.Authenticate must also reject the
// principal.
func (h *Handler) Disconnect(principal string) (n int) {
	h.noteDisconnect(principal, h.elapsed())
	for _, c := range h.all() {
		if c.Principal().Name == principal && c.disconnect() {
			n++
		}
	}
	return n
}

// disconnect closes the connection of a principal that is disconnected, and reports whether
// it was open.
func (c *Conn) disconnect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return false
	}
	c.closeLocked(CloseReason{Code: CloseDisconnected, Text: "disconnected"}, true)
	return true
}

// noteDisconnect has requests refused that are being authenticated as a principal while it is
// disconnected.
func (h *Handler) noteDisconnect(principal string, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disconnects[principal] = max(at, h.disconnects[principal])
}

// isDisconnected reports whether the principal of a connection was disconnected since its
// request began.
func (h *Handler) isDisconnected(c *Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.disconnects[c.Principal().Name]
	return ok && c.connectedAt <= at
}

// disconnectsKept is longer than a request is being authenticated.
const disconnectsKept = 10 * time.Minute

// forgetDisconnects forgets what no request can have begun before.
func (h *Handler) forgetDisconnects() {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.disconnects, func(_ string, at int64) bool { return h.elapsed()-at > int64(disconnectsKept) })
}

// Conns returns the connections of the handler that the Connect hooks have accepted, in
// no particular order.
func (h *Handler) Conns() []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	conns := make([]*Conn, 0, len(h.conns))
	for c, accepted := range h.conns {
		if accepted {
			conns = append(conns, c)
		}
	}
	return conns
}

// all returns the connections of the handler, also those that are not accepted yet.
func (h *Handler) all() []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.AppendSeq(make([]*Conn, 0, len(h.conns)), maps.Keys(h.conns))
}

// Shutdown refuses new connections and closes the others with 1012, spread over three
// quarters of the time until ctx's deadline, so that clients don't all reconnect to
// another server at once; without a deadline it closes them at once. Each client is first
// sent a status closing with the time after which to reconnect. Shutdown returns when all
// connections have ended and no goroutine of the handler runs. When ctx ends it cuts off
// the rest and returns ctx's error.
//
// http.Server.Shutdown does not close WebSockets, and waits for event streams: call both,
// this one first.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	conns := h.all()
	var pause time.Duration
	if deadline, ok := ctx.Deadline(); ok && len(conns) > 0 {
		pause = time.Until(deadline) * 3 / 4 / time.Duration(len(conns)) // the rest is for the last
	}
	h.closeForRestart(ctx, conns, pause)
	err := h.wait(ctx)
	_ = h.Close()
	return err
}

// reconnect is the time over which clients spread their reconnecting, in ms.
const reconnect = 2000

// closeForRestart closes connections, with pauses between them.
func (h *Handler) closeForRestart(ctx context.Context, conns []*Conn, pause time.Duration) {
	const tick = 10 * time.Millisecond // for shorter pauses, several are closed at once
	ticker := time.NewTicker(max(pause, tick))
	defer ticker.Stop()
	each := len(conns)
	if pause > 0 {
		each = max(1, int(tick/pause))
	}
	closed := 0
	for _, c := range conns {
		if !c.isOpen() {
			continue
		}
		if closed > 0 && closed%each == 0 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		closed++
		c.closeForRestart()
	}
}

// closeForRestart asks the client to reconnect, and closes the connection.
func (c *Conn) closeForRestart() {
	after := reconnect/2 + int(c.id*7919%reconnect)
	c.status(map[string]any{"status": "closing", "reconnect_ms": after}, nil)
	if c.v.events { // for browsers, which connect again by themselves
		c.push(entry{data: fmt.Appendf(nil, "retry: %d\n\n", after), kept: true})
	}
	c.Close(CloseRestart, "restart")
}

func (h *Handler) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// wait returns when all connections have ended. The handler accepts no more.
func (h *Handler) wait(ctx context.Context) error {
	h.mu.Lock()
	if h.open.Load() == 0 {
		h.mu.Unlock()
		return nil
	}
	if h.gone == nil {
		h.gone = make(chan struct{})
	}
	gone := h.gone
	h.mu.Unlock()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts off all connections without a close frame, and returns when no goroutine of
// the handler runs. It must not be called by a hook or a command, which it waits for.
// Further calls wait for the first.
func (h *Handler) Close() error {
	h.mu.Lock()
	first := h.closed == nil
	if first {
		h.closed, h.draining = make(chan struct{}), true
	}
	closed := h.closed
	h.mu.Unlock()
	if !first {
		<-closed
		return nil
	}
	for _, c := range h.all() {
		c.abort(CloseReason{Code: CloseGoingAway, Text: "closed"})
	}
	h.cancel()
	_ = h.wait(context.Background())
	h.hub.mu.Lock()
	h.hub.closed = true
	h.hub.mu.Unlock()
	if h.redis != nil {
		h.redis.close()
	}
	h.tasks.Wait()
	h.disown()
	close(closed)
	return nil
}

// guard runs code of the host that is not about one connection.
func (h *Handler) guard(what string, run func()) {
	defer func() {
		if v := recover(); v != nil {
			h.count.panics.Add(1)
			h.log.Error("gateway: panic", "in", what, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	run()
}
