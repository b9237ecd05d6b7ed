package storagetest

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// Virtual runs test in virtual time, in a bubble of package [synctest], with a pool
// on an embedded server that is reached over a [Network]. Time stands still while
// any goroutine of the test can run, and then jumps to the next timer: a test waits
// for minutes of leases, retries and timeouts in milliseconds.
//
// In a bubble, test must create all that it waits for: channels, timers, pools,
// servers. It must end its goroutines, by t.Cleanup for instance, and can't call
// t.Run, t.Parallel or real servers. A loop that waits must sleep, so that time
// passes. To reach the network, call synctest.Test and [NewNetwork] instead.
func Virtual(t *testing.T, test func(t *testing.T, pool *storage.Pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, Open(t, NewNetwork(t).Config())) })
}

const (
	// networkAddr is no name: go-redis looks names up, which is not possible in a
	// bubble. 192.0.2.0/24 is for documentation (RFC 5737).
	networkAddr = "192.0.2.1:6379"

	// networkDelay is the time that a request takes to the server. Some delay must
	// be: without one, goroutines that ask in a loop would stop virtual time.
	networkDelay = 100 * time.Microsecond

	// dialPause is more than a go-redis client that could not dial sleeps before it
	// notices that it was closed. A bubble must not end before.
	dialPause = 2 * time.Second
)

// Network is a network in memory with one embedded server. It needs no ports and no
// kernel, so that it works in virtual time. A request takes 0.1 ms to the server.
// Its methods bring about the faults of networks and of servers.
type Network struct {
	server *miniredis.Miniredis

	mu        sync.Mutex
	conns     map[*memoryConn]bool // the clients' ends of those that are open
	down      bool
	delay     time.Duration // of replies
	drop      int           // how many of the next replies are lost
	refusal   Refusal
	snapshots int

	transactions map[*server.Peer]*transaction

	refused bool // a connection
}

// NewNetwork returns a network whose server ends with the test. It belongs to the
// bubble in which NewNetwork is called, if any.
func NewNetwork(tb testing.TB) *Network {
	tb.Helper()
	n := &Network{
		server:       miniredis.NewMiniRedis(),
		conns:        make(map[*memoryConn]bool),
		transactions: make(map[*server.Peer]*transaction),
	}
	n.server.ClockTTL(true)
	first, err := n.server.Dial() // starts the server without a listener
	if err != nil {
		tb.Fatal(err)
	}
	_ = first.Close()
	n.server.Server().SetPreHook(n.refuse)
	tb.Cleanup(func() {
		n.Cut() // a connection that is half open does not end by itself
		n.server.Close()
		n.mu.Lock()
		refused := n.refused
		n.mu.Unlock()
		if refused {
			time.Sleep(dialPause)
		}
	})
	return n
}

// Config returns the configuration of a pool on the server. Its Dialer is Dial.
func (n *Network) Config() storage.Config { return configOf(n.Dial) }

func configOf(dial func(ctx context.Context, network, addr string) (net.Conn, error)) storage.Config {
	return storage.Config{Redis: redis.UniversalOptions{
		Addrs: []string{networkAddr}, Dialer: dial,
		// go-redis keeps the timers with which it waits for a free connection for
		// every client of the process, and a timer must not leave its bubble.
		PoolSize: 1000,
	}}
}

// Dial connects to the server, whatever network and addr are.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.dial(ctx, nil)
}

// dial connects to the server from a link, or from nowhere in particular.
func (n *Network) dial(ctx context.Context, from *Link) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, server := newConns()
	client.link = from
	client.out.delay = networkDelay
	client.closed = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.conns, client)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || from != nil && from.down {
		n.refused = true
		refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: memoryAddr{}, Err: refused}
	}
	n.conns[client] = true
	client.in.delay = n.delay
	server.lost = func() bool { return n.loseReply(client) }
	n.server.Server().ServeConn(server)
	return client, nil
}

// Link is the way of one process to a [Network]. It can be cut off by itself: for good,
// others see the process as killed.
type Link struct {
	network *Network
	down    bool // guarded by the network's mutex
}

// Link returns a new link.
func (n *Network) Link() *Link { return &Link{network: n} }

// Config returns the configuration of a pool on the server, by this link.
func (l *Link) Config() storage.Config {
	return configOf(func(ctx context.Context, _, _ string) (net.Conn, error) { return l.network.dial(ctx, l) })
}

// Cut resets the link's connections and returns how many there were.
func (l *Link) Cut() int { return l.network.cut(func(c *memoryConn) bool { return c.link == l }) }

// Down cuts the link's connections and refuses new ones until Up.
func (l *Link) Down() {
	l.setDown(true)
	l.Cut()
}

// Up ends Down.
func (l *Link) Up() { l.setDown(false) }

func (l *Link) setDown(down bool) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.down = down
}
