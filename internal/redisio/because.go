package redisio

import "errors"

// Because returns end, the error of a context that ended a wait, with the reason
// for the wait in its text:
//
//	context deadline exceeded (dial tcp 127.0.0.1:6379: connect: connection refused)
//
// [errors.Is] and [errors.As] see end alone. Without a reason, or where end is nil,
// Because returns end. A writer's reason is [Writer.Trouble].
func Because(end, reason error) error {
	if end == nil || reason == nil || end == reason {
		return end
	}
	if told, ok := reason.(becauseError); ok {
		reason = told.reason
	}
	return becauseError{end, reason}
}

// Reason returns the reason that [Because] gave an error in err's chain, or nil.
func Reason(err error) error {
	if told, ok := errors.AsType[becauseError](err); ok {
		return told.reason
	}
	return nil
}

type becauseError struct{ end, reason error }

func (e becauseError) Error() string { return e.end.Error() + " (" + e.reason.Error() + ")" }
func (e becauseError) Unwrap() error { return e.end }
