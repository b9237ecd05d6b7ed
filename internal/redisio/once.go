package redisio

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// OnceCmd is a command that go-redis writes at most once, also on a cluster, where
// MaxRetries has no effect.
type OnceCmd struct{ *redis.Cmd }

// Once returns the command with these arguments, for the Process method of a
// client.
func Once(ctx context.Context, args ...any) OnceCmd {
	return OnceCmd{redis.NewCmd(ctx, args...)}
}

// NoRetry tells go-redis not to write the command again.
func (OnceCmd) NoRetry() bool { return true }
