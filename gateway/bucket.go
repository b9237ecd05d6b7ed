package gateway

import "time"

// bucket is tokens that come back with time, up to a number.
type bucket struct {
	tokens float64
	filled int64 // when, in ns; 0: never
}

// fill puts in what has come back by now. The first time it is all there.
func (b *bucket) fill(now int64, perSecond, most float64) {
	if b.filled == 0 {
		b.tokens = most
	} else {
		b.tokens = min(most, b.tokens+float64(now-b.filled)/float64(time.Second)*perSecond)
	}
	b.filled = now
}

// take takes a cost, and reports whether there was as much; if not, it takes
// nothing. What costs more than there can be is had for a full bucket, on credit.
func (b *bucket) take(now int64, cost, perSecond, most float64) bool {
	b.fill(now, perSecond, most)
	if b.tokens < min(cost, most) {
		return false
	}
	b.tokens -= cost
	return true
}
