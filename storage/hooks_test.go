package storage_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// commandNames is a hook that notes the names of commands.
type commandNames struct {
	mu    sync.Mutex
	names map[string]int
}

func (h *commandNames) note(cmds ...redis.Cmder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cmd := range cmds {
		h.names[cmd.Name()]++
	}
}

func (h *commandNames) count(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names[name]
}

func (h *commandNames) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *commandNames) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.note(cmd)
		return next(ctx, cmd)
	}
}

func (h *commandNames) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.note(cmds...)
		return next(ctx, cmds)
	}
}

// The hooks of a configuration see the commands of every client that a pool makes, and of
// the host's client only if the host adds them.
func TestHooksSeeTheCommandsOfAPool(t *testing.T) {
	t.Parallel()
	srv := storagetest.New(t)
	host := redis.NewClient(srv.Redis().(*redis.Client).Options())
	t.Cleanup(func() { _ = host.Close() })
	for name, open := range map[string]func(storage.Config) (*storage.Pool, error){
		"Open": func(cfg storage.Config) (*storage.Pool, error) {
			cfg.Redis.Addrs = []string{host.Options().Addr}
			return storage.Open(cfg)
		},
		"New": func(cfg storage.Config) (*storage.Pool, error) { return storage.New(host, cfg) },
	} {
		seen := &commandNames{names: make(map[string]int)}
		pool, err := open(storage.Config{Hooks: []redis.Hook{seen}})
		require.NoError(t, err, name)
		written := make(chan error, 1)
		redisio.Of(pool).Writer().Push(t.Context(), "l", []byte("x"), func(_ int64, err error) { written <- err })
		require.NoError(t, <-written)
		require.Equal(t, 1, seen.count("rpush"), name)
		set, err := storage.NewSet[string](pool, "s")
		require.NoError(t, err)
		_, err = set.Add(t.Context(), "k", "m")
		require.NoError(t, err)
		require.NotZero(t, seen.count("sadd"), name)
		require.ErrorIs(t, pool.Redis().Get(t.Context(), "absent").Err(), redis.Nil)
		require.Equal(t, map[string]int{"Open": 1, "New": 0}[name], seen.count("get"), name)
		require.NoError(t, pool.Close())
	}
	_, err := storage.Open(storage.Config{Hooks: []redis.Hook{nil}})
	require.ErrorContains(t, err, "Config.Hooks[0] is nil")
}
