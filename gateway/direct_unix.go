//go:build unix

package gateway

import (
	"net"
	"sync"
	"syscall"
)

// direct writes to a socket without blocking.
type direct struct{ raw syscall.RawConn }

// attempt is one write. It has a closure, which is made once: idle sockets have none.
type attempt struct {
	try func(fd uintptr) bool

	p   []byte
	n   int
	err error
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.try = func(fd uintptr) bool {
		a.n, a.err = syscall.Write(int(fd), a.p)
		return true
	}
	return a
}}

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
	return &direct{raw}
}

// write returns how much the socket has taken: less than all is no error.
func (d *direct) write(p []byte) (int, error) {
	a := attempts.Get().(*attempt)
	defer attempts.Put(a)
	a.p, a.n, a.err = p, 0, nil // RawConn.Write may fail before it calls try
	err := d.raw.Write(a.try)
	a.p = nil
	if err == nil && a.err != syscall.EAGAIN && a.err != syscall.EINTR {
		err = a.err
	}
	return max(a.n, 0), err
}
