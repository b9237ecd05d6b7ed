package storagetest

import "net"

var Leaked = leaked

func NewConns() (a, b net.Conn) { return newConns() }
