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
// the loopback interface, so that other processes can join in. It keeps
// everything in memory and loses it with stop. It has no BLMPOP, CONFIG,
// keyspace notifications, sharded pub/sub, functions, client-side caching or
// ACLs; what heliograph builds on those does without them there, and says so
// where that shows.
package embedded

import (
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Open returns a pool, configured by cfg, on a server of its own that ends with it.
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

// Start runs a server of its own on a free port and returns the configuration of
// a pool on it. Stop ends the server and its connections; more than once is no
// harm.
func Start() (cfg storage.Config, stop func(), err error) { return StartAt("127.0.0.1:0") }

// StartAt is Start at an address, such as "127.0.0.1:6379", for other processes
// to know beforehand. Whoever reaches it may do everything.
func StartAt(addr string) (cfg storage.Config, stop func(), err error) {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	if err := server.StartAddr(addr); err != nil {
		return storage.Config{}, nil, fmt.Errorf("embedded: %w", err)
	}
	return storage.Config{Redis: redis.UniversalOptions{Addrs: []string{server.Addr()}}}, server.Close, nil
}
