package storage

import (
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// servedConn is a connection to a server, of which the topology knows until it is closed.
type servedConn struct {
	net.Conn
	t      *topology
	addr   string               // of the server
	client *redis.ClusterClient // whose it is; nil: with Sentinel
}

// Close closes the connection.
func (c *servedConn) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

// NetConn returns the connection underneath, for go-redis, which looks for data on the
// socket before it uses a connection again.
func (c *servedConn) NetConn() net.Conn { return c.Conn }

// servedSocket is a servedConn without TLS.
type servedSocket struct {
	*servedConn
	syscall.Conn
}

// serve adds a new connection, unless its server has departed.
func (t *topology) serve(conn net.Conn, addr string, client *redis.ClusterClient) (net.Conn, error) {
	c := &servedConn{Conn: conn, t: t, addr: addr, client: client}
	if err := t.admit(addr); err != nil {
		_ = conn.Close()
		return nil, err
	}
	t.mu.Lock()
	t.conns[c] = true
	t.startLocked()
	t.mu.Unlock()
	if socket, ok := conn.(syscall.Conn); ok {
		return servedSocket{c, socket}, nil
	}
	return c, nil
}
