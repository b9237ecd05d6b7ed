package gateway

import (
	"context"
	"net/http"
)

// Hooks are functions that are called when something happens. Each may be nil, but not
// all of them. They are called in the order of Config.Hooks, on the goroutine of the
// connection or channel that they are about. A panic ends that connection.
type Hooks struct {
	// Connect is called with a new connection before anything is read from it, and before
	// it is among Handler.Conns. An error closes it with 1008, or with 1013 if the error
	// says that Redis is unreachable. r must not be used after Connect returns; ctx ends
	// after Limits.Command.
	Connect func(ctx context.Context, c *Conn, r *http.Request) error

	// Raw is called with the unmasked payload of each frame of a message once all have
	// come, before they are joined, inflated and checked, unless Limits.Commands refuses
	// the message. The returned bytes replace the payload. Nil drops the frame; a message
	// whose frames are all dropped is ignored. An error closes the connection with 1008.
	// Where there is a command AUTH, its messages are kept from Raw and Message. The
	// commands of an event stream are not messages.
	Raw func(c *Conn, data []byte) ([]byte, error)

	// Message is called with each message before it is read as a command, unless
	// Limits.Commands refuses it. Its results mean the same as those of Raw. ctx ends
	// after Limits.Command, and with the handler.
	Message func(ctx context.Context, c *Conn, data []byte) ([]byte, error)

	// Publication is called with each message of a channel that a client follows or that
	// Config.Follow names, once for all its followers. h is the handler, whose Conns it
	// may send to. The returned message replaces it; nil drops it, as does a panic.
	Publication func(h *Handler, m *Message) *Message

	// Disconnect is called when a connection has ended. ctx ends after Limits.Command.
	Disconnect func(ctx context.Context, c *Conn, reason CloseReason)
}

// applyRawHooks takes the payload of a frame through the Raw hooks.
func (c *Conn) applyRawHooks(data []byte) (out []byte, ok bool) {
	return c.applyHooks("raw", data, func(h *Hooks) func([]byte) ([]byte, error) {
		if h.Raw == nil {
			return nil
		}
		return func(data []byte) ([]byte, error) { return h.Raw(c, data) }
	})
}

// hooked reports whether there is a hook of a kind.
func (h *Handler) hooked(kind func(*Hooks) bool) bool {
	for i := range h.cfg.Hooks {
		if kind(&h.cfg.Hooks[i]) {
			return true
		}
	}
	return false
}

// applyMessageHooks takes a message through the Message hooks.
func (c *Conn) applyMessageHooks(data []byte) (out []byte, ok bool) {
	ctx, cancel := context.WithTimeout(c.h.ctx, c.h.cfg.Limits.Command)
	defer cancel()
	return c.applyHooks("message", data, func(h *Hooks) func([]byte) ([]byte, error) {
		if h.Message == nil {
			return nil
		}
		return func(data []byte) ([]byte, error) { return h.Message(ctx, c, data) }
	})
}

// applyHooks takes data through the hooks that pick chooses. Not ok: one of them ended the
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
			c.h.warned.refused.Warn(c.log(), "gateway: a hook refused a connection", "hook", what, "error", err)
			c.Close(CloseRefused, "refused")
			return nil, false
		}
		if data == nil {
			return nil, true
		}
	}
	return data, true
}

// applyPublicationHooks takes a message through the Publication hooks. Nil: one of them
// dropped it.
func (h *Handler) applyPublicationHooks(m *Message) *Message {
	for i := range h.cfg.Hooks {
		if run := h.cfg.Hooks[i].Publication; run != nil && m != nil {
			h.guard("hook publication", func() {
				in := m
				m = nil
				m = run(h, in)
			})
		}
	}
	return m
}
