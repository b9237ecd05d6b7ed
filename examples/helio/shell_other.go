//go:build !unix

package main

import (
	"context"
	"os/exec"
	"time"
)

// shell returns a command that is killed when ctx ends.
func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd", "/c", command)
	cmd.WaitDelay = time.Second
	return cmd
}

func killRest(*exec.Cmd) {} // there are no process groups
