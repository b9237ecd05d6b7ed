package keywords

import (
	"errors"
	"fmt"
)

var (
	// ErrNoDispatcher is the error of what only a dispatcher can do while none
	// is alive. It was not done.
	ErrNoDispatcher = errors.New("no dispatcher")
	// ErrIndeterminate is the error of a modify whose dispatcher died or whose
	// answer was lost. It may have been carried out.
	ErrIndeterminate = errors.New("indeterminate: it may have been carried out")
	// ErrNotificationsUnavailable says that changes made by others than
	// dispatchers go unseen, because Redis does not announce them and may not be
	// told to.
	ErrNotificationsUnavailable = errors.New("keyspace notifications are unavailable")
	// ErrClosed is the error of a client or dispatcher that was closed.
	ErrClosed = errors.New("closed")
)

// Code says why a value or request was refused. A Code is itself an error, so
// that errors.Is(err, keywords.ErrRange) tells.
type Code string

// The codes of this package. A refused request has changed nothing.
const (
	ErrMalformed      Code = "malformed"       // it can't be read as a value of the keyword's kind
	ErrRange          Code = "range"           // below Min, above Max, too long, or not as many elements as the array has
	ErrEnumerator     Code = "enumerator"      // no enumerator or bit of that name or number
	ErrReadOnly       Code = "read_only"       // the keyword can't be modified
	ErrWriteOnly      Code = "write_only"      // the keyword can't be read
	ErrUnknownKeyword Code = "unknown_keyword" // the service has no such keyword
	ErrUnknownService Code = "unknown_service" // nobody ever defined a keyword of that service
	ErrRevision       Code = "revision"        // it is no longer at the revision that was asked for
	ErrFenced         Code = "fenced"          // the dispatcher has lost its lease to another
	ErrRejected       Code = "rejected"        // a hook returned an error
	ErrNotAllowed     Code = "not_allowed"     // the writer may not
)

func (c Code) Error() string { return string(c) }

// Error says which keyword refused something, and why.
type Error struct {
	Code    Code
	Service string
	Keyword string // empty if the service itself is meant
	Text    string // for people; may be empty
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

// fieldError is what is wrong with one field of a Spec or Definition.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.field + ": " + e.text }

func badField(field, format string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(format, args...)}
}
