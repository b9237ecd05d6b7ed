//go:build unix

package keywords_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// dispatcherAddr makes the test binary a dispatcher of service stage on the Redis
// at that address, with the keywords of logs and COUNT, which it sets to its
// process id all the time.
const dispatcherAddr = "HELIOGRAPH_TEST_DISPATCHER"

// processLease is that of a dispatcher in a process of its own.
const processLease = 2 * time.Second

// logs are a keyword for each writer.
var logs = func() (all [8]keywords.Keyword[string]) {
	for i := range all {
		all[i] = keywords.Define("stage", "LOG"+strconv.Itoa(i), keywords.Spec[string]{Persist: true})
	}
	return all
}()

func init() {
	addr := os.Getenv(dispatcherAddr)
	if addr == "" {
		return
	}
	fmt.Println("ended", dispatcherMain(addr))
	os.Exit(1)
}

func dispatcherMain(addr string) error {
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err != nil {
		return err
	}
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Lease: processLease})
	if err != nil {
		return err
	}
	keywords.Serve(d, Count, keywords.Hooks[int]{})
	for _, k := range logs {
		keywords.Serve(d, k, keywords.Hooks[string]{Write: func(context.Context, string) error {
			time.Sleep(200 * time.Microsecond)
			return nil
		}})
	}
	go func() {
		<-d.Ready()
		fmt.Println("ready")
		for {
			if err := keywords.Set(context.Background(), d, Count, os.Getpid()); err != nil {
				fmt.Println("set", errors.Is(err, keywords.ErrFenced))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return d.Run(context.Background())
}

// process is a dispatcher in a process of its own.
type process struct {
	*exec.Cmd
	lines chan string // what it says; closed at its end
}

func startProcess(t *testing.T, srv *storagetest.Server) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dispatcherAddr+"="+srv.Addr())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, make(chan string, 16)}
	go func() {
		defer close(p.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			p.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range p.lines {
		}
		_ = cmd.Wait()
	})
	return p
}

// await waits until the process says something that begins so.
func (p *process) await(t *testing.T, prefix string) string {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line, ok := <-p.lines:
			if strings.HasPrefix(line, prefix) {
				return line
			}
			require.True(t, ok, "the process ends without %q", prefix)
		case <-timeout:
			t.Fatalf("the process does not say %q", prefix)
		}
	}
}

func (p *process) signal(t *testing.T, sig syscall.Signal) {
	require.NoError(t, p.Process.Signal(sig))
}

// batch is what the channel of a service brings; see message in wire.go.
type batch struct {
	Epoch   string `json:"e"`
	N       uint64 `json:"n"`
	Changes []struct {
		Name string `json:"k"`
		Text string `json:"v"`
	} `json:"c"`
}

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

// record notes all commits until the test ends, and that there is no gap, no
// repeat and no second epoch.
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
			var b batch
			if err := storage.MsgPack.Unmarshal([]byte(m.Payload), &b); err != nil {
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
			if last := c.order[n-1].rev; last.Epoch != rev.Epoch || last.N+1 != rev.N {
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
	case errors.Is(err, keywords.ErrFenced):
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
		require.GreaterOrEqual(w.t, v.Rev.N, w.last[i].N)
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
			if was, ok := last[ev.Keyword]; ok && ev.Kind != keywords.StaleEvent &&
				(was.Rev.Epoch != ev.Value.Rev.Epoch || ev.Value.Rev.N <= was.Rev.N) {
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

// A dispatcher is killed under writes, again and again: each write is answered,
// the one that waits takes over and counts on, and what was committed is there.
func TestDispatcherKilledUnderWrites(t *testing.T) {
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	k := client(t, pool)
	c := record(t, pool)
	serving := startProcess(t, srv)
	serving.await(t, "ready")
	seen := watchLogs(t, k)
	w := write(t, pool)
	for range 3 {
		waiting := startProcess(t, srv)
		w.more(300)
		require.NoError(t, serving.Process.Kill())
		killed := time.Now()
		waiting.await(t, "ready")
		t.Logf("taken over after %v, of a lease of %v", time.Since(killed), processLease)
		require.Less(t, time.Since(killed), 2*processLease)
		serving = waiting
		w.more(100)
	}
	w.end(c)
	require.NotZero(t, w.errs["indeterminate"]+w.errs["no dispatcher"])
	require.NoError(t, serving.Process.Kill())
	_ = serving.Wait()
	time.Sleep(100 * time.Millisecond) // what Redis has read it carries out
	w.stored(k, c)
	require.Eventually(t, func() bool {
		all := seen()
		for i, kw := range logs {
			v, err := keywords.Read(t.Context(), k, kw)
			require.NoError(t, err)
			if all["LOG"+strconv.Itoa(i)].Rev != v.Rev {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "the watcher ends on the newest values")
}

// A dispatcher hangs, another takes over, and the first wakes up: it can write
// nothing, and its writers are told.
func TestDispatcherThatWakesUpIsFenced(t *testing.T) {
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	k := client(t, pool)
	c := record(t, pool)
	stale := startProcess(t, srv)
	stale.await(t, "ready")
	w := write(t, pool)
	for range 2 {
		next := startProcess(t, srv)
		w.more(300)
		stale.signal(t, syscall.SIGSTOP)
		next.await(t, "ready")
		w.more(100)
		stale.signal(t, syscall.SIGCONT)
		require.Contains(t, stale.await(t, "ended"), string(keywords.ErrFenced))
		w.more(100)
		// What the first one has set itself ends where the other begins.
		last, first := 0, 0
		for i, one := range c.all() {
			switch one.text {
			case strconv.Itoa(stale.Process.Pid):
				last = i
			case strconv.Itoa(next.Process.Pid):
				if first == 0 {
					first = i
				}
			}
		}
		require.NotZero(t, last)
		require.Less(t, last, first)
		stale = next
	}
	w.end(c)
	require.NoError(t, stale.Process.Kill())
	_ = stale.Wait()
	time.Sleep(100 * time.Millisecond)
	w.stored(k, c)
}
