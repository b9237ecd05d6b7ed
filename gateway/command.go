package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Command is a command that clients can send.
type Command struct {
	// Run carries the command out. It answers by [Conn.Reply]. An *Error that it returns
	// goes to the client; another error is logged. The commands of one connection run
	// one after the other. ctx ends after Limits.Command and with the connection.
	Run func(ctx context.Context, c *Conn, r Request) error

	// Usage names the arguments, for HELP: "key [ref] [client_ref]".
	Usage string

	// Min and Max bound the number of arguments. A Max of -1 is no bound.
	Min, Max int

	// Options are the names of options: name=value.
	Options []string

	// Names are the names of the arguments, in their order, by which clients may give
	// them as name=value as well. An argument named client_ref becomes the Ref of a
	// request without one.
	Names []string

	// Cost is what the command counts in Limits.Commands. Defaults to 1.
	Cost float64

	// Concurrent runs the command on a goroutine of its own, beside the commands that come
	// after it, for one that waits for something else. ctx ends when the client sends CANCEL
	// with the id of the command, and with the connection, but not after Limits.Command. Run
	// must not call Conn.Charge. At most Limits.Running run at a time. It excludes Query.
	Concurrent bool

	// Query lets clients of event streams give the command in the query of the request,
	// by its name in lower case, such as bbox=5+45+11+48. It is for commands that change
	// how the connection follows channels, and nothing else: a GET may be repeated.
	Query bool
}

// newCommands returns the commands of the handler: the built-in ones, and those of
// the host.
func (h *Handler) newCommands() (map[string]Command, error) {
	all := map[string]Command{
		"GET":  {Run: get, Usage: "key [ref] [client_ref]", Min: 1, Max: 3, Names: []string{"channel_name", "ref", "client_ref"}},
		"SUB":  {Run: sub, Usage: "channel [snapshot=1] [since=offset] [rewind=count] [ack=1]", Min: 1, Max: 1, Options: []string{"snapshot", "since", "rewind", "ack"}, Names: []string{"channel_name"}, Query: true},
		"DEL":  {Run: del, Usage: "channel", Min: 1, Max: 1, Names: []string{"channel_name"}},
		"PING": {Run: ping, Max: -1},
		"HELP": {Run: help},
	}
	if h.cfg.ClientPublish {
		all["PUB"] = Command{Run: publish, Usage: "channel json", Min: 2, Max: 2}
	}
	if slices.ContainsFunc(h.cfg.Channels, func(ch Channel) bool { return ch.Presence }) {
		all["WHO"] = Command{Run: who, Usage: "channel [list=1]", Min: 1, Max: 1, Options: []string{"list"}}
	}
	if h.cfg.Refresh != nil {
		all["AUTH"] = Command{Run: auth, Usage: "credentials", Min: 1, Max: 1}
	}
	for name, command := range h.cfg.Commands {
		_, builtin := all[name]
		if command.Run == nil && builtin {
			delete(all, name)
			continue
		}
		if err := command.check(name); err != nil {
			return nil, fmt.Errorf("Config.Commands[%q]%w", name, err)
		}
		if command.Concurrent {
			all["CANCEL"] = Command{Run: cancelCommand, Usage: "id", Min: 1, Max: 1}
		}
		all[name] = command
	}
	return all, nil
}

// check refuses a command of the host that contradicts itself.
func (command Command) check(name string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, notWord):
		return errors.New(": not a word")
	case command.Run == nil:
		return errors.New(".Run: nil, and no built-in command has this name")
	case command.Min < 0:
		return fmt.Errorf(".Min: %d is negative", command.Min)
	case command.Max < -1 || command.Max >= 0 && command.Max < command.Min:
		return fmt.Errorf(".Max: %d is less than Min, %d", command.Max, command.Min)
	case command.Concurrent && command.Query:
		return errors.New(".Concurrent: a command with Query changes how the connection follows channels, in its turn")
	case !(command.Cost >= 0): // NaN neither
		return fmt.Errorf(".Cost: %v is negative", command.Cost)
	}
	seen := make(map[string]bool)
	for _, name := range slices.Concat(command.Names, command.Options) {
		if name == "" || strings.ContainsFunc(name, notWord) || seen[name] {
			return fmt.Errorf(".Names, Options: %q is not a word, or comes twice", name)
		}
		seen[name] = true
	}
	return nil
}

// flag returns an option whose value is 1 or 0.
func (r Request) flag(name string) (bool, error) {
	switch value, ok := r.Options[name]; {
	case !ok, value == "0":
		return false, nil
	case value == "1":
		return true, nil
	}
	return false, Errorf(CodeBadCommand, "%s must be 0 or 1", name)
}

