package redisio

// Lanes returns for how many keys a writer keeps anything.
func Lanes(w *Writer) (n int) {
	for _, b := range w.batchers {
		b.mu.Lock()
		n += len(b.lanes)
		b.mu.Unlock()
	}
	return n
}
