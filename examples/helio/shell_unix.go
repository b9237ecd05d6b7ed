//go:build unix

package main

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// shell returns a command in a process group of its own. When ctx ends the group gets
// SIGTERM, and SIGKILL a second later. Being in another group, it does not get the
// terminal's Ctrl-C.
func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	return cmd
}

// killRest kills the processes that a command left in its process group.
func killRest(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}
