package control

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
)

// Config is the configuration of [Commands].
type Config struct {
	// Bus makes calls and streams: CALL, STREAM and WORKERS. Nil: there are no such
	// commands.
	Bus *bus.Client

	// Keywords reads, sets and watches: READ, SET, WATCH, WAIT, SERVICES and DESCRIBE. Nil:
	// there are no such commands.
	Keywords *keywords.Client

	// Jobs submits: SUBMIT and JOB. Nil: there are no such commands.
	Jobs *jobs.Client

	// Allow reports whether a client may do something. It is called by many goroutines at
	// once. Nil: nothing is allowed.
	Allow func(ctx context.Context, c *gateway.Conn, op Operation) bool

	// Timeout bounds commands, except STREAM, WATCH and WAIT without the option timeout. A
	// client may ask for less. Defaults to 30 seconds.
	Timeout time.Duration
}

// Kind is a kind of [Operation].
type Kind string

const (
	Call     Kind = "call"     // CALL of Type and Method
	Stream   Kind = "stream"   // STREAM of Type and Method
	Workers  Kind = "workers"  // WORKERS of Type
	Submit   Kind = "submit"   // SUBMIT to Queue of Method
	Job      Kind = "job"      // JOB of Queue and Method
	Read     Kind = "read"     // READ, WATCH and WAIT of Service and Keyword
	Set      Kind = "set"      // SET of Service and Keyword
	Describe Kind = "describe" // SERVICES, and DESCRIBE of Service
)

// Operation is what a client wants to do. Fields that its Kind does not name are empty.
type Operation struct {
	Kind Kind

	Type   string // of workers
	Worker string // the id of the worker that is asked for; empty: any of the type
	Method string
	Queue  string

	Service string
	Keyword string
}

// Commands returns commands for [gateway.Config].Commands. They are concurrent.
func Commands(cfg Config) map[string]gateway.Command {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	all := make(map[string]gateway.Command)
	add := func(name string, command gateway.Command) {
		command.Concurrent = true
		command.Names = append(command.Names, "client_ref")
		all[name] = command
	}
	if cfg.Bus != nil {
		add("CALL", gateway.Command{Run: cfg.call, Usage: "type method [json] [timeout=ms] [worker=id]", Min: 2, Max: 3, Options: []string{"timeout", "worker"}})
		add("STREAM", gateway.Command{Run: cfg.stream, Usage: "type method [json] [timeout=ms] [worker=id]", Min: 2, Max: 3, Options: []string{"timeout", "worker"}})
		add("WORKERS", gateway.Command{Run: cfg.workers, Usage: "type", Min: 1, Max: 1})
	}
	if cfg.Jobs != nil {
		add("SUBMIT", gateway.Command{Run: cfg.submit, Usage: "queue method [json] [delay=ms] [id=name]", Min: 2, Max: 3, Options: []string{"delay", "id"}})
		add("JOB", gateway.Command{Run: cfg.job, Usage: "id", Min: 1, Max: 1})
	}
	if cfg.Keywords != nil {
		add("READ", gateway.Command{Run: cfg.read, Usage: "service.KEYWORD", Min: 1, Max: 1})
		add("SET", gateway.Command{Run: cfg.set, Usage: "service.KEYWORD value [if=revision] [timeout=ms]", Min: 2, Max: 2, Options: []string{"if", "timeout"}})
		add("WATCH", gateway.Command{Run: cfg.watch, Usage: "service[.KEYWORD]", Min: 1, Max: 1})
		add("WAIT", gateway.Command{Run: cfg.wait, Usage: "expression [timeout=ms]", Min: 1, Max: 1, Options: []string{"timeout"}})
		add("SERVICES", gateway.Command{Run: cfg.services})
		add("DESCRIBE", gateway.Command{Run: cfg.describe, Usage: "service", Min: 1, Max: 1})
	}
	return all
}

// authorize returns an error for what is not allowed.
func (cfg *Config) authorize(ctx context.Context, c *gateway.Conn, op Operation) error {
	if cfg.Allow != nil && cfg.Allow(ctx, c, op) {
		return nil
	}
	return gateway.Errorf(gateway.CodeForbidden, "not allowed, or there is none")
}

// newPrincipal returns a function that reports whether the client has become another
// principal, or the same for a longer time, since it was last called.
func newPrincipal(c *gateway.Conn) func() bool {
	as := c.Principal()
	return func() bool {
		now := c.Principal()
		same := now.Name == as.Name && now.Expires.Equal(as.Expires)
		as = now
		return !same
	}
}

// bounded returns a context that ends after the option timeout of a request, or after
// most if that is less or there is no such option. A most of zero is no bound.
func bounded(ctx context.Context, r gateway.Request, most time.Duration) (context.Context, context.CancelFunc, error) {
	wait, err := milliseconds(r, "timeout")
	if err != nil {
		return nil, nil, err
	}
	if wait == 0 || most > 0 && wait > most {
		wait = most
	}
	if wait == 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	return ctx, cancel, nil
}

// maxWait bounds the options that are times, so that no arithmetic overflows.
const maxWait = 366 * 24 * time.Hour

// milliseconds returns an option that is a time in ms; zero if it is not given.
func milliseconds(r gateway.Request, name string) (time.Duration, error) {
	text, ok := r.Options[name]
	if !ok {
		return 0, nil
	}
	ms, err := strconv.ParseFloat(text, 64)
	wait := ms * float64(time.Millisecond)
	if err != nil || !(wait >= 1) || wait > float64(maxWait) {
		return 0, gateway.Errorf(gateway.CodeBadCommand, "%s must be a positive number of milliseconds", name)
	}
	return time.Duration(wait), nil
}

// argsOf returns the arguments of a method: the third argument of the command, which must
// be JSON, or null.
func argsOf(r gateway.Request) (json.RawMessage, error) {
	if len(r.Args) < 3 {
		return json.RawMessage("null"), nil
	}
	raw := json.RawMessage(r.Args[2])
	if !json.Valid(raw) {
		return nil, gateway.Errorf("bad_arguments", "the arguments are not JSON")
	}
	return raw, nil
}
