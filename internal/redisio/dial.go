package redisio

import (
	"context"
	"net"

	"github.com/redis/go-redis/v9"
)

// dialError marks a command that was not written, since there was no connection.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// MarkDials makes [FateOf] know the failed dials of a client, those of Sentinel
// lookups and TLS handshakes too, as [Unsent].
func MarkDials(client redis.UniversalClient) {
	if c, ok := client.(*redis.ClusterClient); ok {
		c.OnNewNode(func(node *redis.Client) { node.AddHook(dialMarker{}) })
		return
	}
	client.AddHook(dialMarker{})
}

type dialMarker struct{}

func (dialMarker) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			err = dialError{err}
		}
		return conn, err
	}
}

func (dialMarker) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (dialMarker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
