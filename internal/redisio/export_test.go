package redisio

// Lanes returns the number of keys for which a writer holds something.
func Lanes(w *Writer) (n int) {
	for _, b := range w.batchers {
		b.mu.Lock()
		n += len(b.lanes)
		b.mu.Unlock()
	}
	return n
}
