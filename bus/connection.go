package bus

import (
	"log/slog"
	"sync"
	"time"
)

// connection knows whether Redis is there, and logs when that changes.
type connection struct {
	log  *slog.Logger
	back func() // called when it is there again

	mu   sync.Mutex
	down time.Time // since when; zero: it is there
	why  error     // why it is down
	up   time.Time // since when, after it was down
}

// lost notes that Redis could not be reached.
func (l *connection) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
	if l.down.IsZero() {
		l.down = time.Now()
		l.log.Warn("bus: lost Redis, trying again", "error", err)
	}
}

// found notes that Redis was reached.
func (l *connection) found() {
	l.mu.Lock()
	news := !l.down.IsZero()
	if news {
		l.log.Info("bus: found Redis again", "after", time.Since(l.down).Round(time.Millisecond))
		l.down, l.up, l.why = time.Time{}, time.Now(), nil
	}
	l.mu.Unlock()
	if news && l.back != nil {
		l.back()
	}
}

// reason returns why Redis can't be reached, nil if it can.
func (l *connection) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// shaken notes that Redis is there, and what it knew is not.
func (l *connection) shaken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = time.Now()
}

// settled reports whether Redis has been there for so long.
func (l *connection) settled(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down.IsZero() && time.Since(l.up) > d
}
