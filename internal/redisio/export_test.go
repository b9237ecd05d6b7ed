package redisio

import "github.com/redis/go-redis/v9"

// ClientOf returns the client of a writer.
func ClientOf(w *Writer) redis.UniversalClient { return w.client }

// Lanes returns the number of keys for which a writer holds something.
func Lanes(w *Writer) (n int) {
	for _, b := range w.batchers {
		b.mu.Lock()
		n += len(b.lanes)
		b.mu.Unlock()
	}
	return n
}
