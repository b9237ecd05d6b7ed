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

// settlePause is how long the hub waits between two looks at a cluster.
const settlePause = 50 * time.Millisecond

// look has the hub find where routes belong that are not anywhere. The lock is
// held.
func (h *hub) look() {
	h.moved = true
	if !h.homing && !h.closed && h.isCluster() {
		h.homing = true
		h.tasks.Go(h.settle)
	}
}

// settle moves routes to where they belong until all are there, and looks again
// after a while: a new primary has keys that nobody listens to yet.
func (h *hub) settle() {
	for {
		routes := h.toSettle()
		if routes == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), dialTime)
		homes, err := h.homes(ctx, routes)
		cancel()
		h.mu.Lock()
		h.trouble = err
		if err != nil {
			h.moved = true
		} else if !h.closed {
			for r, addrs := range homes {
				h.move(r, addrs)
			}
		}
		h.mu.Unlock()
		time.Sleep(settlePause)
	}
}

// toSettle returns the routes that have a home. Nil: settle has ended.
func (h *hub) toSettle() (routes []*route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range kinds {
		if k.homed() {
			routes = slices.AppendSeq(routes, maps.Values(h.routes[k]))
		}
	}
	if h.moved && !h.closed && routes != nil {
		h.moved = false
		return routes
	}
	h.homing, h.moved = false, false
	if routes != nil && !h.closed {
		every := h.c.cfg.Probe
		if every < 0 {
			every = defaultProbe
		}
		if h.rehome != nil {
			h.rehome.Stop()
		}
		h.rehome = time.AfterFunc(every, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.look()
		})
	}
	return nil
}

// homes returns the addresses of the servers where routes belong.
func (h *hub) homes(ctx context.Context, routes []*route) (map[*route][]string, error) {
	primaries, err := h.primaries(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Collect(maps.Keys(primaries))
	homes := make(map[*route][]string, len(routes))
	for _, r := range routes {
		if r.kind == keys {
			homes[r] = all
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
		homes[r] = []string{owner.Options().Addr}
	}
	return homes, nil
}

// move gives a route legs at these addresses and no others. The lock is held.
func (h *hub) move(r *route, addrs []string) {
	if h.routes[r.kind][r.name] != r {
		return // nobody wants it any more
	}
	kept := r.legs[:0:0]
	for _, leg := range r.legs {
		if slices.Contains(addrs, leg.link.addr) {
			kept = append(kept, leg)
			leg.link.mark(leg) // it may have been refused there
		} else {
			leg.link.retire(leg)
		}
	}
	r.legs = kept
	for _, addr := range addrs {
		if !slices.ContainsFunc(kept, func(l *leg) bool { return l.link.addr == addr }) {
			h.addLeg(r, addr)
		}
	}
}
