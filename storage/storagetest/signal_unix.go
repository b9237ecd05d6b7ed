//go:build unix

package storagetest

import "syscall"

const (
	signalPause  = syscall.SIGSTOP
	signalResume = syscall.SIGCONT
)
