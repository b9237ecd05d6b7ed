package bus

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram is how many durations of which length there were.
type Histogram struct {
	Count   int64         `json:"count"`
	Sum     time.Duration `json:"sum_ns"`
	Buckets []Bucket      `json:"buckets,omitempty"` // ascending, without empty ones
}

// Bucket counts the durations in a part of a [Histogram]. Its upper end is at most an
// eighth more than its lower end.
type Bucket struct {
	UpTo  time.Duration `json:"up_to_ns"` // exclusive
	Count int64         `json:"count"`
}

// Quantile returns the upper end of the bucket that has the q-quantile, such as 0.99, or
// 0 if there are no durations.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := int64(min(max(q, 0), 1)*float64(h.Count-1)) + 1
	for _, b := range h.Buckets {
		if rank -= b.Count; rank <= 0 {
			return b.UpTo
		}
	}
	return 0
}

// durations counts durations in steps of an eighth: 8 buckets for each power of two of
// nanoseconds.
type durations struct {
	buckets [8 * 64]atomic.Int64
	sum     atomic.Int64
}

func (d *durations) add(took time.Duration) {
	d.buckets[bucket(took)].Add(1)
	d.sum.Add(int64(took))
}

func bucket(d time.Duration) int {
	n := uint64(max(d, 8))
	power := bits.Len64(n) - 1
	return 8*power + int(n>>(power-3)&7)
}

func (d *durations) snapshot() Histogram {
	h := Histogram{Sum: time.Duration(d.sum.Load())}
	for i := range d.buckets {
		if n := d.buckets[i].Load(); n > 0 {
			power, step := i/8, i%8
			h.Buckets = append(h.Buckets, Bucket{time.Duration(uint64(8+step+1) << (power - 3)), n})
			h.Count += n
		}
	}
	return h
}
