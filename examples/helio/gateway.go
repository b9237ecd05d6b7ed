package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/storage"
)

// farewell is the default time for the gateway's close frames: half of what Ctrl-C
// allows.
const farewell = grace / 2

func (t *tool) gatewayCommand() *cli.Command {
	var flags strings.Builder
	server.Options{ShutdownTimeout: farewell}.Help(&flags)
	return &cli.Command{
		Name: "gateway", Usage: "serve channels and hashes to browsers over WebSockets", ArgsUsage: "[FLAGS]", Category: "pub/sub and objects",
		Description: example("Flags after \"gateway\" are those of the stand-alone server, examples/gateway; --port is where it listens. Flags that\n"+
			"choose the Redis go before it. With --storage memory it has a Redis inside the process and a demo feed.\n"+
			"Browsers get the bytes that are published or set: use helio pub and map with --codec json.",
			"helio gateway --channels 'trains,news*'", "helio --url redis://far:6379 gateway --port 80 --host 0.0.0.0 --channels trains",
			"helio gateway --storage memory") + "\n\nFlags:\n\n" + flags.String(),
		SkipFlagParsing: true,
		Action:          t.gateway,
	}
}

func (t *tool) gateway(ctx context.Context, cmd *cli.Command) error {
	all, err := t.sources(cmd)
	if err != nil {
		return err
	}
	o := server.Options{ShutdownTimeout: farewell}
	o.Site, _ = lookup(all, "site")
	o.Prefix, _ = lookup(all, "prefix")
	switch err := o.Parse(cmd.Args().Slice()); {
	case errors.Is(err, flag.ErrHelp):
		return cli.ShowCommandHelp(ctx, cmd.Root(), cmd.Name)
	case err != nil:
		return badGatewayFlag(cmd, err)
	}
	if !o.NamesRedis() {
		if err := cmd.Set("prefix", o.Prefix); err != nil {
			return err
		}
		return t.with(ctx, cmd, func(pool *storage.Pool) error { return t.serveGateway(ctx, o, pool) })
	}
	for _, name := range []string{"embedded", "url", "hostname", "port", "db"} {
		if cmd.IsSet(name) {
			return usage("--%s, and another Redis after gateway: name one", name)
		}
	}
	return t.serveGateway(ctx, o, nil)
}

func (t *tool) serveGateway(ctx context.Context, o server.Options, pool *storage.Pool) error {
	err := o.Serve(ctx, pool, t.out, t.err)
	if op := new(net.OpError); errors.As(err, &op) && op.Op == "listen" {
		return fail(exitFailed, "%v: choose another with helio gateway --port, 0 for any that is free", err)
	}
	return untilCtrlC(ctx, err)
}

// badGatewayFlag is badFlag for a command whose flags the cli package does not know. A
// global flag after the command is in the wrong place.
func badGatewayFlag(cmd *cli.Command, err error) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		for _, f := range cmd.Root().Flags {
			if slices.Contains(f.Names(), name) {
				return usage("%s goes before the command: helio %[1]s … gateway", dashed(name))
			}
		}
	}
	return badFlag(cmd, err)
}
