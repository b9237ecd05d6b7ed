package storage

import (
	"sync/atomic"
	"time"
)

// throttle lets one through in a minute.
type throttle struct{ last atomic.Int64 } // ns of the Unix epoch

func (t *throttle) pass() bool {
	last, now := t.last.Load(), time.Now().UnixNano()
	return now-last > int64(time.Minute) && t.last.CompareAndSwap(last, now)
}
