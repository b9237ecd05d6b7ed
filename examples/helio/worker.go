package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) workerCommand() *cli.Command {
	return &cli.Command{
		Name: "worker", Usage: "run a program as a worker", ArgsUsage: "TYPE", Category: "calls and workers",
		Description: example("Runs CMD with the shell for each call of any method. The method is in $HELIO_METHOD; callers choose it, so\n"+
			"don't use it as the name of a file or program. CMD gets the arguments as JSON on stdin and prints the result as\n"+
			"JSON. If its exit status is not 0, the call fails with what CMD printed on stderr. SIGTERM waits for running\n"+
			"calls, Ctrl-C ends them.",
			"helio worker calc --exec 'jq add'", "helio worker clock --exec date --text", "helio worker shop --worker_path /srv/shop --exec ./shop.sh"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "exec", Usage: "`CMD` to run for each call"},
			&cli.BoolFlag{Name: "text", Usage: "CMD prints text, not JSON: the result is a string"},
			&cli.IntFlag{Name: "concurrency", Value: 8, Validator: positive, Usage: "maximum number of calls at a time"},
			&secondsFlag{Name: "drain", Value: 10 * time.Second, Usage: "how long SIGTERM waits for running calls"},
			&secondsFlag{Name: "worker_interval", Usage: "also run CMD at this interval, with HELIO_METHOD=" + tickMethod + ", one run at a time"},
			&cli.StringFlag{Name: "worker_path", TakesFile: true, Usage: "run CMD in `DIR` and offer its files to helio download"},
			&cli.StringFlag{Name: "spawner", Usage: "`ID` of the program that started this worker, for helio info"},
			&cli.StringFlag{Name: "description", Usage: "`TEXT` for helio info"},
			&cli.StringMapFlag{Name: "label", Usage: "`NAME=VALUE` for helio workers; may be repeated"},
			&cli.BoolFlag{Name: "allow_stop", Usage: "let helio stop end this worker"},
		},
		Action: t.worker,
	}
}

// tickMethod is the method name for --worker_interval. The bus refuses calls of it.
const tickMethod = "bus.tick"

func (t *tool) worker(ctx context.Context, cmd *cli.Command) error {
	args, err := arguments(cmd, "TYPE")
	if err != nil {
		return err
	}
	if cmd.String("exec") == "" {
		return usage("--exec is missing: it is the command to run for each call, as in helio worker %s --exec 'jq add'", args[0])
	}
	site, err := t.site(cmd)
	if err != nil {
		return err
	}
	dir := cmd.String("worker_path")
	var root *os.Root
	if dir != "" {
		if dir, err = filepath.Abs(dir); err != nil {
			return usage("--worker_path: %v", err)
		}
		if root, err = os.OpenRoot(dir); err != nil {
			return usage("--worker_path: %v", err)
		}
		defer root.Close()
	}
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		x := &executor{command: cmd.String("exec"), name: clip([]byte(cmd.String("exec")), 80), dir: dir, text: cmd.Bool("text"), halt: ctx}
		cfg := bus.WorkerConfig{
			Site: site, Type: args[0], Concurrency: cmd.Int("concurrency"), Drain: cmd.Duration("drain"),
			Description: cmd.String("description"), Labels: cmd.StringMap("label"),
			Path: dir, Spawner: cmd.String("spawner"), AllowStop: cmd.Bool("allow_stop"),
		}
		if every := cmd.Duration("worker_interval"); every > 0 {
			cfg.TickInterval, cfg.OnTick = every, x.tick
		}
		w, err := bus.NewWorker(pool, cfg)
		if err != nil {
			return usage("%s", plainly(err))
		}
		x.id, x.log = w.ID(), slog.New(w.LogHandler(t.logger().Handler(), slog.LevelInfo))
		bus.HandleAny(w, x.call)
		if root != nil {
			bus.Files(w, root)
		}
		return t.serve(ctx, w.Run, []<-chan struct{}{w.Ready()}, w.ID())
	})
}

// serve calls run until ctx ends, and prints name once all of ready are closed.
func (t *tool) serve(ctx context.Context, run func(context.Context) error, ready []<-chan struct{}, name string) error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	for _, r := range ready {
		select {
		case err := <-ended:
			return err
		case <-r:
		}
	}
	if t.json {
		if err := t.emit(map[string]string{"ready": name}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(t.out, name, "is ready")
	}
	return <-ended
}

