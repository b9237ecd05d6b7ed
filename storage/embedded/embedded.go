// Package embedded runs a Redis inside the process, for examples, development
// and tests on machines that have none.
//
//	pool, err := embedded.Open(storage.Config{Prefix: "obs"})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//
// It is https://github.com/alicebob/miniredis with a running clock, on a port of
// the loopback interface, so that other processes can connect to it. It keeps
// everything in memory until it is stopped. It has no BLMPOP, CONFIG, keyspace
// notifications, sharded pub/sub, functions, client-side caching or ACLs. Where
// heliograph uses these, it works without them or returns an error that says so.
package embedded

import (
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Open starts a server and returns a pool on it, configured by cfg, whose Close ends both.
// Cfg must not name a Redis.
func Open(cfg storage.Config) (*storage.Pool, error) {
	if cfg.URL != "" || len(cfg.Redis.Addrs) > 0 {
		return nil, errors.New("embedded: Config.URL, Redis.Addrs: they name another Redis")
	}
	own, stop, err := Start()
	if err != nil {
		return nil, err
	}
	cfg.Redis.Addrs = own.Redis.Addrs
	pool, err := storage.Open(cfg)
	if err != nil {
		stop()
		return nil, err
	}
	_, err = redisio.Of(pool).Own(func() error { stop(); return nil }) // owned first, closed last
	return pool, err
}

// Start runs a server on a free port and returns the configuration for a pool on it. Stop
// ends the server and its connections. It may be called more than once.
func Start() (cfg storage.Config, stop func(), err error) { return StartAt("127.0.0.1:0") }

// StartAt is Start at an address that other processes know, such as "127.0.0.1:6379". The
// server has no password: every client that reaches it may run every command.
func StartAt(addr string) (cfg storage.Config, stop func(), err error) {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	if err := server.StartAddr(addr); err != nil {
		return storage.Config{}, nil, fmt.Errorf("embedded: %w", err)
	}
	return storage.Config{Redis: redis.UniversalOptions{Addrs: []string{server.Addr()}}}, server.Close, nil
}
