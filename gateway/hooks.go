package gateway

import (
	"context"
	"net/http"
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

	// Message is called with each message before it is read as a command, unless
	// Limits.Commands refuses it. Its results mean the same as those of Raw. ctx ends
	// after Limits.Command, and with the handler.
	Message func(ctx context.Context, c *Conn, data []byte) ([]byte, error)

	// Publication sees what was published on a channel that somebody here follows,
	// once for all of them. What it returns goes on; nil is nothing. A panic takes
	// the message away.
	Publication func(m *Message) *Message

	// Disconnect is called when a connection has ended. ctx ends after Limits.Command.
	Disconnect func(ctx context.Context, c *Conn, reason CloseReason)
}

// hookedRaw takes the payload of a frame through the Raw hooks.
func (c *Conn) applyRawHooks(data []byte) (out []byte, ok bool) {
	return c.applyHooks("raw", data, func(h *Hooks) func([]byte) ([]byte, error) {
		if h.Raw == nil {
			return nil
		}
		return func(data []byte) ([]byte, error) { return h.Raw(c, data) }
	})
}

// hookedMessage takes a message through the Message hooks.
func (c *Conn) applyMessageHooks(data []byte) (out []byte, ok bool) {
	if len(c.h.cfg.Hooks) == 0 {
		return data, true
	}
	ctx, cancel := context.WithTimeout(c.h.ctx, c.h.cfg.Limits.Command)
	defer cancel()
	return c.applyHooks("message", data, func(h *Hooks) func([]byte) ([]byte, error) {
		if h.Message == nil {
			return nil
		}
		return func(data []byte) ([]byte, error) { return h.Message(ctx, c, data) }
	})
}

// hooked takes data through the hooks that pick chooses. Not ok: one of them ended the
// connection. Nil: one of them dropped data.
func (c *Conn) applyHooks(what string, data []byte, pick func(*Hooks) func([]byte) ([]byte, error)) (out []byte, ok bool) {
	for i := range c.h.cfg.Hooks {
		run := pick(&c.h.cfg.Hooks[i])
		if run == nil {
			continue
		}
		var err error
		if !c.guard("hook "+what, func() { data, err = run(data) }) {
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
func (h *Handler) applyPublicationHooks(m *Message) *Message {
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