// executor runs a command for each call.
type executor struct {
	command, dir, id string
	name             string // the beginning of the command, for messages
	text             bool
	halt             context.Context // of the process: Ctrl-C ends running commands
	log              *slog.Logger
}

func (x *executor) call(ctx context.Context, method string, args bus.Body) (bus.Body, error) {
	begun := time.Now()
	result, said, err := x.answer(ctx, method, args)
	x.tell(method, begun, said, err)
	return result, err
}

// tell logs how a run of the command ended. Said is what it printed on stderr.
func (x *executor) tell(method string, begun time.Time, said string, err error) {
	if err != nil {
		x.log.Info("failed", "method", method, "took", short(time.Since(begun)), "error", err)
		return
	}
	x.log.Info("done", "method", method, "took", short(time.Since(begun)), "stderr", said)
}

func (x *executor) answer(ctx context.Context, method string, args bus.Body) (result bus.Body, said string, err error) {
	input, err := toJSON(args)
	if err != nil {
		return result, "", fmt.Errorf("the arguments: %w", err)
	}
	if len(args.Data) == 0 {
		input = nil
	}
	out, said, err := x.run(ctx, method, input)
	if err != nil {
		return result, said, err
	}
	if x.text {
		if out, err = storage.JSON.Marshal(string(trimNewline(out))); err != nil {
			return result, said, err
		}
	}
	var v any
	if err := storage.JSON.Unmarshal(out, &v); err != nil {
		return result, said, fmt.Errorf("%q printed %q, which is not JSON: is --text missing?", x.name, clip(out, 80))
	}
	if args.Codec == storage.JSON {
		return bus.Body{Codec: storage.JSON, Data: out}, said, nil
	}
	data, err := args.Codec.Marshal(v) // as the caller encodes
	return bus.Body{Codec: args.Codec, Data: data}, said, err
}

func (x *executor) tick(ctx context.Context) {
	begun := time.Now()
	_, said, err := x.run(ctx, tickMethod, nil)
	x.tell(tickMethod, begun, said, err)
	if err != nil && ctx.Err() == nil {
		x.log.Warn("tick failed", "error", err)
	}
}

// run runs the command until ctx ends or Ctrl-C is pressed, and returns what it
// printed on stdout and stderr.
func (x *executor) run(ctx context.Context, method string, input []byte) (printed []byte, said string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(x.halt, func() {
		if errors.Is(context.Cause(x.halt), signalled{os.Interrupt}) {
			cancel()
		}
	})()
	cmd := shell(ctx, x.command)
	cmd.Dir = x.dir
	cmd.Env = append(os.Environ(), "HELIO_METHOD="+method, "HELIO_WORKER="+x.id)
	out, errs := &limited{most: maxArguments}, &limited{most: 4 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = reader(input), out, errs
	err = cmd.Run()
	late := errors.Is(err, exec.ErrWaitDelay)
	if err != nil && ctx.Err() != nil || late {
		killRest(cmd)
	}
	said = oneLine(string(trimNewline(errs.data)))
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%q was ended: its caller is gone, or the worker stops", x.name)
	case late:
		err = fmt.Errorf("%q has ended, but a process that it started still holds its output: redirect that to /dev/null", x.name)
	case err != nil && said != "":
		err = fmt.Errorf("%w: %s", err, said)
	case out.over:
		err = fmt.Errorf("%q printed more than %d bytes", x.name, maxArguments)
	}
	return out.data, said, err
}

// limited keeps the beginning of what is written to it.
type limited struct {
	most int
	data []byte
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := min(len(p), l.most-len(l.data))
	l.data = append(l.data, p[:room]...)
	l.over = l.over || room < len(p)
	return len(p), nil
}

// reader returns the stdin of a command: for nil, /dev/null.
func reader(input []byte) io.Reader {
	if input == nil {
		return nil
	}
	return bytes.NewReader(input)
}

func trimNewline(text []byte) []byte { return bytes.TrimRight(text, "\r\n") }

// clip returns the beginning of a text.
func clip(text []byte, most int) string {
	if text = bytes.TrimSpace(text); len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
