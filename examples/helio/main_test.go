package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// bin is the built program.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "helio")
	if err == nil {
		bin = filepath.Join(dir, "helio")
		if runtime.GOOS == "windows" {
			bin += ".exe"
		}
		var out []byte
		if out, err = exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	logging.Disable() // as main does
	storagetest.Main(m)
}

// soon bounds the waits of the tests.
const soon = 20 * time.Second

// result is how a command ended.
type result struct {
	status   int
	out, err string
}

// shellOn runs command lines with the Redis of a pool.
type shellOn struct {
	t   *testing.T
	env map[string]string
}

func on(t *testing.T, pool *storage.Pool) shellOn {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config") // not that of the user
	require.NoError(t, os.WriteFile(config, []byte("# empty\n"), 0o600))
	return shellOn{t, map[string]string{"REDIS_URL": "redis://" + pool.Config().Redis.Addrs[0], "HELIO_CONFIG": config}}
}

// helio runs a command line in this process, and in is its stdin.
func (s shellOn) helio(in string, args ...string) result {
	s.t.Helper()
	return s.until(s.t.Context(), in, args...)
}

// until is helio with a context that ends as Ctrl-C would end it.
func (s shellOn) until(ctx context.Context, in string, args ...string) result {
	s.t.Helper()
	var out, errs printed.Page
	tool := &tool{out: &out, err: &errs, getenv: func(name string) string { return s.env[name] }}
	if in != "" {
		tool.in = strings.NewReader(in)
	}
	status := tool.run(ctx, append([]string{"helio"}, args...))
	return result{status, out.String(), errs.String()}
}

// ok runs a command line that must succeed and print nothing on stderr, and returns
// what it prints.
func (s shellOn) ok(args ...string) string {
	s.t.Helper()
	r := s.helio("", args...)
	require.Equal(s.t, result{0, r.out, ""}, r, "%v", args)
	return strings.TrimSuffix(r.out, "\n")
}

// fails runs a command line that must fail with one line on stderr, and returns
// that.
func (s shellOn) fails(status int, args ...string) string {
	s.t.Helper()
	r := s.helio("", args...)
	require.Equal(s.t, status, r.status, "%v: %s", args, r.err)
	require.Empty(s.t, r.out, "%v", args)
	require.Equal(s.t, 1, strings.Count(r.err, "\n"), "%v: %s", args, r.err)
	require.True(s.t, strings.HasPrefix(r.err, "helio: "), r.err)
	return strings.TrimSuffix(strings.TrimPrefix(r.err, "helio: "), "\n")
}

func TestRedisThatRefuses(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	s := on(t, pool)
	require.NoError(t, pool.Redis().Do(t.Context(), "ACL", "SETUSER", "default", "-@all", "+@connection").Err())
	for _, args := range [][]string{{"workers"}, {"ping"}, {"call", "x", "--worker", "calc"}, {"show", "-s", "stage"}, {"sub", "x"}, {"set", "list", "x"}} {
		require.Contains(t, s.fails(exitRedis, args...), "NOPERM", "%v", args)
	}
}

// running is a command that is still running.
type running struct {
	t     *testing.T
	out   printed.Page
	errs  printed.Page
	stop  context.CancelFunc
	ended chan int
}

// start runs a command line in this process until it is ended.
func (s shellOn) start(args ...string) *running {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: s.t, stop: cancel, ended: make(chan int, 1)}
	tool := &tool{out: &r.out, err: &r.errs, getenv: func(name string) string { return s.env[name] }}
	done := make(chan struct{})
	go func() {
		r.ended <- tool.run(ctx, append([]string{"helio"}, args...))
		close(done)
	}()
	s.t.Cleanup(func() { cancel(); <-done })
	return r
}

// ready waits until a server is ready, and returns the name that it prints.
func (r *running) ready() string {
	r.t.Helper()
	r.out.Await(r.t, " is ready\n")
	who, _, _ := strings.Cut(r.out.String(), " is ready\n")
	return who
}

// end ends it as Ctrl-C would, and returns its exit status.
func (r *running) end() int {
	r.t.Helper()
	r.stop()
	return r.wait()
}

// wait waits until it ends by itself, and returns its exit status.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case status := <-r.ended:
		return status
	case <-time.After(soon):
		r.t.Fatal("it still runs:\n", r.out.String(), r.errs.String())
		return 0
	}
}
