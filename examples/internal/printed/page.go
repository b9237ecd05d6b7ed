// Package printed keeps what a program has printed, for the tests of several examples.
package printed

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// Page is what was printed on it so far. The zero value is ready to use.
type Page struct {
	mu     sync.Mutex
	text   strings.Builder
	longer chan struct{} // closed by the next Write; nil: no Await waits for it
}

// Write prints.
func (p *Page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.longer != nil {
		close(p.longer)
		p.longer = nil
	}
	return p.text.Write(b)
}

// String returns all of it.
func (p *Page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// patience ends an Await for what is never printed. It is no limit for a loaded machine.
const patience = 2 * time.Minute

// Await waits until a text has been printed.
func (p *Page) Await(tb testing.TB, text string) {
	tb.Helper()
	late := time.After(patience)
	for {
		longer, there := p.has(text)
		if there {
			return
		}
		select {
		case <-longer:
		case <-late:
			tb.Fatalf("%q is not in %q", text, p)
		}
	}
}

// has reports whether a text was printed, and returns a channel that is closed when
// more is printed.
func (p *Page) has(text string) (longer <-chan struct{}, there bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.longer == nil {
		p.longer = make(chan struct{})
	}
	return p.longer, strings.Contains(p.text.String(), text)
}
