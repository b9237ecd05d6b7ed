package gateway

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/heliograph/heliograph/pubsub"
)

// Hooks are for [Config].Hooks, of one handler or of many. Each message of a client
// who is in a group goes to the others of it, unless GroupsConfig.HostOnly is set.
// With GroupsConfig.Tokens a client without a group is told so, in the words of
// filtered_websocket, as is one who has joined. With [Plain] that is all; any other
// protocol goes on to read the message as a command. A connection that ends leaves.
func (g *Groups) Hooks() Hooks {
	hooks := Hooks{
		Disconnect: func(c *Conn, _ CloseReason) {
			ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Limits.Command)
			defer cancel()
			if err := g.Leave(ctx, c); err != nil && !errors.Is(err, ErrClosed) {
				c.h.warn("gateway: a group was not left yet", "error", err)
			}
		},
	}
	if !g.cfg.HostOnly {
		hooks.Message = func(c *Conn, data []byte) ([]byte, error) {
			g.message(c, data)
			return data, nil
		}
	}
	return hooks
}

// token is how a client says which group he wants to be in.
var token = regexp.MustCompile(`token:(\S*)`)

// message does what a message from a client is about.
func (g *Groups) message(c *Conn, data []byte) {
	g.mu.Lock()
	from, in := g.in[c]
	g.mu.Unlock()
	var join [][]byte
	if g.cfg.Tokens {
		join = token.FindSubmatch(data)
	}
	if join == nil && !in {
		if g.cfg.Tokens {
			c.Send([]byte("Error: No token has been set"))
		}
		return
	}
	ctx, cancel := context.WithTimeout(c.h.ctx, c.h.cfg.Limits.Command)
	defer cancel()
	var err error
	if join != nil {
		err = g.Join(ctx, c, string(join[1]))
	} else {
		err = g.broadcast(ctx, from.key, c.name(), data)
	}
	switch {
	case errors.Is(err, ErrClosed):
	case err != nil:
		c.Send([]byte("Error: " + c.explain(Request{Command: "token"}, err).Text))
	case join != nil:
		c.Send(append([]byte("Successfully registered with broadcast group: "), join[1]...))
	}
}

// broadcast sends data to a group, and to all but one of it if there is a sender.
func (g *Groups) broadcast(ctx context.Context, key, sender string, data []byte) error {
	if g.pool == nil {
		g.deliver(key, sender, data)
		return nil
	}
	message := make([]byte, 0, len(key)+len(sender)+2+len(data))
	message = append(append(message, key...), '\n')
	message = append(append(message, sender...), '\n')
	_, err := pubsub.Publish(ctx, g.client, g.topic, append(message, data...))
	return err
}

// listen hears what is broadcast, from the first who joins on.
func (g *Groups) listen(ctx context.Context) error {
	g.renewAlways()
	if g.pool == nil || g.listener != nil && g.listener.Err() == nil {
		return nil
	}
	listener, err := pubsub.Listen(ctx, g.client, g.topic, func(_ context.Context, m pubsub.Message[[]byte]) error {
		key, rest, _ := bytes.Cut(m.Value, []byte{'\n'})
		sender, data, ok := bytes.Cut(rest, []byte{'\n'})
		switch {
		case m.Err != nil:
			g.missed(m.Err)
		case ok:
			g.deliver(string(key), string(sender), data)
		}
		return nil
	}, pubsub.SubscribeOptions{Overflow: pubsub.OverflowDropOldest})
	if err == nil {
		g.listener = listener
	}
	return err
}

// missed logs that broadcasts did not come.
func (g *Groups) missed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.in { // any of them knows a handler
		c.h.warn("gateway: broadcasts to groups may be missing", "error", err)
		return
	}
}

// deliver sends data to the members of a group in this process.
func (g *Groups) deliver(key, sender string, data []byte) {
	conns := g.here(key)
	if sender != "" {
		conns = slices.DeleteFunc(conns, func(c *Conn) bool { return c.name() == sender })
	}
	broadcast(conns, data)
}
