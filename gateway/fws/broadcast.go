package fws

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"regexp"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
)

// Hooks returns the hooks for [gateway.Config].Hooks, of one handler or of several.
// Each message of a member goes to the other members of its group, the one that it has
// joined last, unless
// GroupsConfig.HostOnly is set. With GroupsConfig.Tokens a client that joins is told
// so, and a client that sends without being in a group gets an error, both in the
// words of filtered_websocket. With [gateway.Plain] nothing else happens to a
// message; another protocol goes on to read it as a command. A connection that ends
// leaves its groups.
func (g *Groups) Hooks() gateway.Hooks {
	hooks := gateway.Hooks{
		Disconnect: func(ctx context.Context, c *gateway.Conn, _ gateway.CloseReason) {
			g.mu.Lock()
			c.SetValue(ended{g}, true)
			g.mu.Unlock()
			_ = g.Leave(ctx, c) // the lease takes care of what fails
		},
	}
	if !g.cfg.HostOnly {
		hooks.Message = func(ctx context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
			g.receive(ctx, c, data)
			return data, nil
		}
	}
	return hooks
}

// token is how a client names the group that it wants to join.
var token = regexp.MustCompile(`token:(\S*)`)

// receive handles a message of a client: it joins a group or is broadcast to one.
func (g *Groups) receive(ctx context.Context, c *gateway.Conn, data []byte) {
	g.mu.Lock()
	var from member
	in := len(g.members[c]) > 0
	if in {
		from = g.members[c][len(g.members[c])-1]
	}
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
	var err error
	if join != nil {
		err = g.Join(ctx, c, string(join[1]))
	} else {
		err = g.broadcast(ctx, from.group, from.id, data)
	}
	switch {
	case errors.Is(err, gateway.ErrClosed):
	case err != nil:
		c.Send([]byte("Error: " + g.explain(err)))
	case join != nil:
		c.Send(append([]byte("Successfully registered with broadcast group: "), join[1]...))
	}
}

// explain returns what a client is told of an error. The rest is logged.
func (g *Groups) explain(err error) string {
	if told, ok := errors.AsType[*gateway.Error](err); ok {
		return told.Text
	}
	g.warned.Warn(g.log, "fws: a client's message was not handled", "error", err)
	return "not available now; try again"
}

// Broadcast sends data to all members of a group, in all processes, as
// [gateway.Conn.Send] does. It returns when Redis has it.
func (g *Groups) Broadcast(ctx context.Context, group string, data []byte) error {
	if err := g.check(group); err != nil {
		return err
	}
	return g.broadcast(ctx, group, "", data)
}

// broadcast sends data to a group, but not to the member whose id is sender.
func (g *Groups) broadcast(ctx context.Context, group, sender string, data []byte) error {
	if g.ctx.Err() != nil {
		return gateway.ErrClosed
	}
	if g.cfg.Local {
		gateway.Broadcast(data, g.here(group, sender)...)
		return nil
	}
	head := url.QueryEscape(group) + "\n" + sender + "\n"
	_, err := pubsub.Publish(ctx, g.client, g.topic, append([]byte(head), data...))
	return err
}

// deliver hands what was broadcast to the members in this process.
func (g *Groups) deliver(_ context.Context, m pubsub.Message[[]byte]) error {
	if m.Err != nil {
		g.warned.Warn(g.log, "fws: broadcasts to groups may be missing", "error", m.Err)
		return nil
	}
	escaped, rest, _ := bytes.Cut(m.Value, []byte{'\n'})
	sender, data, ok := bytes.Cut(rest, []byte{'\n'})
	group, err := url.QueryUnescape(string(escaped))
	if !ok || err != nil {
		return errors.New("fws: a broadcast in an unknown format")
	}
	gateway.Broadcast(data, g.here(group, string(sender))...)
	return nil
}

// listen subscribes to broadcasts, at the first Join. The turn is held.
func (g *Groups) listen(ctx context.Context) error {
	if g.cfg.Local || g.listener != nil && g.listener.Err() == nil {
		return nil
	}
	listener, err := pubsub.Listen(ctx, g.client, g.topic, g.deliver, pubsub.SubscribeOptions{Overflow: pubsub.OverflowDropOldest})
	if err != nil {
		return err
	}
	g.listener = listener
	g.listening.Go(func() { g.relisten(listener) })
	return nil
}

// relisten waits for the end of a listener, such as by a right that was withdrawn,
// and listens again.
func (g *Groups) relisten(listener *pubsub.Listener) {
	select {
	case <-listener.Done():
	case <-g.ctx.Done():
		return
	}
	for try := 0; redisio.Sleep(g.ctx, redisio.Backoff(try)); try++ {
		err := g.listenAgain()
		if err == nil {
			return // to another goroutine like this one
		}
		if g.ctx.Err() == nil {
			g.warned.Warn(g.log, "fws: not subscribed to the broadcasts of groups, trying again", "error", err)
		}
	}
}

func (g *Groups) listenAgain() error {
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.Lease)
	defer cancel()
	return g.ready(ctx)
}
