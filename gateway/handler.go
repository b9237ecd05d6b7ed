package gateway

import (
	"context"
	"crypto/rand"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Handler is an http.Handler for WebSockets. It starts nothing before its first
// connection.
type Handler struct {
	pool     *storage.Pool
	cfg      Config
	log      *slog.Logger
	id       string // of this handler among all processes
	source   Source
	redis    *redisSource // the source, if the handler made it; else nil
	marker   marker       // the source, if it is one; else nil
	hub      hub
	commands map[string]Command
	count    counters
	disown   func()

	ctx    context.Context // ends when the last connection must
	cancel context.CancelFunc
	tasks  sync.WaitGroup // all goroutines
	clock  atomic.Int64   // of the sweeper, in ns
	warned struct{ unavailable, presence redisio.Throttle }

	open atomic.Int64 // connections
	next atomic.Uint64

	mu        sync.Mutex
	conns     map[*Conn]struct{}
	addresses map[string]int
	accepts   bucket
	sweeping  bool
	draining  bool
	gone      chan struct{} // closed when the last connection has ended; nil: nothing waits for it
	closed    chan struct{} // closed when Close has ended; nil: it has not begun
}

// New returns a handler that reads and subscribes with the pool. It does not touch
// Redis. [storage.Pool.Close] closes it, if nobody did.
func New(pool *storage.Pool, cfg Config) (*Handler, error) {
	cfg, err := cfg.complete(pool)
	if err != nil {
		return nil, gatewayError(err)
	}
	h := &Handler{
		pool: pool, cfg: cfg, log: redisio.Of(pool).Logger(), id: rand.Text()[:16], source: cfg.Source,
		conns: make(map[*Conn]struct{}), addresses: make(map[string]int),
	}
	h.hub = hub{h: h, channels: make(map[string]*channel)}
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
	if h.disown, err = redisio.Of(pool).Own(h.Close); err != nil {
		return nil, gatewayError(err)
	}
	return h, nil
}

// Broadcast sends data to connections, as [Conn.Send] does. Connections of the same
// handler and protocol share one compiled message.
func Broadcast(data []byte, to ...*Conn) {
	f := &Frame{Kind: KindBroadcast, Content: data}
	compiled := make(map[variant][]byte)
	for _, c := range to {
		if _, ok := compiled[c.v]; !ok {
			compiled[c.v] = compile(c.v, f)
		}
		c.push(entry{data: compiled[c.v], n: 1})
	}
}

// Disconnect closes all connections of a principal, and returns how many they
// were. Their clients are told not to come back: who may not must also be refused
// by Config.Authenticate.
func (h *Handler) Disconnect(principal string) (n int) {
	for _, c := range h.Conns() {
		if c.Principal().Name == principal {
			c.Close(CloseDisconnected, "disconnected")
			n++
		}
	}
	return n
}

// Conns returns the connections of the handler, in no particular order.
func (h *Handler) Conns() []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	conns := make([]*Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	return conns
}

// Shutdown takes no more connections, and says goodbye to those there are, with
// close code 1012: one after the other over the time until ctx's deadline, or at
// once without one, so that they don't all come back to another server in the same
// moment. Each is told before how long it should wait. It returns when all are gone
// and nothing of the handler runs; at the end of ctx the rest is cut off, and its
// error returned.
//
// http.Server.Shutdown does not know of these connections: call this as well.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	conns := h.Conns()
	var pause time.Duration
	if deadline, ok := ctx.Deadline(); ok && len(conns) > 0 {
		pause = time.Until(deadline) * 3 / 4 / time.Duration(len(conns)) // the rest is for the last
	}
	h.closeForRestart(ctx, conns, pause)
	err := h.wait(ctx)
	_ = h.Close()
	return err
}

// reconnect is within how many milliseconds a client should come back, at least.
const reconnect = 2000

// farewells closes connections, with pauses between them.
func (h *Handler) closeForRestart(ctx context.Context, conns []*Conn, pause time.Duration) {
	const tick = 10 * time.Millisecond // below, several go at once
	ticker := time.NewTicker(max(pause, tick))
	defer ticker.Stop()
	each := len(conns)
	if pause > 0 {
		each = max(1, int(tick/pause))
	}
	told := 0
	for _, c := range conns {
		if !c.isOpen() { // he has gone by himself
			continue
		}
		if told > 0 && told%each == 0 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		told++
		c.closeForRestart()
	}
}

// dismiss says goodbye to a client who should come back.
func (c *Conn) closeForRestart() {
	c.status(map[string]any{"status": "closing", "reconnect_ms": reconnect/2 + int(c.id*7919%reconnect)}, nil)
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

// Close cuts off all connections without a goodbye, and returns when nothing of the
// handler runs. A hook or command that called it would wait for itself. Further calls wait for the
// first.
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
	for _, c := range h.Conns() {
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

// guard runs what is the host's and about no connection.
func (h *Handler) guard(what string, run func()) {
	defer func() {
		if v := recover(); v != nil {
			h.count.panics.Add(1)
			h.log.Error("gateway: panic", "in", what, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	run()
}
