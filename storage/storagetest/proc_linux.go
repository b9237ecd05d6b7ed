package storagetest

import "syscall"

// endsWithParent makes the kernel kill the process when the test's is gone,
// however it went.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
