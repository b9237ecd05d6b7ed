package storagetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// Sentinel is a primary with two replicas, watched by three sentinels, any two
// of which may declare it dead after half a second.
type Sentinel struct {
	Servers   []*Server // the primary first
	Sentinels []*Server
}

const masterName = "primary"

// StartSentinel runs the six processes and returns when the sentinels know the
// replicas and each other.
func StartSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	s := &Sentinel{Servers: []*Server{Start(tb)}}
	host, port, _ := net.SplitHostPort(s.Servers[0].addr)
	for range 2 {
		s.Servers = append(s.Servers, Start(tb, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0"))
	}
	for _, n := range s.Servers[1:] {
		n.await("it follows the primary", func(ctx context.Context, c *redis.Client) bool {
			info, err := c.Info(ctx, "replication").Result()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	for range 3 {
		n := newServer(tb)
		_, own, _ := net.SplitHostPort(n.addr)
		conf := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nloglevel warning\n", own, n.dir) +
			fmt.Sprintf("sentinel monitor %s %s %s 2\n", masterName, host, port) +
			fmt.Sprintf("sentinel down-after-milliseconds %s 500\n", masterName) +
			fmt.Sprintf("sentinel failover-timeout %s 3000\n", masterName)
		// A sentinel rewrites its configuration file.
		if err := os.WriteFile(n.File("sentinel.conf"), []byte(conf), 0o600); err != nil {
			tb.Fatal(err)
		}
		n.args = []string{n.File("sentinel.conf"), "--sentinel"}
		n.start()
		s.Sentinels = append(s.Sentinels, n)
	}
	for _, n := range s.Sentinels {
		n.await("it knows the others", func(ctx context.Context, c *redis.Client) bool {
			sentinel := redis.NewSentinelClient(c.Options())
			defer sentinel.Close()
			state, err := sentinel.Master(ctx, masterName).Result()
			return err == nil && state["num-slaves"] == "2" && state["num-other-sentinels"] == "2" && state["flags"] == "master"
		})
	}
	return s
}

// Config returns the configuration of a pool that asks the sentinels.
func (s *Sentinel) Config() storage.Config {
	var addrs []string
	for _, n := range s.Sentinels {
		addrs = append(addrs, n.addr)
	}
	return storage.Config{Redis: redis.UniversalOptions{Addrs: addrs, MasterName: masterName}}
}

// Primary returns the server that the sentinels take for the primary.
func (s *Sentinel) Primary() *Server {
	n := s.Sentinels[0]
	n.tb.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: n.addr})
	defer c.Close()
	at, err := c.GetMasterAddrByName(context.Background(), masterName).Result()
	if err != nil {
		n.tb.Fatal(err)
	}
	for _, server := range s.Servers {
		if server.addr == net.JoinHostPort(at[0], at[1]) {
			return server
		}
	}
	n.tb.Fatalf("the sentinels name an unknown primary %v", at)
	return nil
}

// Failover makes the sentinels promote a replica while the primary is well, as an
// operator does before maintenance. It returns at once; see [Sentinel.Primary].
func (s *Sentinel) Failover() {
	n := s.Sentinels[0]
	n.tb.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: n.addr})
	defer c.Close()
	if err := c.Failover(context.Background(), masterName).Err(); err != nil {
		n.tb.Fatal(err)
	}
}
