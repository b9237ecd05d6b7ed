package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) callCommand() *cli.Command {
	return &cli.Command{
		Name: "call", Usage: "call a method of one worker, or of many", ArgsUsage: "[TARGET] METHOD", Category: "calls and workers",
		Description: example(targetHelp+"\nA type calls one of its workers, and with --broadcast all; a pattern calls all that match. Prints the reply\n"+
			"of one worker, each item of a stream, and of many workers each reply with its worker. The argument is JSON,\n"+
			"from --jsondata, --data, or stdin if it is a pipe or a file.",
			"helio call calc add --jsondata '[1,2]'", "helio call calc reload --broadcast", "helio call log tail --data app.log --follow"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "jsondata", Usage: "`JSON` as the argument; - reads it from stdin"},
			&cli.StringFlag{Name: "data", Usage: "`TEXT` as the argument; - reads it from stdin"},
			&secondsFlag{Name: "wait", Value: time.Second, Usage: "how long to wait for the replies"},
			&cli.BoolFlag{Name: "follow", Usage: "print a stream until it ends, not for --wait"},
		}, targetFlags()...),
		Action: t.call,
	}
}

func (t *tool) call(ctx context.Context, cmd *cli.Command) error {
	args, err := arguments(cmd, "[TARGET]", "METHOD")
	if err != nil {
		return err
	}
	method := args[len(args)-1]
	if err := checkName("METHOD", method); err != nil {
		return err
	}
	to, err := targetOf(cmd, args[:len(args)-1]...)
	switch {
	case err != nil:
		return err
	case to.none:
		return usage("no target: helio call TARGET %s, with a worker type, an id or a pattern; --broadcast calls all workers", method)
	case to.several && cmd.Bool("follow"):
		return usage("--follow goes with one worker: a type or an id")
	}
	body, err := t.callBody(ctx, cmd)
	if err != nil {
		return err
	}
	wait := cmd.Duration("wait")
	return t.withBus(ctx, cmd, bus.ClientConfig{Timeout: wait, MaxMessage: maxArguments}, func(s session) error {
		c := caller{session: s, to: to, method: method, body: body, wait: wait}
		if to.several {
			return c.gather(ctx)
		}
		return c.one(ctx, cmd.Bool("follow"))
	})
}

// maxArguments is the size of the arguments, in bytes, that a worker accepts by
// default.
const maxArguments = 1 << 20

// callBody returns the arguments of a call, in JSON: a worker decodes that into any
// type, and replies may have any shape. --data is a JSON string.
func (t *tool) callBody(ctx context.Context, cmd *cli.Command) (bus.Body, error) {
	body := bus.Body{Codec: storage.JSON}
	switch {
	case cmd.IsSet("data") && cmd.IsSet("jsondata"):
		return body, usage("--data or --jsondata: not both")
	case cmd.IsSet("data"):
		text := cmd.String("data")
		if text == "-" {
			read, err := t.readAll(ctx, 0)
			if err != nil {
				return body, err
			}
			text = string(read)
		}
		data, err := storage.JSON.Marshal(text)
		body.Data = data
		return body, err
	}
	flag, data := "--jsondata", []byte(cmd.String("jsondata"))
	var err error
	switch {
	case string(data) == "-":
		data, err = t.readAll(ctx, 0)
	case !cmd.IsSet("jsondata") && t.piped():
		flag = "stdin"
		data, err = t.readAll(ctx, cmd.Duration("wait"))
	}
	if err != nil {
		return body, err
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		if cmd.IsSet("jsondata") && flag == "--jsondata" {
			return body, usage("--jsondata is empty: want one value, such as '[1,2]' or '{\"a\":1}'")
		}
		return body, nil
	}
	body.Data = data
	return body, checkJSON(flag, data)
}

// checkJSON returns what is wrong with a JSON text. Whether its numbers fit is for the
// worker to decide.
func checkJSON(flag string, data []byte) error {
	var text json.RawMessage
	err := json.Unmarshal(data, &text) // its error has a position
	if err == nil {
		var v any
		err = storage.JSON.Unmarshal(data, &v) // stricter
	}
	if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
		err = fmt.Errorf("%w at byte %d", err, syntax.Offset)
	}
	if err != nil {
		return usage("%s is not JSON: %v: want one value, such as '[1,2]' or '{\"a\":1}'", flag, err)
	}
	return nil
}

// piped reports whether stdin is a pipe or a file.
func (t *tool) piped() bool {
	f, ok := t.in.(*os.File)
	if !ok {
		return t.in != nil
	}
	info, err := f.Stat()
	return err == nil && (info.Mode()&os.ModeNamedPipe != 0 || info.Mode().IsRegular())
}

// readAll reads stdin, up to maxArguments. With patience above 0 it gives up when stdin
// has not ended by then: the caller may not have meant to use it.
func (t *tool) readAll(ctx context.Context, patience time.Duration) ([]byte, error) {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() { // ends with stdin, or the process
		data, err := io.ReadAll(io.LimitReader(t.in, maxArguments+1))
		read <- result{data, err}
	}()
	select {
	case r := <-read:
		switch {
		case r.err != nil:
			return nil, usage("stdin: %v", r.err)
		case len(r.data) > maxArguments:
			return nil, usage("stdin: more than %d bytes of arguments", maxArguments)
		}
		return r.data, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, usage("stdin has not ended within %s: --jsondata - waits for its end, </dev/null calls without arguments", short(patience))
		}
		return nil, ctx.Err()
	}
}

// caller is a call to be made.
type caller struct {
	session
	to     target
	method string
	body   bus.Body
	wait   time.Duration
}

