package pubsub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// node is a server to subscribe at.
type node interface {
	Subscribe(ctx context.Context, channels ...string) *redis.PubSub
}

// node returns the server with an address, or any.
func (h *hub) node(ctx context.Context, addr string) (node, error) {
	if !h.isCluster() {
		return h.client, nil
	}
	primaries, err := h.primaries(ctx)
	if err != nil {
		return nil, err
	}
	if addr == "" {
		for _, n := range primaries { // a random one
			return n, nil
		}
		return nil, errors.New("the cluster has no primaries")
	}
	n := primaries[addr]
	if n == nil {
		return nil, fmt.Errorf("%s is not a primary any more", addr)
	}
	return n, nil
}

// primaries asks the cluster for its primaries, by address.
func (h *hub) primaries(ctx context.Context) (map[string]*redis.Client, error) {
	var mu sync.Mutex
	nodes := make(map[string]*redis.Client)
	err := h.client.(*redis.ClusterClient).ForEachMaster(ctx, func(_ context.Context, n *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes[n.Options().Addr] = n
		return nil
	})
	return nodes, err
}

// placementPause is the minimum time between two requests for a cluster's slots.
const placementPause = 50 * time.Millisecond

// schedulePlacementLocked starts placeRoutes, unless it runs.
func (h *hub) schedulePlacementLocked() {
	h.moved = true
	if !h.placing && !h.closed && h.isCluster() {
		h.placing = true
		h.tasks.Go(h.placeRoutes)
	}
}

// placeRoutes binds routes to the servers of their slots until all are bound, and
// is scheduled again after Config.Probe: a new primary may own keys that are not
// listened to yet. It runs on a goroutine of its own while there is work.
func (h *hub) placeRoutes() {
	for {
		routes := h.routesToPlace()
		if routes == nil {
			return
		}
		ctx, cancel := context.WithTimeout(h.ctx, dialTime)
		servers, err := h.serversOf(ctx, routes)
		cancel()
		h.mu.Lock()
		h.trouble = err
		if err != nil {
			h.moved = true
		} else if !h.closed {
			for r, addrs := range servers {
				h.bindLocked(r, addrs)
			}
		}
		h.mu.Unlock()
		redisio.Sleep(h.ctx, placementPause)
	}
}

// routesToPlace returns the routes that belong to certain servers. Nil means that
// there is nothing to do and that placeRoutes ends.
func (h *hub) routesToPlace() (routes []*route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range kinds {
		if k.placed() {
			routes = slices.AppendSeq(routes, maps.Values(h.routes[k]))
		}
	}
	if h.moved && !h.closed && routes != nil {
		h.moved = false
		return routes
	}
	h.placing, h.moved = false, false
	if routes != nil && !h.closed {
		every := h.c.cfg.Probe
		if every < 0 {
			every = defaultProbe
		}
		if h.placeAgain != nil {
			h.placeAgain.Stop()
		}
		h.placeAgain = time.AfterFunc(every, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.schedulePlacementLocked()
		})
	}
	return nil
}

// servers returns the addresses of the servers where routes belong.
func (h *hub) serversOf(ctx context.Context, routes []*route) (map[*route][]string, error) {
	primaries, err := h.primaries(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Keys(primaries))
	servers := make(map[*route][]string, len(routes))
	for _, r := range routes {
		if r.kind == keys {
			servers[r] = all
			continue
		}
		name := r.name
		if r.kind == key {
			name = name[strings.IndexByte(name, ':')+1:]
		}
		owner, err := h.client.(*redis.ClusterClient).MasterForKey(ctx, name)
		if err != nil {
			return nil, err
		}
		servers[r] = []string{owner.Options().Addr}
	}
	return servers, nil
}

// bindLocked gives a route bindings at these addresses and no others.
func (h *hub) bindLocked(r *route, addrs []string) {
	if h.routes[r.kind][r.name] != r {
		return // it has no queue any more
	}
	kept := r.bindings[:0:0]
	for _, binding := range r.bindings {
		if slices.Contains(addrs, binding.link.addr) {
			kept = append(kept, binding)
			binding.link.markLocked(binding) // it may have been refused there
		} else {
			binding.link.retireLocked(binding)
		}
	}
	r.bindings = kept
	for _, addr := range addrs {
		if !slices.ContainsFunc(kept, func(l *binding) bool { return l.link.addr == addr }) {
			h.addBindingLocked(r, addr)
		}
	}
}
