//go:build unix

package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// commits are all values that were committed, as the channel has brought them.
type commits struct {
	t  *testing.T
	mu sync.Mutex
	// By revision, and in order.
	texts map[keywords.Revision]string
	order []commit
}

type commit struct {
	rev        keywords.Revision
	name, text string
}

// record notes all commits until the test ends, and that revisions have no gap and
// no repeat.
func record(t *testing.T, pool *storage.Pool) *commits {
	c := &commits{t: t, texts: make(map[keywords.Revision]string)}
	sub := pool.Redis().Subscribe(t.Context(), "kw:stage:0:changes")
	_, err := sub.Receive(t.Context())
	require.NoError(t, err)
	done := make(chan struct{})
	messages := sub.Channel(redis.WithChannelSize(100_000))
	go func() {
		defer close(done)
		for m := range messages {
			b, err := readBatch(m.Payload)
			if err != nil {
				t.Error(err)
			}
			c.add(b)
		}
	}()
	t.Cleanup(func() { _ = sub.Close(); <-done })
	return c
}

func (c *commits) add(b batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, ch := range b.Changes {
		rev := keywords.Revision{Epoch: b.Epoch, N: b.N + uint64(i)}
		if n := len(c.order); n > 0 {
			last := c.order[n-1].rev
			next := last.Epoch == rev.Epoch && last.N+1 == rev.N
			if begun := last.Epoch < rev.Epoch && rev.N == 1; !next && !begun {
				c.t.Errorf("%v was committed after %v", rev, last)
			}
		}
		c.texts[rev] = ch.Text
		c.order = append(c.order, commit{rev, ch.Name, ch.Text})
	}
}

func (c *commits) all() []commit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

// writers set each a keyword of logs, as fast as they can, until they are
// stopped.
type writers struct {
	t    *testing.T
	stop context.CancelFunc
	wg   sync.WaitGroup
	good atomic.Int64

	mu    sync.Mutex
	wrote map[keywords.Revision]string // and was told so
	last  [len(logs)]keywords.Revision
	errs  map[string]int
}

func write(t *testing.T, pool *storage.Pool) *writers {
	w := &writers{t: t, wrote: make(map[keywords.Revision]string), errs: make(map[string]int)}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	for i, k := range logs {
		c := client(t, pool)
		w.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("%d of %d", n, i)
				// Without a deadline: that it is answered is what is tested.
				rev, err := keywords.Modify(context.Background(), c, k, text)
				w.note(i, text, rev, err)
			}
		})
	}
	t.Cleanup(cancel)
	return w
}

func (w *writers) note(i int, text string, rev keywords.Revision, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.good.Add(1)
		if was, ok := w.wrote[rev]; ok {
			w.t.Errorf("%v is %q and %q", rev, was, text)
		}
		w.wrote[rev], w.last[i] = text, rev
	case errors.Is(err, keywords.ErrNoDispatcher):
		w.errs["no dispatcher"]++
		time.Sleep(time.Millisecond)
	case errors.Is(err, keywords.ErrIndeterminate):
		w.errs["indeterminate"]++
	case errors.Is(err, keywords.CodeFenced):
		w.errs["fenced"]++
	default:
		w.t.Error(err)
	}
}

// more waits until so many more were written.
func (w *writers) more(n int64) {
	w.t.Helper()
	n += w.good.Load()
	require.Eventually(w.t, func() bool { return w.good.Load() >= n }, patience, time.Millisecond)
}

// end stops the writers, and compares what they were told with what was
// committed.
func (w *writers) end(c *commits) {
	w.t.Helper()
	w.stop()
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		w.t.Fatal("a write is never answered")
	}
	w.t.Logf("%d written, %v", w.good.Load(), w.errs)
	require.Eventually(w.t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rev := range w.last {
			if _, ok := c.texts[rev]; !ok {
				return false
			}
		}
		return true
	}, patience, time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	for rev, text := range w.wrote {
		if c.texts[rev] != text {
			w.t.Errorf("%v is %q, and its writer wrote %q", rev, c.texts[rev], text)
		}
	}
}

// stored compares what lies in Redis with what was committed last.
func (w *writers) stored(k *keywords.Client, c *commits) {
	newest := map[string]commit{}
	for _, one := range c.all() {
		newest[one.name] = one
	}
	for i, kw := range logs {
		v, err := keywords.Read(w.t.Context(), k, kw)
		require.NoError(w.t, err)
		want := newest["LOG"+strconv.Itoa(i)]
		require.Equal(w.t, want.text, v.V)
		require.Equal(w.t, want.rev, v.Rev)
		require.GreaterOrEqual(w.t, v.Rev.Compare(w.last[i]), 0)
	}
}

// watchLogs follows all keywords of the service; its revisions must rise, each
// keyword's by itself: of several, the one that waits longest is told first.
func watchLogs(t *testing.T, k *keywords.Client) (ended func() map[string]keywords.Value[string]) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	last := map[string]keywords.Value[string]{}
	var mu sync.Mutex
	go func() {
		defer close(done)
		for ev, err := range keywords.WatchText(ctx, k, "stage", "*") {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			if was, ok := last[ev.Keyword]; ok && ev.Kind != keywords.EventStale && ev.Kind != keywords.EventDisconnected && ev.Kind != keywords.EventGood && ev.Kind != keywords.EventGone &&
				ev.Value.Rev.Compare(was.Rev) <= 0 {
				t.Errorf("%s: %v %v after %v", ev.Keyword, ev.Kind, ev.Value.Rev, was.Rev)
			}
			last[ev.Keyword] = ev.Value
			mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() map[string]keywords.Value[string] {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(last)
	}
}
