package gateway

import (
	"context"
	"errors"
	"slices"
)

// concurrentRun is a concurrent command that runs.
type concurrentRun struct {
	ref    string // Request.Ref
	cancel context.CancelFunc
}

// errConcurrent is returned for a command whose goroutine sends the answer.
var errConcurrent = errors.New("gateway: the command runs on")

// runConcurrently starts a concurrent command on a goroutine of its own.
func (c *Conn) runConcurrently(command Command, r Request) error {
	ctx, cancel := context.WithCancel(c.h.ctx)
	run := &concurrentRun{string(r.Ref), cancel}
	if err := c.enterConcurrent(run); err != nil {
		cancel()
		return err
	}
	r.concurrent = true
	c.h.tasks.Go(func() {
		var err error
		c.guard("command "+r.Command, func() { err = command.Run(ctx, c, r) })
		cancelled := ctx.Err() != nil
		cancel()
		c.mu.Lock()
		c.running = slices.DeleteFunc(c.running, func(other *concurrentRun) bool { return other == run })
		c.mu.Unlock()
		if err != nil && cancelled && c.isOpen() {
			err = errorf(CodeCancelled, "cancelled")
		}
		c.conclude(r, err)
		c.flush()
	})
	return errConcurrent
}

// enterConcurrent adds a command to those that run.
func (c *Conn) enterConcurrent(run *concurrentRun) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.h.cfg.Limits.Running
	switch {
	case c.state != open:
		return ErrClosed
	case len(c.running) >= limit:
		return Errorf(CodeTooMany, "%d commands run already, which is all that may", limit)
	case run.ref != "" && slices.ContainsFunc(c.running, func(other *concurrentRun) bool { return other.ref == run.ref }):
		return Errorf(CodeBadCommand, "a command with this id runs already")
	}
	c.running = append(c.running, run)
	return nil
}

// cancelRunningLocked cancels all commands that run. The lock is held.
func (c *Conn) cancelRunningLocked() {
	if c.cancel != nil {
		c.cancel()
	}
	for _, run := range c.running {
		run.cancel()
	}
}

// cancelCommand is the command CANCEL. A command that has ended needs no cancelling: that
// is no error.
func cancelCommand(_ context.Context, c *Conn, r Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, run := range c.running {
		if run.ref == r.Args[0] || run.ref == string(appendString(nil, r.Args[0])) {
			run.cancel()
		}
	}
	return nil
}
