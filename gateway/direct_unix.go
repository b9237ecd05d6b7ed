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

func newDirect(conn net.Conn) *direct {
	sc, ok := conn.(syscall.Conn)
	if !ok { // TLS
		return nil
	}
	raw, err := sc.SyscallConn()
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
	d.p = p
	err := d.raw.Write(d.try)
	d.p = nil
	if err == nil && d.err != syscall.EAGAIN && d.err != syscall.EINTR {
		err = d.err
	}
	return max(d.n, 0), err
}
