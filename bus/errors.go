package bus

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

var (
	// ErrNoWorkers is the error of a call that nobody serves. It was not run.
	ErrNoWorkers = errors.New("bus: no workers")
	// ErrWorkerLost is the error of a call that was taken by a worker that is
	// no longer alive. It may have been run.
	ErrWorkerLost = errors.New("bus: worker lost")
	// ErrQueueFull is the error of a call that was not sent because
	// ClientConfig.MaxQueue calls wait in the queue, or ClientConfig.MaxPending
	// in this client, or because the pool's writer is full.
	ErrQueueFull = errors.New("bus: queue full")
	// ErrStreamBroken is the error of a stream of which items were lost on their
	// way. Those before were yielded in order.
	ErrStreamBroken = errors.New("bus: stream broken: items were lost")
	// ErrBreakerOpen is the error of a call that was not sent because the calls
	// before it were not answered; see [Breaker].
	ErrBreakerOpen = errors.New("bus: circuit breaker is open")
	// ErrTooLarge is the error of arguments over ClientConfig.MaxMessage.
	ErrTooLarge = errors.New("bus: message too large")
	// ErrClosed is the error of a client that was closed.
	ErrClosed = errors.New("bus: client is closed")
)

// Code says what kind of error a worker answered. A Code is itself an error, so
// that errors.Is(err, bus.CodeFailed) tells, and a handler may return one of its
// own, with or without a text (see [Errorf]):
//
//	const Shy bus.Code = "shy"
type Code string

// The codes of this package. A handler that returns one of the first eight, or
// an error that it got from another worker with one of them, is answered for
// with CodeFailed: the code is about this call alone.
const (
	CodeUnknownMethod Code = "unknown_method" // the worker has no such method
	CodeBadArguments  Code = "bad_arguments"  // they could not be decoded; the handler was not run
	CodeFailed        Code = "failed"         // the handler returned an error
	CodePanic         Code = "panic"          // the handler panicked; the worker's log has the stack
	CodeBadResult     Code = "bad_result"     // the result could not be encoded, or was too large
	CodeQueueFull     Code = "queue_full"     // too many calls wait for their turn at the method's limit; the handler was not run
	CodeStopped       Code = "stopped"        // the worker stopped before the handler was begun or had ended
	CodeMalformed     Code = "malformed"      // the worker could not understand the request; it may be older than the client
	CodeNotAllowed    Code = "not_allowed"    // Stop of a worker that does not let itself be stopped; a path outside of Files
	CodeNotFound      Code = "not_found"      // no such file
)

func (c Code) Error() string { return string(c) }

func (c Code) reserved() bool {
	switch c {
	case CodeUnknownMethod, CodeBadArguments, CodeFailed, CodePanic, CodeBadResult,
		CodeQueueFull, CodeStopped, CodeMalformed, "":
		return true
	}
	return false
}

// Error is what a worker answered in place of a result.
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

// failure is the code and text that answer an error of a handler.
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

// local translates what storage says of a write that did not happen.
func local(err error) error {
	switch {
	case errors.Is(err, storage.ErrQueueFull):
		return fmt.Errorf("%w: %w", ErrQueueFull, err)
	case errors.Is(err, storage.ErrClosed), errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
