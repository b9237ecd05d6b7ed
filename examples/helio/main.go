// Helio is the command line of heliograph: it calls workers, reads, sets and watches
// keywords, submits jobs, publishes and subscribes, from a shell or a script:
//
//	go install github.com/heliograph/heliograph/examples/helio@latest
//
// README.md shows every command. Read main.go for how a command line is run,
// connection.go for how the Redis is chosen, target.go for how workers are named,
// errors.go for exit statuses, and then the file of a command. Everything uses the
// public API of the library.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/storage"
)

func main() {
	logging.Disable() // go-redis logs every failed dial; errors are returned as well
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig := <-signals
		signal.Stop(signals) // a second signal ends the process at once
		cancel(signalled{sig})
	}()
	t := &tool{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	os.Exit(t.run(ctx, os.Args))
}

// signalled is the cause with which a signal ends the program's context.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return s.String() }

// tool is the program, with its input, outputs and global options.
type tool struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string

	json    bool // --output json
	verbose bool
	dress   dress // style of out
	screen  atomic.Pointer[screen]
}

// run runs a command line and returns the exit status.
func (t *tool) run(ctx context.Context, args []string) int {
	t.dress, t.json = dressOf(t.out, t.getenv), asksForJSON(args)
	root := t.root()
	prepare(root)
	root.CustomHelpTemplate = "" // its help shows the global flags
	ended := make(chan error, 1)
	go func() { ended <- root.Run(ctx, fromRedisbus(args)) }()
	err := t.await(ctx, ended)
	if err == nil {
		return exitOK
	}
	f := explain(ctx, err)
	t.report(f)
	return f.status
}

// asksForJSON reports whether a command line has --output json. It is for command
// lines that can't be read: their errors are JSON too.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		name, value, inOne := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || name != "o" && name != "output" {
			continue
		}
		if !inOne && i+1 < len(args) {
			value = args[i+1]
		}
		if value == "json" {
			return true
		}
	}
	return false
}

// report prints why a command has failed, in one line on stderr.
func (t *tool) report(f *failure) {
	switch {
	case f.text == "": // reported already
	case t.json:
		line, err := storage.JSON.Marshal(map[string]any{"error": f.text, "status": f.status})
		if err == nil {
			fmt.Fprintf(t.err, "%s\n", line)
		}
	default:
		fmt.Fprintln(t.err, dressOf(t.err, t.getenv).red("helio:"), oneLine(f.text))
	}
}

// grace is how long a command may take to end after Ctrl-C. It takes milliseconds
// unless Redis hangs: a blocked read of go-redis does not end with its context. A
// program that helio worker runs has half of it.
const grace = 2 * time.Second

// await waits for the end of a command. After SIGTERM, unlike Ctrl-C, it waits without
// a limit: a worker ends its calls first.
func (t *tool) await(ctx context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	var patience <-chan time.Time
	if !errors.Is(context.Cause(ctx), signalled{syscall.SIGTERM}) {
		patience = time.After(grace)
	}
	select {
	case err := <-ended:
		return err
	case <-patience:
		if s := t.screen.Load(); s != nil {
			s.close()
		}
		return fail(exitInterrupted, "interrupted; Redis does not answer, so keys of this process expire by themselves")
	}
}

func (t *tool) root() *cli.Command {
	return &cli.Command{
		Name:                  "helio",
		Usage:                 "call workers, read and set keywords, publish and subscribe over Redis",
		Version:               version(),
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden, c.Usage = false, "print the completion script for bash, zsh, fish or pwsh"
			c.Description = "Example:\n\n  source <(helio completion bash)"
			c.Action = func(_ context.Context, cmd *cli.Command) error {
				if cmd.Args().Present() {
					return usage("no completion for %q: want bash, zsh, fish or pwsh", cmd.Args().First())
				}
				return cli.ShowSubcommandHelp(cmd)
			}
			prepare(c)
		},
		Writer: t.out, ErrWriter: t.err,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Description: "Exit status: 0 done, 1 refused or failed, 2 bad usage, 3 not found, 4 timed out,\n" +
			"5 Redis unreachable, 130 interrupted.\n\nExample:\n\n" +
			"  helio --embedded                          # a Redis in this process\n" +
			"  helio worker calc --exec 'jq add'         # in another shell\n" +
			"  helio call calc add --jsondata '[1,2]'",
		Flags: append(connectionFlags(),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "output `FORMAT`: text or json", Validator: oneOf("text", "json")},
			&cli.BoolFlag{Name: "verbose", Usage: "log on stderr what helio does"},
		),
		Before: func(ctx context.Context, cmd *cli.Command) (context.Context, error) {
			t.json, t.verbose = cmd.String("output") == "json", cmd.Bool("verbose")
			return ctx, nil
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			switch {
			case cmd.Args().Present():
				return unknownCommand(cmd, cmd.Args().First())
			case cmd.Bool("embedded"):
				return t.serveEmbedded(ctx, cmd)
			}
			return cli.ShowRootCommandHelp(cmd)
		},
		Commands: []*cli.Command{
			t.callCommand(), t.workerCommand(),
			t.workersCommand(), t.pingCommand(), t.infoCommand(), t.statsCommand(), t.stopCommand(), t.logsCommand(), t.downloadCommand(),
			t.showCommand(), t.modifyCommand(), t.watchCommand(), t.waitforCommand(), t.listCommand(), t.describeCommand(), t.gshowCommand(), t.dispatchersCommand(), t.keywordsCommand(),
			t.pubCommand(), t.subCommand(), t.setCommand(), t.mapCommand(), t.gatewayCommand(),
			t.jobsCommand(), t.topCommand(), t.typesCommand(), t.versionCommand(),
		},
	}
}

func (t *tool) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of helio",
		Description: example("", "helio version"),
		Action: func(_ context.Context, cmd *cli.Command) error {
			if _, err := arguments(cmd); err != nil {
				return err
			}
			if t.json {
				return t.emit(map[string]string{"version": version(), "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(t.out, "helio %s, built with %s\n", version(), runtime.Version())
			return err
		},
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
