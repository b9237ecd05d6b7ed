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
