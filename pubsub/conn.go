package pubsub

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// conn is one connection: go-redis dials it, makes the handshake and writes, and this
// package reads.
type conn struct {
	*redis.PubSub
	net net.Conn
}

// Close closes the network's side first: go-redis waits for a lock that a write
// may hold for its timeout.
func (c *conn) Close() error {
	if c.net != nil {
		_ = c.net.Close()
	}
	return c.PubSub.Close()
}

// dialing, in a context, is the conn that is being dialed.
type dialing struct{}

var errOnce = errors.New("the connection is lost")

// dialOnce makes a client dial for a conn, and only once. A PubSub of go-redis makes a
// new connection and subscribes everything again whenever a write fails. It would then
// be unknown which messages were lost, and which answer belongs to which command.
func dialOnce(client redis.UniversalClient) {
	if c, ok := client.(*redis.ClusterClient); ok {
		c.OnNewNode(func(node *redis.Client) { node.AddHook(onceHook{}) })
		return
	}
	client.AddHook(onceHook{})
}

// guarded is a context under which nothing is dialed.
func guarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, dialing{}, &conn{net: noConn{}})
}

type noConn struct{ net.Conn }

type onceHook struct{}

func (onceHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, ok := ctx.Value(dialing{}).(*conn)
		if ok && c.net != nil {
			return nil, errOnce
		}
		nc, err := next(ctx, network, addr)
		if ok && err == nil {
			c.net = nc
		}
		return nc, err
	}
}

func (onceHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (onceHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
