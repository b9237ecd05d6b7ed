package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Principal is the user or program behind a connection.
type Principal struct {
	Name    string    // empty for an anonymous client
	Expires time.Time // when the connection is closed, unless AUTH renews it. Zero: never
	Data    any       // for the host
}

// checkExpiry refuses a principal that has expired.
func (p Principal) checkExpiry() error {
	if !p.Expires.IsZero() && !time.Now().Before(p.Expires) {
		return fmt.Errorf("gateway: the principal %q expired at %s", p.Name, p.Expires.Format(time.RFC3339))
	}
	return nil
}

// Conn is the connection of one client. Its methods may be used by any goroutine, except
// Charge.
type Conn struct {
	h           *Handler
	id          uint64
	remote      string
	address     string // what Limits.PerAddress counts
	net         io.WriteCloser
	direct      *direct   // writes without blocking; nil: the socket can't
	ids         *eventIDs // of an event stream; nil: a WebSocket
	v           *variant
	connectedAt int64 // when its request came; all times are of Handler.now

	// Used by the goroutine that reads.
	rate        bucket // of commands
	fastSince   int64  // when the client began to send too fast; 0: it does not
	lastRefused int64  // when a command was last refused as too fast

	principal atomic.Pointer[Principal]
	filters   atomic.Pointer[[]namedFilter]
	filtering sync.Mutex // one message at a time goes through the filters

	lastMessage atomic.Int64 // when a message came
	pingSent    atomic.Int64 // when the ping was sent that is not answered yet; 0: there is none
	nextPing    int64        // when to ping; used by the sweeper

	mu           sync.Mutex
	queue        []entry            // waits to be written
	bytes        int                // size of the queue
	sends        int                // entries of the queue that count in Limits.QueueMessages
	answers      int                // answers in the queue
	news         []*follower        // those with messages in their logs, in turn
	rest         [][]byte           // what the socket did not take; written first
	writing      bool               // there is a writer
	full         bool               // the socket did not take all, and the writer has not caught up since
	began        time.Time          // when the write that may block began; zero: there is none
	took         time.Time          // when the writer last took something to be written
	drained      chan struct{}      // closed when the queue is empty; nil: nothing waits for it
	cancel       context.CancelFunc // of the command that the reading goroutine runs
	running      []*concurrentRun
	following    following
	values       map[any]any
	state        connState
	reason       CloseReason
	closedAt     int64 // when closing began
	remoteClosed bool  // the client has sent a close frame
}

type connState uint8

const (
	open    connState = iota
	closing           // a close frame is queued or sent; nothing is added
	ended             // the socket is closed
)

// CloseReason says why a connection ended.
type CloseReason struct {
	Code   CloseCode
	Text   string
	Remote bool // the client closed the connection
}

// ID returns an identifier that is unique in the handler.
func (c *Conn) ID() string { return strconv.FormatUint(c.id, 36) }

// Handler returns the handler of the connection.
func (c *Conn) Handler() *Handler { return c.h }

// RemoteAddr returns the address of the other end of the socket, as http.Request does.
func (c *Conn) RemoteAddr() string { return c.remote }

// Protocol returns the protocol that the client has chosen.
func (c *Conn) Protocol() Protocol { return c.v.protocol }

// Principal returns the principal of the client.
func (c *Conn) Principal() Principal { return *c.principal.Load() }

// SetPrincipal changes the principal of the client. It unsubscribes the client from
// channels that the new principal may not follow, and sends a status for each.
func (c *Conn) SetPrincipal(ctx context.Context, p Principal) {
	c.principal.Store(&p)
	for _, name := range c.Channels() {
		f := c.follower(name)
		switch {
		case f == nil:
		case c.allowed(ctx, OpSubscribe, name):
			f.ch.renamePresence(ctx, f)
		case c.leave(f):
			c.status(map[string]any{"status": "unsubscribed", "channel": name}, nil)
		}
	}
}

// Value returns the value that SetValue has set for key, or nil.
func (c *Conn) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

// SetValue stores a value of the host with the connection. Nil removes it.
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

// Channels returns the channels that the client follows, sorted.
func (c *Conn) Channels() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.following.names()
}

// Send sends data to the client unchanged, as one message: a text message, or a binary
// one if data is not UTF-8. It does not block: a client whose queue is full is closed
// with 4008.
func (c *Conn) Send(data []byte) {
	c.push(entry{data: compile(c.v, &Frame{Kind: KindBroadcast, Content: data})})
}

// Reply sends a value that answers a request. It blocks while half of the client's queue
// is taken. content is marshalled to JSON; a json.RawMessage is sent unchanged.
func (c *Conn) Reply(r Request, source string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	err = c.answer(&Frame{Kind: KindValue, Source: source, Content: raw, Ref: r.Ref, Time: time.Now()})
	if r.concurrent {
		c.flush() // those of other commands are written when the command is done
	}
	return err
}

// ReplyMessage sends m as a value that answers a request, as Reply does, unless a filter
// of the connection withholds it.
func (c *Conn) ReplyMessage(r Request, m *Message) (sent bool, err error) {
	m.kind, m.ref = KindValue, r.Ref
	m = c.filter(m)
	if m == nil {
		return false, nil
	}
	return true, c.reply(m.compiled(c.v))
}

// status sends a status of the connection.
func (c *Conn) status(content map[string]any, ref json.RawMessage) {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // the content is strings and numbers
	}
	c.push(entry{data: c.compiledStatus(raw, ref), kept: true})
}

func (c *Conn) compiledStatus(content, ref json.RawMessage) []byte {
	return compile(c.v, &Frame{Kind: KindStatus, Content: content, Ref: ref, Time: time.Now()})
}

func (c *Conn) answer(f *Frame) error { return c.reply(compile(c.v, f)) }

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == open
}

// log returns a logger whose lines name the connection.
func (c *Conn) log() *slog.Logger {
	return c.h.log.With("conn", c.ID(), "remote", c.remote, "principal", c.Principal().Name)
}

// guard runs code of the host. A panic closes the connection.
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
