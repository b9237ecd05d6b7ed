//go:build !unix

package storagetest

import "syscall"

// There is no redis-server to pause on these systems.
const (
	signalPause  = syscall.Signal(0)
	signalResume = syscall.Signal(0)
)