// one calls one worker.
func (c caller) one(ctx context.Context, follow bool) error {
	waiting, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	p := c.begin("waiting for " + c.to.text)
	reply, err := bus.CallRaw(waiting, c.bus, c.to.one, c.method, c.body)
	p.end()
	switch {
	case err == nil:
		return c.printBody(reply)
	case !c.isStream(waiting, err):
		return c.why(ctx, err)
	case follow:
		return untilCtrlC(ctx, c.why(ctx, c.stream(ctx)))
	}
	// Cancelled, with no deadline: the handler would learn the deadline and might end
	// the stream before it.
	some, enough := context.WithCancel(ctx)
	defer enough()
	defer time.AfterFunc(c.wait, enough).Stop()
	err = c.stream(some)
	if ctx.Err() == nil && some.Err() != nil {
		return fail(exitLate, "the stream goes on after %s: --follow prints it until it ends", short(c.wait))
	}
	return c.why(ctx, err)
}

func (c caller) stream(ctx context.Context) error {
	for item, err := range bus.StreamRaw(ctx, c.bus, c.to.one, c.method, c.body) {
		if err == nil {
			err = c.printBody(item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isStream reports whether a call failed because the method is a stream: its worker
// has no plain method of that name.
func (c caller) isStream(ctx context.Context, err error) bool {
	for _, m := range c.methods(ctx, err) {
		if m.Name == c.method && m.Stream {
			return true
		}
	}
	return false
}

// methods asks a worker that did not know the method for its methods.
func (c caller) methods(ctx context.Context, err error) []bus.MethodInfo {
	remote := new(bus.Error)
	if !errors.As(err, &remote) || remote.Code != bus.CodeUnknownMethod {
		return nil
	}
	details, err := bus.Call(ctx, c.bus, bus.Direct(remote.Worker), bus.Info, struct{}{})
	if err != nil {
		return nil
	}
	return details.Methods
}

// why explains an error of the call, and says what can be done about it.
func (c caller) why(ctx context.Context, err error) error {
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	remote := new(bus.Error)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, bus.ErrNoWorkers):
		return c.noWorkers(ask, c.to)
	case errors.Is(err, bus.ErrWorkerLost):
		return fail(exitFailed, "the worker died while it held the call: it may have been carried out")
	case errors.Is(err, context.DeadlineExceeded) && c.to.several:
		return fail(exitLate, "no reply within %s: wait longer with --wait", short(c.wait))
	case errors.Is(err, context.DeadlineExceeded):
		return fail(exitLate, "no reply from %s within %s: wait longer with --wait", c.to.text, short(c.wait))
	case errors.Is(err, bus.CodeNotAllowed) && c.method == bus.Stop.Name():
		return fail(exitFailed, "it does not allow stop: it needs helio worker --allow_stop, or WorkerConfig.AllowStop")
	case errors.As(err, &remote) && remote.Code == bus.CodeUnknownMethod:
		return fail(exitFailed, "%s", c.noMethod(c.methods(ask, err), remote))
	}
	return err
}

func (c caller) noMethod(methods []bus.MethodInfo, remote *bus.Error) string {
	var names []string
	for _, m := range methods {
		if m.Name == c.method && m.Stream {
			return fmt.Sprintf("%s: method %q is a stream: call it of one worker, by its type or id", remote.Worker, c.method)
		}
		names = append(names, m.Name)
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s has no method %q", remote.Worker, c.method)
	}
	return fmt.Sprintf("%s has no method %q: it has %s", remote.Worker, c.method, some(names))
}

// gather calls all of an audience.
func (c caller) gather(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	return gathered(ctx, c, bus.GatherRaw(waiting, c.bus, c.to.all, c.method, c.body), func(from bus.WorkerInfo, body bus.Body) error {
		value, err := toJSON(body)
		switch {
		case err != nil:
			return err
		case c.json:
			return c.emit(map[string]any{"worker": from.ID, "value": value})
		}
		_, err = fmt.Fprintf(c.out, "%s  %s\n", from.ID, plain(c.text(value)))
		return err
	})
}

// gathered prints replies, and the errors of workers that have none. It returns the
// worst exit status of these.
func gathered[R any](ctx context.Context, c caller, replies iter.Seq2[bus.Reply[R], error], print func(from bus.WorkerInfo, value R) error) error {
	status, n := exitOK, 0
	p := c.begin("waiting for replies")
	defer p.end()
	for r, err := range replies {
		p.clear()
		switch {
		case err != nil && (r.From.ID == "" || ctx.Err() != nil):
			return err
		case err != nil:
			f := explain(ctx, c.why(ctx, err))
			status = max(status, f.status)
			if c.json {
				err = c.emit(map[string]any{"worker": r.From.ID, "error": f.text})
			} else {
				_, err = fmt.Fprintf(c.err, "%s  %s\n", r.From.ID, dressOf(c.err, c.getenv).red(oneLine(withoutID(f.text, r.From.ID))))
			}
		default:
			err = print(r.From, r.Value)
		}
		if err != nil {
			return err
		}
		n++
		p.say("%d replied, waiting for more", n)
	}
	if n == 0 {
		return c.noWorkers(ctx, c.to)
	}
	if status != exitOK {
		return reported(status)
	}
	return nil
}

// withoutID removes the id from the start of a text that is printed after it.
func withoutID(text, id string) string {
	return strings.TrimPrefix(strings.TrimPrefix(text, id), ": ")
}

// printBody prints the value of a reply.
func (t *tool) printBody(body bus.Body) error {
	value, err := toJSON(body)
	if err != nil {
		return err
	}
	return t.printValue(value)
}
