//go:build !unix

package gateway

import "net"

// direct is for systems without non-blocking writes: none is made.
type direct struct{}

func newDirect(net.Conn) *direct { return nil }

func (*direct) write([]byte) (int, error) { return 0, nil }
