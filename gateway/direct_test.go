package gateway_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// served serves a handler on connections that wrap may replace.
func served(t *testing.T, pool *storage.Pool, cfg gateway.Config, wrap func(net.Conn) net.Conn) (h *gateway.Handler, address string) {
	t.Helper()
	h, err := gateway.New(pool, cfg)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(http.StripPrefix("/ws", h))
	srv.Listener = wrapping{srv.Listener, wrap}
	srv.Start()
	t.Cleanup(func() {
		_ = h.Close()
		srv.Close()
	})
	return h, strings.Replace(srv.URL, "http", "ws", 1) + "/ws"
}

type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapping) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

// metered is a connection of a host that counts what is written.
type metered struct {
	*net.TCPConn
	written *atomic.Int64
}

func (m metered) Write(p []byte) (int, error) {
	m.written.Add(int64(len(p)))
	return m.TCPConn.Write(p)
}

func TestAHostsConnectionIsWrittenToByItsWrite(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	h, address := served(t, storagetest.New(t), anything, func(conn net.Conn) net.Conn {
		return metered{conn.(*net.TCPConn), &written}
	})
	b := open(t, address)
	before := written.Load()
	text := strings.Repeat("x", 1000)
	gateway.Broadcast([]byte(text), h.Conns()...)
	require.Equal(t, text, b.raw())
	require.GreaterOrEqual(t, written.Load()-before, int64(len(text)))
}

// A write that fails before it has begun leaves nothing of the one before it.
func TestAWriteThatFailsAtOnceEndsTheConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var conns []net.Conn
	h, address := served(t, storagetest.New(t), anything, func(conn net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn
	})
	b := open(t, address)
	gateway.Broadcast([]byte(strings.Repeat("x", 1000)), h.Conns()...)
	b.raw()
	mu.Lock()
	require.NoError(t, conns[0].SetWriteDeadline(time.Unix(1, 0)))
	mu.Unlock()
	gateway.Broadcast([]byte("short"), h.Conns()...)
	empty(t, h)
}
