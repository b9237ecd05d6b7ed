//go:build !linux

package storagetest

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }
