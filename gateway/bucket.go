package gateway

import "time"

// bucket is a token bucket: a rate limit with a burst.
type bucket struct {
	tokens float64
	filled int64 // when, as Handler.elapsed returns it; 0: never
}

// fill adds the tokens of the time since the last fill. A new bucket is full.
func (b *bucket) fill(now int64, perSecond, most float64) {
	if b.filled == 0 {
		b.tokens = most
	} else {
		b.tokens = min(most, b.tokens+float64(now-b.filled)/float64(time.Second)*perSecond)
	}
	b.filled = now
}

// take takes a cost and reports true, or takes nothing and reports false if there are
// too few tokens. A cost above most needs a full bucket, which becomes negative.
func (b *bucket) take(now int64, cost, perSecond, most float64) bool {
	b.fill(now, perSecond, most)
	if b.tokens < min(cost, most) {
		return false
	}
	b.tokens -= cost
	return true
}
