package redisio

import "strings"

// Wrap returns an error that says what was done when err came, such as
// "bus: call add" for the error "bus: no workers": "bus: call add: no workers".
// The name of the package, with which both texts begin, stands once. It unwraps
// to err.
func Wrap(what string, err error) error {
	pkg, _, _ := strings.Cut(what, ": ")
	return &wrapped{text: what + ": " + strings.TrimPrefix(err.Error(), pkg+": "), err: err}
}

type wrapped struct {
	text string
	err  error
}

func (e *wrapped) Error() string { return e.text }

func (e *wrapped) Unwrap() error { return e.err }
