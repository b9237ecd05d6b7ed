package redisio_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type provider struct{ fail func() error }

func (p provider) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	return auth.NewBasicCredentials("", ""), func() error { return nil }, p.fail()
}

// A write whose connection fails before its handshake is done was not sent: it is tried
// again, and carried out once.
func TestWritesOfFailedHandshakesAreTriedAgain(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(opts *redis.UniversalOptions, broken func() bool){
		"a proxy before a dead Redis": func(opts *redis.UniversalOptions, broken func() bool) {
			dial(opts, broken, func(server net.Conn) { _ = server.Close() })
		},
		"a proxy that ends after the question": func(opts *redis.UniversalOptions, broken func() bool) {
			dial(opts, broken, func(server net.Conn) {
				_, _ = server.Read(make([]byte, 1024))
				_ = server.Close()
			})
		},
		"a Redis that is stopped": func(opts *redis.UniversalOptions, broken func() bool) {
			dial(opts, broken, func(server net.Conn) { _, _ = io.Copy(io.Discard, server) })
		},
		"a Redis that ends after HELLO": func(opts *redis.UniversalOptions, broken func() bool) {
			dial(opts, broken, func(server net.Conn) {
				_, _ = server.Read(make([]byte, 1024))
				_, _ = server.Write([]byte("-ERR unknown command\r\n"))
				_, _ = server.Read(make([]byte, 1024))
				_ = server.Close()
			})
		},
		"a database that can't be selected": func(opts *redis.UniversalOptions, broken func() bool) {
			opts.DB = 3
			dial(opts, broken, func(server net.Conn) {
				_, _ = server.Read(make([]byte, 1024))
				_, _ = server.Write([]byte("-ERR unknown command\r\n"))
				_, _ = server.Read(make([]byte, 1024))
				_ = server.Close()
			})
		},
		"OnConnect": func(opts *redis.UniversalOptions, broken func() bool) {
			opts.OnConnect = func(context.Context, *redis.Conn) error { return fails(broken) }
		},
		"CredentialsProviderContext": func(opts *redis.UniversalOptions, broken func() bool) {
			opts.CredentialsProviderContext = func(context.Context) (string, string, error) { return "", "", fails(broken) }
		},
		"StreamingCredentialsProvider": func(opts *redis.UniversalOptions, broken func() bool) {
			opts.StreamingCredentialsProvider = provider{func() error { return fails(broken) }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := storagetest.NewNetwork(t).Config()
				var tries atomic.Int64
				spoil(&cfg.Redis, func() bool { return tries.Add(1) <= 5 })
				pool := storagetest.Open(t, cfg)
				ended := make(outcomes, 1)
				redisio.Of(pool).Writer().Push(t.Context(), "list", []byte("x"), ended.done)
				require.Equal(t, outcome{1, nil}, <-ended)

				tries.Store(0)
				client := redisio.Of(pool).Dedicated()
				defer client.Close()
				err := client.RPush(t.Context(), "list", "y").Err()
				require.Error(t, err)
				require.Equal(t, redisio.Unsent, redisio.FateOf(err), "%v", err)
			})
		})
	}
}

var errBroken = errors.New("broken")

func fails(broken func() bool) error {
	if broken() {
		return errBroken
	}
	return nil
}

// dial makes connections to serve in place of the network while it is broken.
func dial(opts *redis.UniversalOptions, broken func() bool, serve func(net.Conn)) {
	connect := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !broken() {
			return connect(ctx, network, addr)
		}
		client, server := net.Pipe()
		go serve(server)
		return client, nil
	}
}

// A refused password is an answer, which no further try changes.
func TestWritesOfRefusedHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := storagetest.NewNetwork(t).Config()
		cfg.Redis.Password = "wrong"
		dial(&cfg.Redis, func() bool { return true }, func(server net.Conn) {
			for _, answer := range []string{"-WRONGPASS invalid\r\n", "-WRONGPASS invalid\r\n"} {
				_, _ = server.Read(make([]byte, 1024))
				_, _ = server.Write([]byte(answer))
			}
			_ = server.Close()
		})
		ended := make(outcomes, 1)
		redisio.Of(storagetest.Open(t, cfg)).Writer().Push(t.Context(), "list", []byte("x"), ended.done)
		var reply redis.Error
		require.ErrorAs(t, (<-ended).err, &reply)
	})
}
