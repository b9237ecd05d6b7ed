package client_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy passes connections on to a server. It can cut each after a random number of bytes,
// and stop passing bytes on.
type proxy struct {
	target string
	in     net.Listener
	tasks  sync.WaitGroup

	mu     sync.Mutex
	thawed *sync.Cond
	frozen bool
	closed bool
	random *rand.Rand
	cuts   int // so many connections are to be cut
	conns  map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: target, in: in, conns: make(map[net.Conn]bool)}
	p.thawed = sync.NewCond(&p.mu)
	p.tasks.Go(p.serve)
	t.Cleanup(func() {
		_ = in.Close()
		p.mu.Lock()
		p.closed = true
		p.thawed.Broadcast()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.in.Addr().String() }

// cutAt has the next connections cut.
func (p *proxy) cutAt(seed uint64, cuts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.random, p.cuts = rand.New(rand.NewPCG(seed, 0)), cuts
	for c := range p.conns { // those that were open before
		reset(c)
	}
}

// left returns how many connections are still to be cut.
func (p *proxy) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *proxy) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = frozen
	p.thawed.Broadcast()
}

func (p *proxy) serve() {
	for {
		near, err := p.in.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = true, true
		limit := -1 // bytes to the client; none
		if p.cuts > 0 {
			limit = p.random.IntN(3000)
		}
		p.mu.Unlock()
		p.tasks.Go(func() { p.pass(far, near, -1) })
		p.tasks.Go(func() { p.pass(near, far, limit) })
	}
}

// pass copies bytes from one connection to the other until either ends, or so many bytes
// were copied.
func (p *proxy) pass(to, from net.Conn, limit int) {
	defer func() {
		reset(to)
		reset(from)
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.frozen && !p.closed {
			p.thawed.Wait()
		}
		if limit >= 0 && p.cuts == 0 { // enough
			limit = -1
		}
		cut := limit >= 0 && n >= limit
		if cut {
			n = limit
			p.cuts--
		} else if limit >= 0 {
			limit -= n
		}
		p.mu.Unlock()
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil || cut {
			return
		}
	}
}

// reset ends a connection in the way of a peer that has crashed.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}
