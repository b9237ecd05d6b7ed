package control

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
)

// address returns where a CALL or STREAM goes.
func (cfg *Config) address(ctx context.Context, c *gateway.Conn, kind Kind, r gateway.Request) (to bus.Address, args bus.Body, err error) {
	op := Operation{Kind: kind, Type: r.Args[0], Method: r.Args[1], Worker: r.Options["worker"]}
	if err := cfg.authorize(ctx, c, op); err != nil {
		return to, args, err
	}
	raw, err := argsOf(r)
	if err != nil {
		return to, args, err
	}
	to = bus.Group(op.Type)
	if op.Worker != "" {
		if typ, _, ok := strings.Cut(op.Worker, ":"); !ok || typ != op.Type { // an id is type:host:pid:uid
			return to, args, gateway.Errorf(gateway.CodeForbidden, "not allowed, or there is none")
		}
		to = bus.Direct(op.Worker)
	}
	return to, bus.Body{Codec: storage.JSON, Data: raw}, nil
}

// call is the command CALL.
func (cfg *Config) call(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	to, args, err := cfg.address(ctx, c, Call, r)
	if err != nil {
		return err
	}
	ctx, cancel, err := bounded(ctx, r, cfg.Timeout)
	if err != nil {
		return err
	}
	defer cancel()
	body, err := bus.CallRaw(ctx, cfg.Bus, to, r.Args[1], args)
	if err != nil {
		return busError(err)
	}
	return reply(c, r, body)
}

// stream is the command STREAM. Its context ends the stream when the client sends CANCEL,
// and Reply waits for a client that reads too slowly, so that the worker waits too.
func (cfg *Config) stream(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	to, args, err := cfg.address(ctx, c, Stream, r)
	if err != nil {
		return err
	}
	ctx, cancel, err := bounded(ctx, r, 0)
	if err != nil {
		return err
	}
	defer cancel()
	isAnother := newPrincipal(c)
	for body, err := range bus.StreamRaw(ctx, cfg.Bus, to, r.Args[1], args) {
		if err != nil {
			return busError(err)
		}
		if isAnother() {
			if _, _, err := cfg.address(ctx, c, Stream, r); err != nil {
				return err
			}
		}
		if err := reply(c, r, body); err != nil {
			return err
		}
	}
	return nil
}

// reply sends a result or an item.
func reply(c *gateway.Conn, r gateway.Request, body bus.Body) error {
	source := r.Args[0] + "." + r.Args[1]
	switch {
	case len(body.Data) == 0:
		return c.Reply(r, source, nil)
	case body.Codec == storage.JSON && json.Valid(body.Data):
		return c.Reply(r, source, json.RawMessage(body.Data))
	}
	return gateway.Errorf("bad_result", "the result is not JSON")
}

// workers is the command WORKERS.
func (cfg *Config) workers(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	if err := cfg.authorize(ctx, c, Operation{Kind: Workers, Type: r.Args[0]}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	workers, err := cfg.Bus.Workers(ctx, r.Args[0])
	if err != nil {
		return busError(err)
	}
	return replyAll(c, r, "workers", workers)
}

// replyAll sends each of a list.
func replyAll[T any](c *gateway.Conn, r gateway.Request, source string, list []T) error {
	for _, v := range list {
		if err := c.Reply(r, source, v); err != nil {
			return err
		}
	}
	return nil
}
