package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"
)

// Code identifies an error that a client is told. README.md lists what each means.
type Code string

const (
	CodeBadCommand  Code = "bad_command" // no such command, or wrong arguments
	CodeBadName     Code = "bad_name"    // not a name of a channel or key
	CodeForbidden   Code = "forbidden"   // not allowed, whether or not it exists
	CodeNotAHash    Code = "not_a_hash"  // the key holds another type
	CodeTooLarge    Code = "too_large"   // above Limits.Fields or Bytes
	CodeTooMany     Code = "too_many"    // above Limits.Channels
	CodeTooFast     Code = "too_fast"    // above Limits.Commands
	CodeUnavailable Code = "unavailable" // Redis does not answer
	CodeCancelled   Code = "cancelled"   // by CANCEL
	CodeInternal    Code = "internal"    // anything else, which is logged
)

// Error is an error that is sent to the client. If a [Command] returns another error,
// that is logged, and the client gets CodeInternal.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return "gateway: " + string(e.Code) + ": " + e.Text }

// Errorf returns an *Error. Its text is sent to the client.
func Errorf(code Code, format string, args ...any) error {
	return errorf(code, format, args...)
}

func errorf(code Code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// statuses are the HTTP statuses of errors; that of the others is 400.
var statuses = map[Code]int{
	CodeForbidden: http.StatusForbidden, CodeTooFast: http.StatusTooManyRequests,
	CodeUnavailable: http.StatusServiceUnavailable, CodeInternal: http.StatusInternalServerError,
}

// status returns the HTTP status of an error.
func (e *Error) status() int {
	if status := statuses[e.Code]; status != 0 {
		return status
	}
	return http.StatusBadRequest
}

// line returns the body of a response with the status.
func (e *Error) line() string { return string(e.Code) + ": " + e.Text }

// ErrForbidden is returned by Config.Authenticate for status 403 instead of 401.
var ErrForbidden = errors.New("gateway: forbidden")

// ErrClosed is returned for a connection or a handler that has ended.
var ErrClosed = errors.New("gateway: closed")

// CloseCode says why a connection was closed. README.md lists what a client should do
// on each.
type CloseCode uint16

const (
	CloseNormal       CloseCode = 1000 // only from clients
	CloseGoingAway    CloseCode = 1001 // Handler.Close cut the connection off; not sent
	CloseProtocol     CloseCode = 1002 // the client violated the WebSocket protocol
	CloseAbnormal     CloseCode = 1006 // the connection was lost without a close frame; not sent
	CloseNotUTF8      CloseCode = 1007 // text that is not UTF-8
	CloseRefused      CloseCode = 1008 // a hook returned an error
	CloseTooLong      CloseCode = 1009 // above Limits.Message
	CloseInternal     CloseCode = 1011 // a panic in code of the host
	CloseRestart      CloseCode = 1012 // Handler.Shutdown
	CloseTryAgain     CloseCode = 1013 // Redis is unreachable
	CloseIdle         CloseCode = 4000 // Limits.Idle
	CloseExpired      CloseCode = 4001 // Principal.Expires
	CloseLifetime     CloseCode = 4002 // Limits.Lifetime
	CloseSlow         CloseCode = 4008 // SlowDisconnect, or Limits.Write
	CloseTooFast      CloseCode = 4029 // Limits.CommandExcess
	CloseDisconnected CloseCode = 4500 // Handler.Disconnect; clients should not reconnect
)

// sendable reports whether RFC 6455 allows a code in a close frame.
func (code CloseCode) sendable() bool {
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006) || code >= 3000 && code <= 4999
}

// final reports whether a client should not simply connect again after a code.
func (code CloseCode) final() bool {
	return !slices.Contains([]CloseCode{CloseGoingAway, CloseAbnormal, CloseInternal, CloseRestart, CloseTryAgain, CloseLifetime, CloseSlow}, code)
}

// frame returns the close frame. A code that may not be sent is left out, and its text with
// it.
func (r CloseReason) frame() []byte {
	var body []byte
	if r.Code.sendable() {
		text := strings.ToValidUTF8(r.Text[:min(len(r.Text), ws.MaxControlFramePayloadSize-2)], "")
		body = ws.NewCloseFrameBody(ws.StatusCode(r.Code), text)
	}
	return ws.MustCompileFrame(ws.NewCloseFrame(body))
}
