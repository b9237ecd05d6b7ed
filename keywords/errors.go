package keywords

import (
	"errors"
	"fmt"

	"github.com/heliograph/heliograph/keywords/internal/expr"
)

var (
	// ErrNoDispatcher is the error of a modify or refresh while no dispatcher of the
	// keyword lives. It was not carried out.
	ErrNoDispatcher = errors.New("keywords: no dispatcher")
	// ErrIndeterminate is the error of a modify whose dispatcher died or whose
	// answer was lost. It may have been carried out.
	ErrIndeterminate = errors.New("keywords: indeterminate: it may have been carried out")
	// ErrNotificationsUnavailable says that external writes go unnoticed, because Redis
	// sends no keyspace notifications and does not let the dispatcher enable them. See
	// [Dispatcher.Notifications].
	ErrNotificationsUnavailable = errors.New("keywords: keyspace notifications are unavailable")
	// ErrExpression is the error of [WaitForExpr] for an expression that can't be parsed,
	// or compares values that can't be compared. Its text says where.
	ErrExpression = expr.Err
	// ErrClosed is the error of calls after Client.Close, the Close of the pool, or
	// the end of Dispatcher.Run.
	ErrClosed = errors.New("keywords: client or dispatcher is closed")
)

// Code says why a value or request was refused. A Code is an error, so that
// errors.Is(err, keywords.CodeRange) reports whether err has it.
type Code string

// The codes of this package. A refused request has changed no value.
const (
	CodeMalformed      Code = "malformed"       // the text can't be read as a value of the keyword's kind
	CodeRange          Code = "range"           // below Min, above Max, too long, or with a wrong number of elements
	CodeEnumerator     Code = "enumerator"      // no enumerator or bit of that name or number
	CodeReadOnly       Code = "read_only"       // the keyword can't be modified
	CodeWriteOnly      Code = "write_only"      // the keyword can't be read
	CodeUnknownKeyword Code = "unknown_keyword" // the service has no such keyword
	CodeUnknownService Code = "unknown_service" // no keyword of that service was ever defined
	CodeKind           Code = "kind"            // the dispatcher defines it as another kind than this program
	CodeRevision       Code = "revision"        // the keyword no longer has the revision of ModifyOptions.IfRevision
	CodeFenced         Code = "fenced"          // the dispatcher has lost its lease to another one
	CodeRejected       Code = "rejected"        // a hook returned an error
	CodeNotAllowed     Code = "not_allowed"     // DispatcherConfig.Allow returned an error
	CodeBusy           Code = "busy"            // the keyword moves already, or DispatcherConfig.MaxMoves moves run
	CodeOvertaken      Code = "overtaken"       // a later ModifyAsync of the client was carried out before; this one is not
	CodeAborted        Code = "aborted"         // the move was aborted, and the hardware is where that has left it
)

// Error returns the code.
func (c Code) Error() string { return string(c) }

// Error is a refusal, most often by a dispatcher. It says of which keyword and why.
type Error struct {
	Code    Code   `json:"code"`
	Text    string `json:"text,omitempty"` // for people
	Service string `json:"service,omitempty"`
	Keyword string `json:"keyword,omitempty"` // empty: the error is about the service
}

// Error returns "keywords: stage.SPEED: range: 25 is above 20".
func (e *Error) Error() string {
	s := "keywords: "
	switch {
	case e.Keyword != "":
		s += e.Service + "." + e.Keyword + ": "
	case e.Service != "":
		s += e.Service + ": "
	}
	s += string(e.Code)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Is reports whether target is the error's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// FieldError says which field of a [Spec] or [Definition] is wrong, and why.
type FieldError struct{ Field, Text string }

// Error returns "Max: 1 is below Min, 2".
func (e *FieldError) Error() string { return e.Field + ": " + e.Text }

func badField(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}
