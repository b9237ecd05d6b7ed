package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

const (
	// lookEvery is how often a pool with connections looks for the primaries, and
	// lookPause the minimum time between two looks while commands fail.
	lookEvery = time.Second
	lookPause = 200 * time.Millisecond

	// lookTime bounds the wait for the answer of one server.
	lookTime = time.Second

	// departedTime is how long nothing is dialed at a server that is no primary any
	// more: clients and sentinels may name it for some time yet.
	departedTime = 5 * time.Second
)

// topology knows which servers are primaries, on a cluster or with Sentinel. When a
// server is one no more, it closes all connections to it and has all cluster clients load
// the cluster's slots again. Otherwise a subscription or a blocking read at that server
// would wait until it is found silent, and a cluster client of go-redis, which loads the
// slots once a minute and after a redirection, would dial a dead server until then.
//
// Its goroutine runs from the first dial to close, and looks for the primaries each
// second, or at once when a command fails.
type topology struct {
	find func(ctx context.Context) (primaries map[string]bool, err error)
	end  func() error
	host *redis.ClusterClient // the host's, if it has a cluster

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	failed chan struct{} // holds one: a command has failed
	task   sync.WaitGroup

	mu        sync.Mutex
	started   bool
	closed    bool
	primaries map[string]bool
	departed  map[string]time.Time          // since when a server is no primary any more
	conns     map[*servedConn]bool          // open
	stale     map[*redis.ClusterClient]bool // a command of theirs has failed
}

// newTopology returns the topology of an origin, and nil if there is but one server.
func newTopology(o origin, host redis.UniversalClient) *topology {
	if o.single() != nil {
		return nil
	}
	t := &topology{
		failed:   make(chan struct{}, 1),
		departed: make(map[string]time.Time),
		conns:    make(map[*servedConn]bool),
		stale:    make(map[*redis.ClusterClient]bool),
	}
	t.host, _ = host.(*redis.ClusterClient)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	client := o.derive(tuning{once: true, conns: 1, primaries: true, readTimeout: lookTime})
	switch c := client.(type) {
	case *redis.ClusterClient:
		look := newClusterLook(c)
		t.find, t.end = look.primaries, look.close
	case *redis.Client:
		t.end = c.Close
		t.find = func(ctx context.Context) (map[string]bool, error) { return sentinelPrimary(ctx, c) }
	}
	return t
}

// sentinelPrimary returns the address of the primary that the sentinels name. To dial is
// the one way to ask that also works on a client of the host.
func sentinelPrimary(ctx context.Context, c *redis.Client) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	opts := c.Options()
	conn, err := opts.Dialer(ctx, opts.Network, opts.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return map[string]bool{conn.RemoteAddr().String(): true}, nil
}

// watch makes the topology know the connections and the failures of a client.
func (t *topology) watch(client redis.UniversalClient) {
	if t == nil {
		return
	}
	switch c := client.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(node *redis.Client) { node.AddHook(topologyHook{t, c, node.Options()}) })
	case *redis.Client:
		c.AddHook(topologyHook{t: t})
	}
}

// fail notes that a command of a client has failed. Client is nil with Sentinel.
func (t *topology) fail(client *redis.ClusterClient) {
	t.mu.Lock()
	if client != nil && !t.closed {
		t.stale[client] = true
	}
	t.startLocked()
	t.mu.Unlock()
	select {
	case t.failed <- struct{}{}:
	default:
	}
}

func (t *topology) startLocked() {
	if !t.started && !t.closed {
		t.started = true
		t.task.Go(t.run)
	}
}

func (t *topology) run() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.failed:
		case <-tick.C:
		}
		t.mu.Lock()
		used := len(t.conns) > 0 || len(t.stale) > 0
		t.mu.Unlock()
		if used {
			t.look()
			redisio.Sleep(t.ctx, lookPause)
		}
	}
}

// look asks for the primaries and carries out what has changed.
func (t *topology) look() {
	primaries, err := t.find(t.ctx)
	t.mu.Lock()
	reload := t.stale
	t.stale = make(map[*redis.ClusterClient]bool)
	var left []*servedConn
	if err == nil && len(primaries) > 0 {
		changed := t.changeLocked(primaries)
		for conn := range t.conns {
			if t.hasDepartedLocked(conn.addr) {
				left = append(left, conn)
			}
			if changed && conn.client != nil {
				reload[conn.client] = true
			}
		}
		if changed && t.host != nil {
			reload[t.host] = true
		}
	}
	t.mu.Unlock()
	for _, conn := range left {
		_ = conn.Close()
	}
	for client := range reload {
		client.ReloadState(t.ctx)
	}
}

// changeLocked notes the primaries, and reports whether they are others than before.
func (t *topology) changeLocked(primaries map[string]bool) (changed bool) {
	for addr := range primaries {
		delete(t.departed, addr)
		changed = changed || !t.primaries[addr]
	}
	for addr := range t.primaries {
		if !primaries[addr] {
			t.departed[addr] = time.Now()
			changed = true
		}
	}
	t.primaries = primaries
	return changed
}

// hasDepartedLocked reports whether a server was a primary until a moment ago.
func (t *topology) hasDepartedLocked(addr string) bool {
	since, ok := t.departed[addr]
	if ok && time.Since(since) > departedTime {
		delete(t.departed, addr)
		return false
	}
	return ok
}

// admit returns an error if a server has departed.
func (t *topology) admit(addr string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hasDepartedLocked(addr) {
		return &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", addr, errDeparted)}
	}
	return nil
}

// close ends the goroutine.
func (t *topology) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.task.Wait()
	return t.end()
}

// topologyHook is the topology's part of a client, or of a cluster client's part for one
// server.
type topologyHook struct {
	t      *topology
	client *redis.ClusterClient // nil: with Sentinel
	node   *redis.Options       // nil: with Sentinel
}

var errDeparted = errors.New("storage: the server is no primary any more")

func (h topologyHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		server := ""
		if h.node != nil {
			server = serverOf(h.node)
			err = h.t.admit(server)
		}
		var conn net.Conn
		if err == nil {
			conn, err = next(ctx, network, addr)
		}
		if err == nil {
			conn, err = h.t.serve(conn, cmp.Or(server, conn.RemoteAddr().String()), h.client)
		}
		h.failed(err)
		return conn, err
	}
}

func (h topologyHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); len(args) == 2 && args[0] == "cluster" && args[1] == "slots" {
			// A cluster client asks one server after the other.
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, lookTime)
			defer cancel()
		}
		err := next(ctx, cmd)
		h.failed(err)
		return err
	}
}

func (h topologyHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.failed(err)
		return err
	}
}

// failed starts a look if an error may mean that there is another primary.
func (h topologyHook) failed(err error) {
	var reply redis.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, redis.ErrClosed):
		return
	case errors.As(err, &reply) && !redisio.Passing(err):
		return
	}
	h.t.fail(h.client)
}
