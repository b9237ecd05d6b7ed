package bus

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// lapseTime is how long Redis may be silent without that leases are in doubt: those of
// 5 s have at least 3.3 s left.
const lapseTime = 2500 * time.Millisecond

// errSettling is the reason of waits for workers after Redis has returned.
var errSettling = errors.New("workers may not have registered again since Redis returned")

// connection knows whether Redis can be reached, and logs when that changes.
type connection struct {
	log  *slog.Logger
	back func() // called when Redis can be reached again

	mu    sync.Mutex
	down  time.Time // since when Redis is unreachable; zero: it can be reached
	why   error     // why it is unreachable, or refuses the inbox; nil: neither
	up    time.Time // since when it can be reached again, or has no data of before
	seen  time.Time // when it last took and answered what keeps the client or worker alive
	doubt time.Time // when it last returned without all leases that lived; zero: never
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
	l.seeLocked(time.Now())
	if news {
		l.log.Info("bus: Redis reachable again", "after", time.Since(l.down).Round(time.Millisecond))
		l.down, l.up = time.Time{}, time.Now()
	}
	l.why = nil
	l.mu.Unlock()
	if news && l.back != nil {
		l.back()
	}
}

// seeLocked notes that Redis is there. If it was silent for long, workers may have
// been unable to renew their leases.
func (l *connection) seeLocked(now time.Time) {
	silent := now.Sub(l.seen) > lapseTime
	if l.seen.IsZero() {
		silent = !l.down.IsZero()
	}
	if silent {
		l.doubt = now
	}
	l.seen = now
}

// markRenewed notes whether Redis took what keeps the client alive.
func (l *connection) markRenewed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.seeLocked(time.Now())
	}
	if err != nil || l.down.IsZero() {
		l.why = err
	}
}

// reason returns why Redis can't be reached or refuses the inbox, nil if it does not.
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
	l.doubt = l.up
}

// settled reports whether Redis is there, and all living workers had time to register
// since it was last without some of their leases.
func (l *connection) settled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down.IsZero() && time.Since(l.seen) <= lapseTime && time.Since(l.doubt) > returnTime
}

// steady reports whether Redis is settled, and has been reachable long enough for
// workers with leases of any length to register again.
func (l *connection) steady() bool {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	return time.Since(up) > returnTime && l.settled()
}

// reachable reports whether Redis can be reached.
func (l *connection) reachable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down.IsZero()
}
