package control

import (
	"context"
	"strings"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
)

// submit is the command SUBMIT.
func (cfg *Config) submit(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	queue, method := r.Args[0], r.Args[1]
	if err := cfg.authorize(ctx, c, Operation{Kind: Submit, Queue: queue, Method: method}); err != nil {
		return err
	}
	args, err := argsOf(r)
	if err != nil {
		return err
	}
	delay, err := milliseconds(r, "delay")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	id, err := jobs.SubmitRaw(ctx, cfg.Jobs, queue, method, bus.Body{Codec: storage.JSON, Data: args}, jobs.SubmitOptions{Delay: delay, ID: r.Options["id"]})
	if err != nil {
		return jobsError(err)
	}
	return c.Reply(r, "job", id)
}

// job is the command JOB.
func (cfg *Config) job(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	queue, _, _ := strings.Cut(r.Args[0], ":")
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	info, err := cfg.Jobs.Get(ctx, r.Args[0])
	method := info.Method // empty if there is none: whether that may be said is for Allow as well
	if refused := cfg.authorize(ctx, c, Operation{Kind: Job, Queue: queue, Method: method}); refused != nil {
		return refused
	}
	if err != nil {
		return jobsError(err)
	}
	return c.Reply(r, "job", info)
}
