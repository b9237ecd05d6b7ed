package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// While one server of a cluster is stopped, the workers whose keys others have keep their
// leases, and a worker whose keys it has says once that it is unreachable.
func TestWorkersOfAClusterWithAServerThatIsStopped(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	admin := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Nodes[0].Addr(), cluster.Nodes[1].Addr()}})
	t.Cleanup(func() { _ = admin.Close() })
	// A stopped server is to hang: it must not be voted out, and the cluster goes on.
	for _, n := range cluster.Nodes {
		node := redis.NewClient(&redis.Options{Addr: n.Addr()})
		require.NoError(t, node.ConfigSet(t.Context(), "cluster-node-timeout", "120000").Err())
		require.NoError(t, node.Close())
	}
	stopped := cluster.Nodes[2]
	on := func(typ, site string) string {
		node, err := admin.MasterForKey(t.Context(), fmt.Sprintf("bus:{%s:%s}:alive", site, typ))
		require.NoError(t, err)
		return node.Options().Addr
	}
	site := "local"
	var there, elsewhere string
	for i := 0; there == "" || elsewhere == ""; i++ {
		if typ := fmt.Sprint("calc", i); on(typ, site) == stopped.Addr() {
			there = typ
		} else {
			elsewhere = typ
		}
	}
	var log lines
	cfg := cluster.Config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w := start(t, storagetest.Open(t, cfg), bus.WorkerConfig{Type: elsewhere, Lease: 3 * time.Second})
	affected := start(t, storagetest.Open(t, cfg), bus.WorkerConfig{Type: there, Drain: -1})

	stopped.Pause()
	info := fmt.Sprintf("bus:{%s:%s}:info:%s", site, elsewhere, w.ID())
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		require.EqualValues(t, 1, admin.Exists(context.Background(), info).Val(), "the lease has ended")
	}
	said := `msg="bus: Redis unreachable, trying again" worker=`
	require.Equal(t, 1, log.count(said+affected.ID()))
	require.Zero(t, log.count(`msg="bus: Redis reachable again" worker=`+affected.ID()))
	stopped.Resume()
	require.Eventually(t, func() bool {
		return log.count(`msg="bus: Redis reachable again" worker=`+affected.ID()) == 1
	}, patience, 10*time.Millisecond)
}

// typeElsewhere returns a type whose keys another server of a cluster has than that of
// the client's inbox, and that server.
func typeElsewhere(t *testing.T, cluster *storagetest.Cluster) (typ string, c *bus.Client, server *redis.Client) {
	pool := storagetest.Open(t, cluster.Config())
	c = client(t, pool, bus.ClientConfig{})
	_, err := bus.Call(t.Context(), c, bus.Group("none"), Add, AddArgs{})
	require.ErrorIs(t, err, bus.ErrNoWorkers)
	admin := pool.Redis().(*redis.ClusterClient)
	var mu sync.Mutex
	inbox := ""
	require.NoError(t, admin.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		keys, err := node.Keys(ctx, "bus:{local:inbox:*").Result()
		if len(keys) > 0 {
			inbox = node.Options().Addr
		}
		return err
	}))
	for i := 0; ; i++ {
		typ = fmt.Sprint("calc", i)
		node, err := admin.MasterForKey(t.Context(), "bus:{local:"+typ+"}:alive")
		require.NoError(t, err)
		if node.Options().Addr != inbox {
			return typ, c, node
		}
	}
}

// A server of a cluster loses its data, while that of the client's inbox goes on. Until
// the workers had time to register again, calls to them wait, and an audience is not known.
func TestARegistryThatIsLostIsNotEmpty(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	typ, c, server := typeElsewhere(t, storagetest.StartCluster(t))
	g := newGate()
	start(t, c.Pool(), bus.WorkerConfig{Type: typ, Lease: 6 * time.Second}, func(w *bus.Worker) {
		bus.Handle(w, Hang, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
	})
	held := make(chan error, 1)
	go func() {
		_, err := bus.Call(context.Background(), c, bus.Group(typ), Hang, struct{}{})
		held <- err
	}()
	<-g.entered
	mark := "bus:{local:" + typ + "}:mark:*"
	for range 3 {
		require.Eventually(t, func() bool {
			_, err := bus.Call(t.Context(), c, bus.Group(typ), Add, AddArgs{1, 2})
			return err == nil && len(server.Keys(t.Context(), mark).Val()) == 1
		}, patience, 10*time.Millisecond)
		require.NoError(t, server.FlushAll(t.Context()).Err())
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			_, err := bus.Call(t.Context(), c, bus.Group(typ), Add, AddArgs{1, 2})
			require.NoError(t, err)
			n := 0
			for _, err := range bus.Gather(t.Context(), c, bus.Broadcast(typ), bus.Ping, struct{}{}) {
				require.NoError(t, err)
				n++
			}
			require.Equal(t, 1, n)
		}
	}
	close(g.open)
	require.NoError(t, <-held)
}

// What decides is not read from replicas, which may lag behind, even if the pool's other
// reads are.
func TestReplicasAreNotAskedWhoLives(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	cluster := storagetest.StartCluster(t, storagetest.ClusterOptions{Replicas: true})
	cfg := cluster.Config()
	cfg.Redis.ReadOnly = true
	pool := storagetest.Open(t, cfg)
	start(t, pool, bus.WorkerConfig{})
	c := client(t, pool, bus.ClientConfig{})
	for range 20 {
		workers, err := c.Workers(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, workers, 1)
		_, err = c.Queued(t.Context(), bus.Group("calc"))
		require.NoError(t, err)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
		require.NoError(t, err)
	}
	for _, n := range cluster.Nodes {
		node := redis.NewClient(&redis.Options{Addr: n.Addr()})
		info := node.Info(t.Context(), "replication", "commandstats").Val()
		require.NoError(t, node.Close())
		if strings.Contains(info, "role:slave") {
			for _, read := range []string{"zrange", "mget", "llen", "zcount", "exists"} {
				require.NotContains(t, info, "cmdstat_"+read+":", n.Addr())
			}
		}
	}
}
