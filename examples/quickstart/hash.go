package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// Hash is the method that the caller and the workers share. Its argument is the path
// of a file.
var Hash = bus.NewMethod[string, Sum]("hash")

// Sum is the result of Hash.
type Sum struct {
	SHA256 []byte `json:"sha256"`
	Size   int64  `json:"size"`
}

// hasherType is the type of the workers, and so the group that is called.
const hasherType = "hasher"

// hash opens a file and hashes it, until ctx ends.
func hash(ctx context.Context, path string) (Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sum{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, &whileReader{ctx, f})
	if err != nil {
		return Sum{}, err
	}
	return Sum{SHA256: h.Sum(nil), Size: n}, nil
}

// whileReader reads until its context ends.
type whileReader struct {
	ctx context.Context
	r   io.Reader
}

func (w *whileReader) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// crew is the workers of this run. They have a site of their own, so that another run
// of the program does not get its files.
type crew struct {
	site    string
	workers []*bus.Worker
}

// startWorkers runs n workers until ctx ends or the pool is closed.
func startWorkers(ctx context.Context, pool *storage.Pool, n int) (*crew, error) {
	c := &crew{site: "quickstart-" + strings.ToLower(rand.Text()[:8])}
	line := newStartingLine(n)
	for range n {
		w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: c.site, Type: hasherType, Concurrency: 1, Drain: -1})
		if err != nil {
			return nil, err
		}
		var first sync.Once
		bus.Handle(w, Hash, func(ctx context.Context, path string) (Sum, error) {
			first.Do(func() { line.wait(ctx) })
			return hash(ctx, path)
		})
		if _, err := bus.Start(ctx, w); err != nil {
			return nil, err
		}
		c.workers = append(c.workers, w)
	}
	return c, nil
}

// shares says how many files each worker has hashed.
func (c *crew) shares() string {
	var all int64
	for _, w := range c.workers {
		all += w.Stats().Calls
	}
	var parts []string
	for i, w := range c.workers {
		n := w.Stats().Calls
		parts = append(parts, fmt.Sprintf("worker %d: %d (%.1f %%)", i+1, n, 100*float64(n)/float64(all)))
	}
	return strings.Join(parts, ", ")
}

// startingLine makes each worker wait until all have a file, so that they share even a
// few small files.
type startingLine struct {
	missing atomic.Int64
	all     chan struct{}
}

func newStartingLine(n int) *startingLine {
	l := &startingLine{all: make(chan struct{})}
	l.missing.Store(int64(n))
	return l
}

func (l *startingLine) wait(ctx context.Context) {
	if l.missing.Add(-1) == 0 {
		close(l.all)
	}
	select {
	case <-l.all:
	case <-ctx.Done():
	}
}
