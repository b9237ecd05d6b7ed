package redisio

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// dialError marks a command that was not written, since there was no connection, or
// none whose handshake was done.
type dialError struct{ error }

// Unwrap returns a list, so that [errors.Unwrap] does not find it: go-redis takes one
// layer off the errors of a handshake.
func (e dialError) Unwrap() []error { return []error{e.error} }

// MarkUnsent makes [FateOf] know the error of a dial, of a handshake or of anything else
// that comes before a write as [Unsent]. An error reply stays as it is: it says by itself
// whether to try again.
func MarkUnsent(err error) error {
	var reply redis.Error
	if err == nil || errors.As(err, &reply) {
		return err
	}
	return dialError{err}
}

// MarkDials makes [FateOf] know the failed dials of a client, those of Sentinel
// lookups and TLS handshakes too, and its failed handshakes, as [Unsent].
func MarkDials(client redis.UniversalClient) {
	if c, ok := client.(*redis.ClusterClient); ok {
		c.OnNewNode(func(node *redis.Client) { node.AddHook(dialMarker{}) })
		return
	}
	client.AddHook(dialMarker{})
}

// dialMarker is a hook of go-redis, which runs it for the commands of a handshake, too.
type dialMarker struct{}

func (dialMarker) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		return conn, MarkUnsent(err)
	}
}

func (dialMarker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil && isHandshake(cmd) {
			err = MarkUnsent(err)
			cmd.SetErr(err)
		}
		return err
	}
}

func (dialMarker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err != nil && isHandshake(cmds[0]) {
			err = MarkUnsent(err)
		}
		return err
	}
}

// isHandshake reports whether go-redis sends a command before a connection is used.
// This module sends none of them otherwise.
func isHandshake(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "readonly", "client":
		return true
	}
	return false
}

// MarkHandshakes marks the errors of the functions of a client's options that go-redis
// calls in a handshake, as [MarkDials] marks those of its commands.
func MarkHandshakes(
	connect *func(context.Context, *redis.Conn) error,
	provide *func(context.Context) (username, password string, err error),
	stream *auth.StreamingCredentialsProvider,
) {
	if do := *connect; do != nil {
		*connect = func(ctx context.Context, conn *redis.Conn) error { return MarkUnsent(do(ctx, conn)) }
	}
	if do := *provide; do != nil {
		*provide = func(ctx context.Context) (username, password string, err error) {
			username, password, err = do(ctx)
			return username, password, MarkUnsent(err)
		}
	}
	if *stream != nil {
		*stream = markedProvider{*stream}
	}
}

type markedProvider struct {
	auth.StreamingCredentialsProvider
}

func (p markedProvider) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	credentials, unsubscribe, err := p.StreamingCredentialsProvider.Subscribe(listener)
	return credentials, unsubscribe, MarkUnsent(err)
}
