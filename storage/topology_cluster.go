package storage

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// clusterLook finds the primaries of a cluster.
type clusterLook struct {
	client *redis.ClusterClient

	tasks sync.WaitGroup // questions under way

	mu    sync.Mutex
	nodes map[*redis.Client]bool // all servers that the client knows
}

func newClusterLook(client *redis.ClusterClient) *clusterLook {
	l := &clusterLook{client: client, nodes: make(map[*redis.Client]bool)}
	client.OnNewNode(func(node *redis.Client) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.nodes[node] = true
	})
	return l
}

// close waits for the questions under way.
func (l *clusterLook) close() error {
	err := l.client.Close()
	l.tasks.Wait()
	return err
}

// view is what a server knows of its cluster.
type view struct {
	epoch     int64
	primaries map[string]bool
}

// primaries asks all servers at once, so that none that does not answer delays the
// others, and believes the one that has heard of the latest election: one that was
// stopped or cut off names primaries that are none any more.
func (l *clusterLook) primaries(ctx context.Context) (map[string]bool, error) {
	l.mu.Lock()
	nodes := slices.Collect(maps.Keys(l.nodes))
	l.mu.Unlock()
	if len(nodes) == 0 { // load the slots: that finds the servers
		nothing := func(context.Context, *redis.Client) error { return nil }
		return nil, l.client.ForEachShard(ctx, nothing)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	answers := make(chan answer, len(nodes))
	for _, node := range nodes {
		l.tasks.Go(func() { answers <- l.ask(ctx, node) })
	}
	best, err := bestOf(answers, len(nodes))
	for addr := range best.primaries {
		if !slices.ContainsFunc(nodes, func(node *redis.Client) bool { return serverOf(node.Options()) == addr }) {
			l.client.ReloadState(ctx) // there is a new server to be asked the next time
		}
	}
	return best.primaries, err
}

// bestOf returns the view of the latest election among n answers. It does not wait long
// for servers that are stopped.
func bestOf(answers <-chan answer, n int) (best view, err error) {
	var enough <-chan time.Time
	for got := range n {
		if got == n/2+1 {
			enough = time.After(laggardTime)
		}
		select {
		case a := <-answers:
			if a.err != nil {
				err = a.err
			} else if best.primaries == nil || a.epoch > best.epoch {
				best = a.view
			}
			continue
		case <-enough:
		}
		break
	}
	if best.primaries != nil {
		err = nil
	}
	return best, err
}

// serverOf returns the address by which a cluster names the server of a client.
func serverOf(node *redis.Options) string { return cmp.Or(node.NodeAddress, node.Addr) }

// laggardTime is how long a look waits for the other servers after more than half have
// answered.
const laggardTime = 100 * time.Millisecond

// answer is a view, or why there is none.
type answer struct {
	view
	err error
}

// ask asks a server, and forgets it if it has left the cluster.
func (l *clusterLook) ask(ctx context.Context, node *redis.Client) answer {
	v, err := viewOf(ctx, node)
	if errors.Is(err, redis.ErrClosed) {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.nodes, node)
	}
	return answer{v, err}
}

var errNotWhole = errors.New("storage: the server does not reach the cluster")

// viewOf asks a server.
func viewOf(ctx context.Context, node *redis.Client) (view, error) {
	var info *redis.StringCmd
	var ranges *redis.ClusterSlotsCmd
	_, err := node.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		info, ranges = pipe.ClusterInfo(ctx), pipe.ClusterSlots(ctx)
		return nil
	})
	if err != nil {
		return view{}, redisio.Normalize(ctx, err)
	}
	v := view{primaries: make(map[string]bool)}
	whole := false
	for line := range strings.Lines(info.Val()) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "cluster_state":
			whole = value == "ok"
		case "cluster_current_epoch":
			v.epoch, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	if !whole {
		return view{}, errNotWhole
	}
	for _, r := range ranges.Val() {
		if len(r.Nodes) > 0 {
			v.primaries[r.Nodes[0].Addr] = true
		}
	}
	return v, nil
}
