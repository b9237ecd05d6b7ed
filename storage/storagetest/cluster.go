package storagetest

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// Cluster is a Redis Cluster of three primaries without replicas.
type Cluster struct {
	Nodes []*Server
}

// slots is how many a cluster has.
const slots = 16384

// StartCluster runs three servers, each with a third of the slots, and returns
// when all agree that the cluster is whole.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	const nodes = 3
	c := &Cluster{}
	for range nodes {
		c.Nodes = append(c.Nodes, Start(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
	}
	ctx := context.Background()
	for i, n := range c.Nodes {
		rdb := redis.NewClient(&redis.Options{Addr: n.addr})
		host, port, _ := net.SplitHostPort(c.Nodes[0].addr)
		err := rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err()
		if err == nil {
			err = rdb.ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err()
		}
		if err == nil && i > 0 {
			err = rdb.ClusterMeet(ctx, host, port).Err()
		}
		_ = rdb.Close()
		if err != nil {
			tb.Fatal(err)
		}
	}
	for _, n := range c.Nodes {
		n.await("the cluster is whole", func(ctx context.Context, rdb *redis.Client) bool {
			info, err := rdb.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
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
