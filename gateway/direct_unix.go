//go:build unix

package gateway

import (
	"net"
	"syscall"
)

// direct writes to a socket without blocking.
type direct struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // made once: a closure for each write would be allocated

	p   []byte
	n   int
	err error
}

// newDirect returns nil for what is not a TCP connection itself. A type of the host's that
// embeds one has its file descriptor as well, but its Write may count, limit or encrypt.
func newDirect(conn net.Conn) *direct {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.try = func(fd uintptr) bool {
		d.n, d.err = syscall.Write(int(fd), d.p)
		return true
	}
	return d
}

// write returns how much the socket has taken: less than all is no error.
func (d *direct) write(p []byte) (int, error) {
	d.p, d.n, d.err = p, 0, nil // RawConn.Write may fail before it calls try
	err := d.raw.Write(d.try)
	d.p = nil
	if err == nil && d.err != syscall.EAGAIN && d.err != syscall.EINTR {
		err = d.err
	}
	return max(d.n, 0), err
}
