package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Principal is who a client is.
type Principal struct {
	Name    string    // empty: nobody in particular
	Expires time.Time // when the connection is closed, unless AUTH comes first. Zero: never
	Data    any       // the host's
}

// checkExpiry refuses a principal that has expired.
func (p Principal) checkExpiry() error {
	if !p.Expires.IsZero() && !time.Now().Before(p.Expires) {
		return fmt.Errorf("gateway: the principal %q expired at %s", p.Name, p.Expires.Format(time.RFC3339))
	}
	return nil
}

// Conn is the connection of one client. Its methods may be used by any goroutine.
type Conn struct {
	h           *Handler
	id          uint64
	remote      string
	address     string // Limits.PerAddress counts it by
	net         net.Conn
	direct      *direct // nil: the socket can't be asked how much it takes
	v           variant
	connectedAt int64 // the time of connecting; all times are of the sweeper's clock, in ns

	// Of the goroutine that reads.
	rate        bucket // of commands
	fastSince   int64  // since when there have been too many; 0: there are not
	lastRefused int64  // when one was last

	principal atomic.Pointer[Principal]
	filters   atomic.Pointer[[]namedFilter]
	filtering sync.Mutex // one message at a time goes through the filters

	lastMessage atomic.Int64 // when a message came
	pingSent    atomic.Int64 // when the ping that is not answered was sent; 0: there is none
	nextPing    int64        // when to ping; of the sweeper

	mu           sync.Mutex
	queue        []entry // from head on
	head         int
	bytes        int // in the queue
	count        int // messages in it
	answers      int // in it
	writing      bool
	writeSince   int64         // when the write that runs began; 0: none does
	drained      chan struct{} // of who waits for the queue; nil: nobody
	cancel       context.CancelFunc
	members      map[string]*member
	values       map[any]any
	state        connState
	reason       CloseReason
	closedAt     int64 // when closing began
	remoteClosed bool  // the client has said goodbye
}

type connState uint8

const (
	open    connState = iota
	closing           // nothing more goes into the queue; its last entry is the goodbye
	ended             // the socket is closed
)

// CloseReason is why a connection ended.
type CloseReason struct {
	Code   CloseCode
	Text   string
	Remote bool // the client said so; else we did
}

// ID is unique in the handler.
func (c *Conn) ID() string { return strconv.FormatUint(c.id, 36) }

// Handler returns the handler of the connection.
func (c *Conn) Handler() *Handler { return c.h }

// RemoteAddr is the other end of the socket.
func (c *Conn) RemoteAddr() string { return c.remote }

// Protocol returns what the client speaks.
func (c *Conn) Protocol() Protocol { return c.v.protocol }

// Principal returns who the client is.
func (c *Conn) Principal() Principal { return *c.principal.Load() }

// SetPrincipal says who the client is from now on. Channels that he follows and
// may not any more are unsubscribed, with a status that tells him.
func (c *Conn) SetPrincipal(ctx context.Context, p Principal) {
	c.principal.Store(&p)
	for _, name := range c.Channels() {
		m := c.member(name)
		switch {
		case m == nil:
		case c.allowed(ctx, OpSubscribe, name):
			m.ch.renamePresence(ctx, m)
		case c.leave(m):
			c.status(map[string]any{"status": "unsubscribed", "channel": name}, nil)
		}
	}
}

// Value returns what SetValue has set for key, or nil.
func (c *Conn) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

// SetValue keeps something of the host's with the connection. Nil removes it.
func (c *Conn) SetValue(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case value == nil:
		delete(c.values, key)
	case c.values == nil:
		c.values = map[any]any{key: value}
	default:
		c.values[key] = value
	}
}

// Channels returns what the client follows, sorted.
func (c *Conn) Channels() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.members))
}

// Send sends data to the client as it is, as one message; what is not UTF-8 as a
// binary one. It does not wait: a client who is too slow for it is disconnected.
func (c *Conn) Send(data []byte) {
	c.push(entry{data: compile(c.v, &Frame{Kind: KindBroadcast, Content: data}), n: 1})
}

// Reply sends a value that answers a request, and waits while too much waits for
// the client. Content is marshalled to JSON; a json.RawMessage is taken as it is.
func (c *Conn) Reply(r Request, source string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return c.answer(&Frame{Kind: KindValue, Source: source, Content: raw, Ref: r.Ref, Time: time.Now()})
}

// ReplyMessage takes m through the filters of the connection and sends what is
// left of it, if anything, as a value that answers a request.
func (c *Conn) ReplyMessage(r Request, m *Message) (sent bool, err error) {
	m.kind, m.ref = KindValue, r.Ref
	if m = c.filter(m); m == nil {
		return false, nil
	}
	return true, c.reply(entry{data: m.compiled(c.v)})
}

// status sends news of the connection.
func (c *Conn) status(content map[string]any, ref json.RawMessage) {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // all of it is ours
	}
	c.push(entry{data: c.compiledStatus(raw, ref), kept: true})
}

func (c *Conn) compiledStatus(content, ref json.RawMessage) []byte {
	return compile(c.v, &Frame{Kind: KindStatus, Content: content, Ref: ref, Time: time.Now()})
}

func (c *Conn) answer(f *Frame) error { return c.reply(entry{data: compile(c.v, f)}) }

// Close says goodbye with a code and a text of at most 123 bytes, behind what
// waits for the client, and ends the connection soon after.
func (c *Conn) Close(code CloseCode, text string) {
	c.closeWith(CloseReason{Code: code, Text: text}, true)
}

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == open
}

// log returns a logger that knows the connection.
func (c *Conn) log() *slog.Logger {
	return c.h.log.With("conn", c.ID(), "remote", c.remote, "principal", c.Principal().Name)
}

// guard runs what is the host's. A panic closes the connection.
func (c *Conn) guard(what string, run func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			ok = false
			c.h.count.panics.Add(1)
			c.log().Error("gateway: panic", "in", what, "panic", v, "stack", string(debug.Stack()))
			c.Close(CloseInternal, "internal error")
		}
	}()
	run()
	return true
}
