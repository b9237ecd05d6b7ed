package redisio

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// Throttle lets one log line through a minute and counts the lines that it holds
// back. Its zero value is ready to use.
type Throttle struct {
	last atomic.Int64 // when a line went through, in ns of the Unix epoch
	held atomic.Int64 // lines held back since then
}

// Warn logs a warning, unless another went through less than a minute ago. The
// line names the number of lines that were held back before it, if any.
func (t *Throttle) Warn(log *slog.Logger, msg string, args ...any) {
	last, now := t.last.Load(), time.Now().UnixNano()
	if now-last < int64(time.Minute) || !t.last.CompareAndSwap(last, now) {
		t.held.Add(1)
		return
	}
	if n := t.held.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	log.Warn(msg, args...)
}
