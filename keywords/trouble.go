package keywords

import "sync/atomic"

// lastError holds the reason why something waits for Redis, for the error that ends
// the wait.
type lastError struct{ err atomic.Pointer[error] }

// set notes the reason. Nil removes it.
func (l *lastError) set(err error) {
	if err == nil {
		l.err.Store(nil)
		return
	}
	l.err.Store(&err)
}

// get returns the reason, or nil.
func (l *lastError) get() error {
	if err := l.err.Load(); err != nil {
		return *err
	}
	return nil
}
