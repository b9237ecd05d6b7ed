package bus

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// link knows whether Redis is there, and logs when that changes.
type link struct {
	log  *slog.Logger
	back func() // called when it is there again

	mu   sync.Mutex
	down time.Time // since when; zero: it is there
	up   time.Time // since when, after it was down
}

// lost notes that Redis could not be reached.
func (l *link) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down.IsZero() {
		l.down = time.Now()
		l.log.Warn("bus: lost Redis, trying again", "error", err)
	}
}

// found notes that Redis was reached.
func (l *link) found() {
	l.mu.Lock()
	news := !l.down.IsZero()
	if news {
		l.log.Info("bus: found Redis again", "after", time.Since(l.down).Round(time.Millisecond))
		l.down, l.up = time.Time{}, time.Now()
	}
	l.mu.Unlock()
	if news && l.back != nil {
		l.back()
	}
}

// shaken notes that Redis is there, and what it knew is not.
func (l *link) shaken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = time.Now()
}

// settled reports whether Redis has been there for so long.
func (l *link) settled(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down.IsZero() && time.Since(l.up) > d
}

// throttle lets one line through a minute, with the number of those it kept
// back.
type throttle struct {
	mu   sync.Mutex
	last time.Time
	kept int
}

func (t *throttle) warn(log *slog.Logger, msg string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.last) < time.Minute {
		t.kept++
		return
	}
	log.Warn(msg, append(args, "kept_back", t.kept)...)
	t.last, t.kept = time.Now(), 0
}

// backoff returns how long to wait before the next try: 20 ms, doubled with
// each, up to half a second, give or take a quarter.
func backoff(try int) time.Duration {
	d := min(20*time.Millisecond<<min(try, 10), 500*time.Millisecond)
	return d - d/4 + rand.N(d/2)
}