// check refuses arguments and options that the command does not take, and moves arguments
// that were given by name to their places. Arguments left out before them are empty.
func (h *Handler) check(r *Request, command Command) error {
	if n := len(r.Args) + len(r.Options); n > h.cfg.Limits.Args {
		return Errorf(CodeBadCommand, "%d arguments and options; %d are allowed", n, h.cfg.Limits.Args)
	}
	given := len(r.Args)
	for i, name := range command.Names {
		if value, ok := r.Options[name]; ok {
			if i < given {
				return Errorf(CodeBadCommand, "%s is given twice", name)
			}
			r.Args = append(append(r.Args, make([]string, i-len(r.Args))...), value)
			delete(r.Options, name)
		}
		if name == "client_ref" && i < len(r.Args) && r.Args[i] != "" && r.Ref == nil {
			r.Ref = appendString(nil, r.Args[i])
		}
	}
	if len(r.Args) < command.Min || command.Max >= 0 && len(r.Args) > command.Max {
		return Errorf(CodeBadCommand, "usage: %s", strings.TrimSpace(r.Command+" "+command.Usage))
	}
	for name := range r.Options {
		if !slices.Contains(command.Options, name) {
			return Errorf(CodeBadCommand, "no option %s; usage: %s", quoteName(name), strings.TrimSpace(r.Command+" "+command.Usage))
		}
	}
	return nil
}

// handle handles a message of the client, which has been charged.
func (c *Conn) handle(message []byte) {
	defer c.flush()
	if c.h.hooked(func(h *Hooks) bool { return h.Message != nil }) && !c.isSecret(message) {
		var ok bool
		if message, ok = c.applyMessageHooks(message); !ok || message == nil {
			return
		}
	}
	r, err := c.parse(message)
	if errors.Is(err, errPanic) || err == nil && r.Command == "" {
		return
	}
	c.h.count.commands.Add(1)
	if err == nil {
		err = c.run(&r)
	}
	if err != errConcurrent {
		c.conclude(r, err)
	}
}

// conclude tells the client that a request was carried out, or why it was not.
func (c *Conn) conclude(r Request, err error) {
	if err != nil {
		c.sendError(r, err)
		return
	}
	_ = c.answer(&Frame{Kind: KindDone, Ref: r.Ref, Time: time.Now()})
}

// errPanic is returned by parse if the protocol panics, which ends the connection.
var errPanic = errors.New("gateway: Protocol.Parse panicked")

// parse reads a command from a message.
func (c *Conn) parse(message []byte) (r Request, err error) {
	err = errPanic
	c.guard("protocol", func() { r, err = c.v.protocol.Parse(message, c.h.cfg.Limits.Args) })
	return r, err
}

// isSecret reports whether a message is the command AUTH, even if it is wrong: hooks may
// print or broadcast what they see.
func (c *Conn) isSecret(message []byte) bool {
	if !c.h.hasAuth() {
		return false
	}
	r, err := c.parse(message)
	return r.Command == "AUTH" || errors.Is(err, errPanic)
}

// hasAuth reports whether there is a command AUTH.
func (h *Handler) hasAuth() bool {
	_, ok := h.commands["AUTH"]
	return ok
}

// maxRefused is the maximum size of a message that is read although Limits.Commands
// refuses it, so that the error has the client's reference.
const maxRefused = 1 << 10

// refuse answers a message that Limits.Commands refuses. A message that would cost
// something is not read: nil stands for it.
func (c *Conn) refuse(message []byte) {
	defer c.flush()
	var r Request
	if message != nil {
		var err error
		if r, err = c.parse(message); errors.Is(err, errPanic) {
			return
		}
	}
	c.h.count.commands.Add(1)
	c.sendError(r, c.tooFastError())
}

// run carries out a command.
func (c *Conn) run(r *Request) (err error) {
	command, ok := c.h.commands[r.Command]
	if !ok {
		return Errorf(CodeBadCommand, "no command %s; HELP lists the commands", quoteName(r.Command))
	}
	if command.Cost == 0 {
		command.Cost = 1
	}
	if !c.Charge(command.Cost - 1) { // the message has cost 1
		return c.tooFastError()
	}
	if err := c.h.check(r, command); err != nil {
		return err
	}
	if command.Concurrent {
		return c.runConcurrently(command, *r)
	}
	ctx, cancel := context.WithTimeout(c.h.ctx, c.h.cfg.Limits.Command)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
	}()
	c.guard("command "+r.Command, func() { err = command.Run(ctx, c, *r) })
	return err
}

func (c *Conn) tooFastError() error {
	return Errorf(CodeTooFast, "%v commands a second are allowed", c.h.cfg.Limits.Commands)
}

