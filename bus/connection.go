package bus

import (
	"log/slog"
	"sync"
	"time"
)

// connection knows whether Redis can be reached, and logs when that changes.
type connection struct {
	log  *slog.Logger
	back func() // called when Redis can be reached again

	mu   sync.Mutex
	down time.Time // since when Redis is unreachable; zero: it can be reached
	why  error     // why it is unreachable; nil: it can be reached
	up   time.Time // since when it can be reached again, or has no data of before
}

// markDown notes that Redis could not be reached.
func (l *connection) markDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
	if l.down.IsZero() {
		l.down = time.Now()
		l.log.Warn("bus: Redis unreachable, trying again", "error", err)
	}
}

// markUp notes that Redis was reached.
func (l *connection) markUp() {
	l.mu.Lock()
	news := !l.down.IsZero()
	if news {
		l.log.Info("bus: Redis reachable again", "after", time.Since(l.down).Round(time.Millisecond))
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

// markReset notes that Redis can be reached and has lost its data.
func (l *connection) markReset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = time.Now()
}

// upFor reports whether Redis has been reachable, with its data, for longer than d.
func (l *connection) upFor(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down.IsZero() && time.Since(l.up) > d
}
