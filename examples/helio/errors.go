package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// The exit statuses, which the README documents.
const (
	exitOK          = 0
	exitFailed      = 1 // a worker, dispatcher or Redis object refused or failed
	exitUsage       = 2
	exitNotFound    = 3 // no worker, dispatcher, service, keyword, job, member or log of that name
	exitLate        = 4 // no answer in time
	exitRedis       = 5 // Redis is unreachable, or refuses the user
	exitInterrupted = 130
)

// failure is an error with an exit status. Its text is empty if it was printed before.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

func usage(format string, args ...any) error { return fail(exitUsage, format, args...) }

// reported is the error of a command that has printed its errors already.
func reported(status int) error { return &failure{status: status} }

// untilCtrlC returns the error of a command that runs until Ctrl-C: none if that
// ended it.
func untilCtrlC(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// explain returns the exit status and the text for an error.
func explain(ctx context.Context, err error) *failure {
	if f := new(failure); errors.As(err, &f) {
		return f
	}
	if ctx.Err() != nil {
		return &failure{exitInterrupted, "interrupted"}
	}
	if coder := cli.ExitCoder(nil); errors.As(err, &coder) { // helio help nonsense
		return &failure{exitUsage, err.Error()}
	}
	if remote := new(bus.Error); errors.As(err, &remote) {
		return &failure{exitFailed, remoteText(remote)}
	}
	if refused := new(keywords.Error); errors.As(err, &refused) {
		return &failure{refusedStatus(refused), plainly(refused)}
	}
	switch text := plainly(err); {
	case errors.Is(err, bus.ErrNoWorkers), errors.Is(err, keywords.ErrNoDispatcher):
		return &failure{exitNotFound, text}
	case errors.Is(err, keywords.ErrNoValue), errors.Is(err, jobs.ErrNotFound):
		return &failure{exitNotFound, text}
	case errors.Is(err, jobs.ErrInvalid):
		return &failure{exitUsage, text}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{exitLate, "no answer in time: " + text}
	case isRedis(err):
		return &failure{exitRedis, text}
	default:
		return &failure{exitFailed, text}
	}
}

// plainly returns the text of an error without the name of a package before it.
func plainly(err error) string {
	text := err.Error()
	for _, name := range []string{"bus: ", "jobs: ", "keywords: ", "pubsub: ", "storage: ", "gateway: "} {
		text = strings.TrimPrefix(text, name)
	}
	return text
}

func refusedStatus(err *keywords.Error) int {
	if err.Code == keywords.CodeUnknownService || err.Code == keywords.CodeUnknownKeyword {
		return exitNotFound
	}
	return exitFailed
}

// isRedis reports whether Redis is unreachable or has refused a command.
func isRedis(err error) bool {
	var reply redis.Error
	var op *net.OpError
	return errors.As(err, &op) || errors.As(err, &reply) || errors.Is(err, storage.ErrIndeterminate) || errors.Is(err, storage.ErrClosed)
}

// unreachable returns the error for a Redis that can't be used, with what to do about
// it.
func unreachable(where string, err error) error {
	var dns *net.DNSError
	switch text := err.Error(); {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"):
		return fail(exitRedis, "Redis at %s refuses the password: put the right one in --url redis://user:password@host:port, or REDIS_URL", where)
	case strings.Contains(text, "NOAUTH"):
		return fail(exitRedis, "Redis at %s requires a password: put it in --url redis://user:password@host:port, or REDIS_URL", where)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return fail(exitRedis, "no Redis at %s: start one there, say where it is with --url or --hostname and --port, or try helio --embedded", where)
	case errors.As(err, &dns):
		return fail(exitRedis, "no host %q: say where Redis is with --url or --hostname", dns.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(exitRedis, "Redis at %s does not answer: say where it is with --url, or wait longer with --connect_timeout", where)
	default:
		return fail(exitRedis, "Redis at %s: %v", where, err)
	}
}

// remoteText returns a worker's error as text.
func remoteText(err *bus.Error) string {
	if err.Text == "" {
		return fmt.Sprintf("%s: %s", err.Worker, err.Code)
	}
	return fmt.Sprintf("%s: %s: %s", err.Worker, err.Code, clip([]byte(err.Text), 4<<10))
}

// oneLine returns a text with "; " in place of line breaks.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

// some lists at most eight names, and the number of the others.
func some(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
