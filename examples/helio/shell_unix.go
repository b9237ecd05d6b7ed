//go:build unix

package main

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// shell returns a command in a process group of its own, all of which gets a
// SIGTERM when ctx ends, and is killed if that is not enough. Ctrl-C reaches it
// through us alone.
func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	return cmd
}

// killRest kills what a command that has ended has left behind, unless that is in
// a process group of its own.
func killRest(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}
