//go:build unix

package keywords_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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
	var awake atomic.Int64 // when the process ran last, in ns of the monotonic clock
	var slept atomic.Bool  // it was stopped for longer than its lease
	begun := time.Now()
	go func() {
		for ; ; time.Sleep(10 * time.Millisecond) {
			now := time.Since(begun)
			if now-time.Duration(awake.Swap(int64(now))) > processLease {
				slept.Store(true)
			}
		}
	}()
	for _, k := range logs {
		keywords.Serve(d, k, keywords.Hooks[string]{Write: func(context.Context, string) error {
			if slept.Load() || time.Since(begun)-time.Duration(awake.Load()) > processLease {
				fmt.Println("a hook begins after the sleep")
			}
			time.Sleep(200 * time.Microsecond)
			return nil
		}})
	}
	go func() {
		<-d.Ready()
		fmt.Println("ready")
		for {
			if err := keywords.Set(context.Background(), d, Count, os.Getpid()); err != nil {
				fmt.Println("set", errors.Is(err, keywords.CodeFenced))
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

// A dispatcher is killed under writes, again and again: each write is answered,
// the one that waits takes over and counts on, and what was committed is there.
func TestDispatcherKilledUnderWrites(t *testing.T) {
	t.Parallel()
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
	storagetest.Long(t)
	t.Parallel()
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
		require.Contains(t, stale.await(t, "ended"), string(keywords.CodeFenced))
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

// A dispatcher that was stopped for two leases runs no hook when it is continued,
// though no other has taken over and requests wait.
func TestADispatcherThatSleptRunsNoHook(t *testing.T) {
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	slept := startProcess(t, srv)
	slept.await(t, "ready")
	w := write(t, pool)
	w.more(300)
	slept.signal(t, syscall.SIGSTOP)
	time.Sleep(2 * processLease)
	fence(t, pool) // as a successor would
	slept.signal(t, syscall.SIGCONT)
	for line := range slept.lines { // until the process ends
		require.NotContains(t, line, "a hook begins")
		if strings.HasPrefix(line, "ended") {
			require.Contains(t, line, string(keywords.CodeFenced))
		}
	}
	w.stop()
	w.wg.Wait()
}
