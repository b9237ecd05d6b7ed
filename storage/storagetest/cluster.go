package storagetest

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// Cluster is a Redis Cluster of three primaries.
type Cluster struct {
	Nodes []*Server // the three primaries, then their replicas, if there are any
}

// ClusterOptions are the options of [StartCluster].
type ClusterOptions struct {
	// Replicas gives each primary a replica, which takes its place about three
	// seconds after it is gone. Without one, its slots are gone with it. Defaults to
	// false.
	Replicas bool
}

const (
	slots     = 16384 // how many a cluster has
	primaries = 3     // how many servers have slots
)

// StartCluster runs three servers, each with a third of the slots, and their replicas,
// if opts asks for them. It returns when all agree that the cluster is whole.
func StartCluster(tb testing.TB, opts ...ClusterOptions) *Cluster {
	tb.Helper()
	nodes := primaries
	if len(opts) > 0 && opts[0].Replicas {
		nodes *= 2
	}
	c := &Cluster{}
	for range nodes {
		c.Nodes = append(c.Nodes, Start(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--repl-diskless-sync-delay", "0"))
	}
	var ids []string
	for i, n := range c.Nodes {
		host, port, _ := net.SplitHostPort(c.Nodes[0].addr)
		n.do(func(ctx context.Context, rdb *redis.Client) error {
			id, err := rdb.Do(ctx, "cluster", "myid").Text()
			ids = append(ids, id)
			if err == nil {
				err = rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err()
			}
			if err == nil && i < primaries {
				err = rdb.ClusterAddSlotsRange(ctx, i*slots/primaries, (i+1)*slots/primaries-1).Err()
			}
			if err == nil && i > 0 {
				err = rdb.ClusterMeet(ctx, host, port).Err()
			}
			return err
		})
	}
	for i, n := range c.Nodes[primaries:] {
		n.await("it follows its primary", func(ctx context.Context, rdb *redis.Client) bool {
			_ = rdb.ClusterReplicate(ctx, ids[i]).Err() // refused until it knows the primary
			info, err := rdb.Info(ctx, "replication").Result()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	for _, n := range c.Nodes {
		n.await("the cluster is whole", func(ctx context.Context, rdb *redis.Client) bool {
			info, err := rdb.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") {
				return false
			}
			ranges, err := slotsOf(ctx, rdb)
			known := 0
			for _, r := range ranges {
				known += len(r.Nodes)
			}
			return err == nil && len(ranges) == primaries && known == nodes
		})
	}
	return c
}

// Config returns the configuration of a pool on the cluster.
func (c *Cluster) Config() storage.Config {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.addr)
	}
	return storage.Config{Redis: redis.UniversalOptions{Addrs: addrs, IsClusterMode: true}}
}

// Primary returns the server that the others take for the primary of a key's slot.
func (c *Cluster) Primary(key string) *Server {
	c.Nodes[0].tb.Helper()
	for _, n := range slices.Backward(c.Nodes) { // tests stop the first
		if addr := n.primary(key); addr != "" {
			for _, server := range c.Nodes {
				if server.addr == addr {
					return server
				}
			}
		}
	}
	c.Nodes[0].tb.Fatalf("no server names the primary of %q", key)
	return nil
}

// primary returns the address of the primary of a key's slot, as the server has it, and
// nothing if it does not answer soon.
func (s *Server) primary(key string) string {
	rdb := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	slot, err := rdb.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return ""
	}
	ranges, _ := slotsOf(ctx, rdb)
	for _, r := range ranges {
		if int64(r.Start) <= slot && slot <= int64(r.End) && len(r.Nodes) > 0 {
			return r.Nodes[0].Addr
		}
	}
	return ""
}

// slotsOf asks a server for the slots. CLUSTER SHARDS is not in Redis 6.
func slotsOf(ctx context.Context, c redis.ClusterCmdable) ([]redis.ClusterSlot, error) {
	return c.ClusterSlots(ctx).Result()
}
