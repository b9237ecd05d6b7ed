package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Hooks are what a host does when something happens. Each may be nil. They are
// called in the order of Config.Hooks, by many goroutines; a panic ends the
// connection that it was about.
type Hooks struct {
	// Connect is told of a new connection before anything is read from it. An error
	// ends it with close code 1008, or with 1013 if it says that Redis is away; r must
	// not be kept.
	Connect func(ctx context.Context, c *Conn, r *http.Request) error

	// Raw sees the payload of each frame of a message as it comes, unmasked, before
	// frames are joined, inflated and checked. What it returns goes on; nil is
	// nothing, and a message of nothing else never was; an error ends the connection
	// with 1008.
	Raw func(c *Conn, data []byte) ([]byte, error)

	// Message sees each message before it is read as a command, in the same way, but
	// none that Limits.Commands refuses.
	Message func(c *Conn, data []byte) ([]byte, error)

	// Publication sees what was published on a channel that somebody here follows,
	// once for all of them. What it returns goes on; nil is nothing. A panic takes
	// the message away.
	Publication func(m *Message) *Message

	// Disconnect is told when a connection has ended.
	Disconnect func(c *Conn, reason CloseReason)
}

// hooked takes data through the hooks of one kind.
func (c *Conn) hooked(what string, data []byte, hook func(*Hooks) func(*Conn, []byte) ([]byte, error)) (out []byte, ok bool) {
	for i := range c.h.cfg.Hooks {
		run := hook(&c.h.cfg.Hooks[i])
		if run == nil {
			continue
		}
		var err error
		if !c.guard("hook "+what, func() { data, err = run(c, data) }) {
			return nil, false
		}
		if err != nil {
			c.log().Info("gateway: a hook refuses", "hook", what, "error", err)
			c.Close(CloseRefused, "refused")
			return nil, false
		}
		if data == nil {
			return nil, true
		}
	}
	return data, true
}

// published takes a message through the hooks; nil: one has taken it.
func (h *Handler) published(m *Message) *Message {
	for i := range h.cfg.Hooks {
		if run := h.cfg.Hooks[i].Publication; run != nil && m != nil {
			h.guard("hook publication", func() {
				in := m
				m = nil
				m = run(in)
			})
		}
	}
	return m
}

// BroadcastMessages sends every message of a client to all other clients of this
// process. More than Limits.Commands allow go nowhere.
func BroadcastMessages() Hooks {
	return Hooks{Message: func(c *Conn, data []byte) ([]byte, error) {
		broadcast(slices.DeleteFunc(c.h.all(), func(to *Conn) bool { return to == c }), data)
		return data, nil
	}}
}

// BroadcastPublications has every client follow channels, without asking.
func BroadcastPublications(channels ...string) Hooks {
	return Hooks{Connect: func(ctx context.Context, c *Conn, _ *http.Request) error {
		for _, channel := range channels {
			if err := c.Subscribe(ctx, channel); err != nil {
				return err
			}
		}
		return nil
	}}
}

// PrintRaw writes a line to w for each frame that comes in.
func PrintRaw(w io.Writer) Hooks {
	p := &printer{w: w}
	return Hooks{Raw: func(c *Conn, data []byte) ([]byte, error) {
		p.print("raw", c.ID(), data)
		return data, nil
	}}
}

// PrintMessages writes a line to w for each message of a client.
func PrintMessages(w io.Writer) Hooks {
	p := &printer{w: w}
	return Hooks{Message: func(c *Conn, data []byte) ([]byte, error) {
		p.print("message", c.ID(), data)
		return data, nil
	}}
}

// PrintPublications writes a line to w for each message of a channel that somebody
// follows.
func PrintPublications(w io.Writer) Hooks {
	p := &printer{w: w}
	return Hooks{Publication: func(m *Message) *Message {
		p.print("publication", m.Source, m.Content)
		return m
	}}
}

// printer writes whole lines.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) print(what, who string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%s %s: %q\n", what, who, data)
}
