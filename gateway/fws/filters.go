package fws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/heliograph/heliograph/gateway"
)

// BroadcastMessages sends every message of a client to all other clients of the
// handler in this process.
func BroadcastMessages() gateway.Hooks {
	return gateway.Hooks{Message: func(_ context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
		others := slices.DeleteFunc(c.Handler().Conns(), func(to *gateway.Conn) bool { return to == c })
		gateway.Broadcast(data, others...)
		return data, nil
	}}
}

// BroadcastPublications makes every client follow the channels, from the moment it
// connects.
func BroadcastPublications(channels ...string) gateway.Hooks {
	return gateway.Hooks{Connect: func(ctx context.Context, c *gateway.Conn, _ *http.Request) error {
		for _, channel := range channels {
			if err := c.Subscribe(ctx, channel); err != nil {
				return err
			}
		}
		return nil
	}}
}

// PrintRaw writes a line to w for each WebSocket frame of a client.
func PrintRaw(w io.Writer) gateway.Hooks {
	p := &printer{w: w}
	return gateway.Hooks{Raw: func(c *gateway.Conn, data []byte) ([]byte, error) {
		p.print("raw", c.ID(), data)
		return data, nil
	}}
}

// PrintMessages writes a line to w for each message of a client.
func PrintMessages(w io.Writer) gateway.Hooks {
	p := &printer{w: w}
	return gateway.Hooks{Message: func(_ context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
		p.print("message", c.ID(), data)
		return data, nil
	}}
}

// PrintPublications writes a line to w for each message of a followed channel.
func PrintPublications(w io.Writer) gateway.Hooks {
	p := &printer{w: w}
	return gateway.Hooks{Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message {
		p.print("publication", m.Source, m.Content)
		return m
	}}
}

// printer writes whole lines.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) print(what, from string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%s %s: %q\n", what, from, data)
}
