package storage

// Lanes returns for how many keys a pool's writer keeps anything.
func Lanes(p *Pool) (n int) {
	for _, b := range p.Writer().batchers {
		b.mu.Lock()
		n += len(b.lanes)
		b.mu.Unlock()
	}
	return n
}
