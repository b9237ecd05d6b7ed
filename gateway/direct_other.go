//go:build !unix

package gateway

import "net"

// direct is for systems where a socket takes what it can at once.
type direct struct{}

func newDirect(net.Conn) *direct { return nil }

func (*direct) write([]byte) (int, error) { return 0, nil }
