package pubsub_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
)

// proxy stands between clients and a server, and cuts connections, also where
// the server can't.
type proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	mute  bool // swallow what the server sends
	shut  bool // refuse connections
}

func startProxy(t testing.TB, pool *storage.Pool) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: pool.Config().Redis.Addrs[0], conns: make(map[net.Conn]bool)}
	p.tasks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.tasks.Wait()
	})
	return p
}

// config is that of a pool behind the proxy.
func (p *proxy) config() (cfg storage.Config) {
	cfg.Redis.Addrs = []string{p.listener.Addr().String()}
	return cfg
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	shut := p.shut
	p.conns[client] = true
	p.mu.Unlock()
	if shut {
		_ = client.Close()
	}
	p.tasks.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			break
		}
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if mute {
			continue
		}
		if _, err := client.Write(buf[:n]); err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, client)
	p.mu.Unlock()
}

// cut closes all connections, and returns how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	return len(p.conns)
}

// swallow has nothing reach the clients any more, as on a dead link; or again.
func (p *proxy) swallow(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

// refuse closes new connections at once; or not any more.
func (p *proxy) refuse(shut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = shut
}
