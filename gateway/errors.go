package gateway

import (
	"errors"
	"fmt"
)

// Code is what went wrong, for programs. They are listed in the package's
// documentation.
type Code string

// The codes.
const (
	CodeBadCommand  Code = "bad_command"
	CodeBadName     Code = "bad_name"
	CodeForbidden   Code = "forbidden"
	CodeNotAHash    Code = "not_a_hash"
	CodeTooLarge    Code = "too_large"
	CodeTooMany     Code = "too_many"
	CodeTooFast     Code = "too_fast"
	CodeUnavailable Code = "unavailable"
	CodeInternal    Code = "internal"
)

// Error is an error that a client is told. A [Command] that returns another has
// it logged, and the client told internal.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Text }

// Errorf returns an *Error. What it says goes to the client.
func Errorf(code Code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// ErrForbidden, from Config.Authenticate, is answered by 403 in place of 401.
var ErrForbidden = errors.New("gateway: forbidden")

// ErrClosed is the error of what is asked of a connection or a handler that has
// ended.
var ErrClosed = errors.New("gateway: closed")

// CloseCode is why a connection was closed, as WebSocket tells it. They are listed
// in the package's documentation.
type CloseCode uint16

// The codes that the handler closes with.
const (
	CloseNormal       CloseCode = 1000
	CloseGoingAway    CloseCode = 1001 // never sent: Close takes no time for goodbyes
	CloseProtocol     CloseCode = 1002
	CloseAbnormal     CloseCode = 1006 // never sent: there was no goodbye
	CloseNotUTF8      CloseCode = 1007
	CloseRefused      CloseCode = 1008
	CloseTooLong      CloseCode = 1009
	CloseInternal     CloseCode = 1011
	CloseRestart      CloseCode = 1012
	CloseTryAgain     CloseCode = 1013
	CloseIdle         CloseCode = 4000
	CloseExpired      CloseCode = 4001
	CloseLifetime     CloseCode = 4002
	CloseSlow         CloseCode = 4008
	CloseTooFast      CloseCode = 4029
	CloseDisconnected CloseCode = 4500
)
