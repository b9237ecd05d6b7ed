package keywords

import (
	"errors"
	"fmt"
)

var (
	// ErrNoDispatcher is the error of what only a dispatcher can do while none
	// is alive. It was not done.
	ErrNoDispatcher = errors.New("keywords: no dispatcher")
	// ErrIndeterminate is the error of a modify whose dispatcher died or whose
	// answer was lost. It may have been carried out.
	ErrIndeterminate = errors.New("keywords: indeterminate: it may have been carried out")
	// ErrNotificationsUnavailable says that changes made by others than
	// dispatchers go unseen, because Redis does not announce them and may not be
	// told to.
	ErrNotificationsUnavailable = errors.New("keywords: keyspace notifications are unavailable")
	// ErrClosed is the error of a client or dispatcher that was closed.
	ErrClosed = errors.New("keywords: client or dispatcher is closed")
)

// Code says why a value or request was refused. A Code is itself an error, so
// that errors.Is(err, keywords.CodeRange) tells.
type Code string

// The codes of this package. A refused request has changed nothing.
const (
	CodeMalformed      Code = "malformed"       // it can't be read as a value of the keyword's kind
	CodeRange          Code = "range"           // below Min, above Max, too long, or not as many elements as the array has
	CodeEnumerator     Code = "enumerator"      // no enumerator or bit of that name or number
	CodeReadOnly       Code = "read_only"       // the keyword can't be modified
	CodeWriteOnly      Code = "write_only"      // the keyword can't be read
	CodeUnknownKeyword Code = "unknown_keyword" // the service has no such keyword
	CodeUnknownService Code = "unknown_service" // no keyword of that service was ever defined
	CodeRevision       Code = "revision"        // it is no longer at the revision that was asked for
	CodeFenced         Code = "fenced"          // the dispatcher has lost its lease to another
	CodeRejected       Code = "rejected"        // a hook returned an error
	CodeNotAllowed     Code = "not_allowed"     // the writer may not
)

func (c Code) Error() string { return string(c) }

// Error says which keyword refused something, and why.
type Error struct {
	Code    Code
	Text    string // for people; may be empty
	Service string
	Keyword string // empty if the service itself is meant
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

// Is matches the error's Code.
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