// sendError tells the client why a request was not carried out.
func (c *Conn) sendError(r Request, err error) {
	if errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) && !c.isOpen() { // the connection has ended
		return
	}
	sent := c.errorFor(r, err)
	c.h.count.errors.Add(1)
	if c.h.cfg.NoErrors && c.v.protocol == Text {
		return
	}
	_ = c.answer(&Frame{
		Kind: KindError, Code: sent.Code, Message: sent.Text, Command: quoteName(r.Command), Ref: r.Ref, Time: time.Now(),
	})
}

// errorFor returns the error that the client gets for err. Others are logged.
func (c *Conn) errorFor(r Request, err error) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case unavailable(err):
		c.h.count.unavailable.Add(1)
		c.h.warned.unavailable.Warn(c.h.log, "gateway: Redis does not answer", "command", r.Command, "error", err)
		return &Error{CodeUnavailable, "not available now; try again"}
	}
	c.log().Error("gateway: a command failed", "command", r.Command, "error", err)
	return &Error{CodeInternal, "internal error"}
}

// unavailable reports whether an error says that Redis is unreachable or overloaded.
func unavailable(err error) bool {
	var network net.Error
	for _, is := range []error{
		errUnreachable, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, redis.ErrClosed, redis.ErrPoolTimeout,
		storage.ErrQueueFull, storage.ErrIndeterminate, storage.ErrClosed, pubsub.ErrClosed, pubsub.ErrTooMany,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, &network) || redis.IsLoadingError(err) || redis.IsClusterDownError(err) ||
		redis.IsMasterDownError(err) || redis.IsMaxClientsError(err) || redis.IsTryAgainError(err) || redis.IsReadOnlyError(err)
}

// ping is the command PING.
func ping(_ context.Context, c *Conn, r Request) error { return c.Reply(r, "websocket", "PONG") }

// help is the command HELP.
func help(_ context.Context, c *Conn, r Request) error {
	usage := make(map[string]string)
	for name, command := range c.h.commands {
		usage[name] = strings.TrimSpace(name + " " + command.Usage)
	}
	return c.Reply(r, "websocket", map[string]any{"commands": usage})
}

// auth is the command AUTH.
func auth(ctx context.Context, c *Conn, r Request) error {
	p, err := c.h.cfg.Refresh(ctx, c, r.Args[0])
	if err == nil {
		err = p.checkExpiry()
	}
	if err != nil {
		c.h.warned.refused.Warn(c.log(), "gateway: AUTH was refused", "error", err)
		return Errorf(CodeForbidden, "the credentials are not accepted")
	}
	c.SetPrincipal(ctx, p)
	return c.Reply(r, "websocket", map[string]any{"status": "authenticated"})
}

// What a client causes costs by its size as well, beside the cost of the command.
const (
	valuesPerCost = 100      // values of a hash, or entries of a presence, that cost 1
	readPerCost   = 16 << 10 // bytes read for the client that cost 1
	sentPerCost   = 4 << 10  // bytes sent by the client that cost 1: others may get them, and Limits.CommandBurst of them fit in a queue
)

// sizeCost returns what n bytes cost.
func sizeCost(n, perCost int) float64 { return float64(n / perCost) }

// debit charges a cost that is known only afterwards. The bucket may become negative, but
// by no more than a burst.
func (c *Conn) debit(cost float64) {
	l := &c.h.cfg.Limits
	c.rate.fill(c.h.elapsed(), l.Commands, l.CommandBurst)
	c.rate.tokens = max(c.rate.tokens-cost, -l.CommandBurst)
}

// Charge charges a cost to the client's rate limit, Limits.Commands, and reports whether
// the limit allows it. If not, it charges nothing. Commands whose cost shows while they
// run use it for what exceeds Command.Cost. Only a running command may call it.
func (c *Conn) Charge(cost float64) bool {
	l, now := &c.h.cfg.Limits, c.h.elapsed()
	c.rate.fill(now, l.Commands, l.CommandBurst)
	if c.rate.tokens >= l.CommandBurst/2 { // in a flood some commands still succeed, so success alone ends no excess
		c.fastSince = 0
	}
	if c.rate.take(now, cost, l.Commands, l.CommandBurst) {
		return true
	}
	c.h.count.tooFast.Add(1)
	if c.fastSince == 0 || now-c.lastRefused > int64(l.CommandExcess) {
		c.fastSince = now
	}
	c.lastRefused = now
	if now-c.fastSince > int64(l.CommandExcess) {
		c.Close(CloseTooFast, fmt.Sprintf("more than %v commands a second", l.Commands))
	}
	return false
}
