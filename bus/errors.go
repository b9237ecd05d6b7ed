package bus

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

var (
	// ErrNoWorkers is the error of a call for which no worker is alive. It was not run.
	ErrNoWorkers = errors.New("bus: no workers")
	// ErrWorkerLost is the error of a call whose worker died. It may have been run.
	ErrWorkerLost = errors.New("bus: worker lost")
	// ErrQueueFull is the error of a call that was not run because too many calls
	// wait: ClientConfig.MaxQueue or MaxQueueBytes in the queue, MaxPending or
	// MaxPendingBytes in this client, storage.Config.MaxQueued in the pool, or HandleOptions.MaxOverflow at
	// the method (then an *Error with CodeQueueFull matches it, too).
	ErrQueueFull = errors.New("bus: queue full")
	// ErrStreamBroken is the error of a stream that lost items on their way. The items
	// before them were yielded in order.
	ErrStreamBroken = errors.New("bus: stream broken: items were lost")
	// ErrBreakerOpen is the error of a call that was not sent because earlier calls to
	// the same address were not answered; see [Breaker].
	ErrBreakerOpen = errors.New("bus: circuit breaker is open")
	// ErrTooLarge is the error of a call whose arguments exceed ClientConfig.MaxMessage.
	ErrTooLarge = errors.New("bus: message too large")
	// ErrClosed is the error of a call by a client that was closed, or whose pool was.
	ErrClosed = errors.New("bus: client is closed")
)

// Code is the kind of an error that a worker answered. A Code is an error, so that
// errors.Is(err, bus.CodeFailed) works, and a handler may return a Code of its own,
// with or without a text (see [Errorf]):
//
//	const Shy bus.Code = "shy"
type Code string

// The codes of this package. If a handler returns one of the first nine, or an error
// with one of them that it got from another worker, its caller gets CodeFailed: these
// codes say what became of the caller's own call.
const (
	CodeUnknownMethod Code = "unknown_method" // the worker has no such method
	CodeBadArguments  Code = "bad_arguments"  // the arguments could not be decoded or were too large; the handler was not run
	CodeFailed        Code = "failed"         // the handler returned an error
	CodePanic         Code = "panic"          // the handler panicked; the worker's log has the stack
	CodeBadResult     Code = "bad_result"     // the result could not be encoded, or was too large
	CodeQueueFull     Code = "queue_full"     // too many calls wait for their turn at the method's limit; the handler was not run
	CodeStopped       Code = "stopped"        // the worker stopped before the handler was begun or had ended
	CodeMalformed     Code = "malformed"      // the request could not be decoded; the worker may be older than the client
	CodePurged        Code = "purged"         // Client.Purge has removed the call from its queue; the handler was not run
	CodeNotAllowed    Code = "not_allowed"    // Stop without WorkerConfig.AllowStop; a path outside the root of Files
	CodeNotFound      Code = "not_found"      // no such file in Files
)

func (c Code) Error() string { return string(c) }

func (c Code) reserved() bool {
	switch c {
	case CodeUnknownMethod, CodeBadArguments, CodeFailed, CodePanic, CodeBadResult,
		CodeQueueFull, CodeStopped, CodeMalformed, CodePurged, "":
		return true
	}
	return false
}

// Error is an error that a worker answered instead of a result.
type Error struct {
	Code   Code   `json:"code"`
	Text   string `json:"text"`
	Method string `json:"method"`
	Worker string `json:"worker"` // its id
}

func (e *Error) Error() string {
	s := "bus: " + e.Method + ": " + string(e.Code)
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Worker != "" {
		s += " (" + e.Worker + ")"
	}
	return s
}

// Is matches the error's Code, and [ErrQueueFull] if that is CodeQueueFull.
func (e *Error) Is(target error) bool {
	if target == ErrQueueFull {
		return e.Code == CodeQueueFull
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Errorf returns an error for a handler to return: the caller gets an [*Error]
// with this code and text.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// failure returns the code and text that answer an error of a handler.
func failure(err error) (Code, string) {
	var code Code
	var coded *Error
	if errors.As(err, &coded) && !coded.Code.reserved() {
		if err == error(coded) {
			return coded.Code, coded.Text
		}
		return coded.Code, err.Error()
	}
	if errors.As(err, &code) && !code.reserved() {
		if err == error(code) {
			return code, ""
		}
		return code, err.Error()
	}
	return CodeFailed, err.Error()
}

// local returns the error of this package for one of package storage about a command
// that was not carried out.
func local(err error) error {
	switch {
	case errors.Is(err, storage.ErrQueueFull):
		return fmt.Errorf("%w: %w", ErrQueueFull, err)
	case errors.Is(err, storage.ErrClosed), errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
