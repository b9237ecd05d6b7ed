//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestWorkerRunsAProgram(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		w := s.start("worker", "echo", "--exec", `case $HELIO_METHOD in
			fail) echo "first" >&2; echo "second" >&2; exit 7 ;;
			quiet) exit 7 ;;
			text) echo hello ;;
			large) head -c 2000000 /dev/zero | tr '\0' 1 ;;
			*) cat ;;
		esac`, "--label", "zone=eu", "--label", "rack=7", "--description", "an echo", "--spawner", "me")
		id := w.ready()
		call := func(method string, args ...string) []string {
			return append([]string{"call", method, "--worker", "echo", "--wait", "20"}, args...)
		}
		require.Equal(t, `{"a":[1,2]}`, s.ok(call("any", "--jsondata", `{"a": [1,2]}`)...))
		require.Equal(t, id+": failed: exit status 7: first; second", s.fails(exitFailed, call("fail")...))
		require.Equal(t, id+": failed: exit status 7", s.fails(exitFailed, call("quiet")...))
		require.Contains(t, s.fails(exitFailed, call("text")...), `…" printed "hello", which is not JSON: is --text missing?`)
		require.Contains(t, s.fails(exitFailed, call("any")...), `printed "", which is not JSON: is --text missing?`, "without arguments stdin is empty")
		require.Contains(t, s.fails(exitFailed, call("large")...), "printed more than 1048576 bytes")
		require.Contains(t, s.ok("workers", "echo"), "rack=7 zone=eu")
		info := s.ok("info", "echo")
		require.Regexp(t, `description +an echo\n`, info)
		require.Regexp(t, `spawner +me\n`, info)
		require.Eventually(t, func() bool { // they are written after the reply
			logs := s.helio("", "logs", id, "-n", "100").out
			return strings.Contains(logs, "INFO  done method=any took=") && strings.Contains(logs, "exit status 7: first; second method=fail") &&
				strings.Contains(logs, "is --text missing? method=text")
		}, soon, time.Millisecond)
		require.NotContains(t, s.ok("logs", id, "-n", "100"), "done method=text", "the output was no JSON")

		// A Go program gets its own types back.
		c, err := bus.NewClient(pool, bus.ClientConfig{})
		require.NoError(t, err)
		got, err := bus.Call(t.Context(), c, bus.Group("echo"), bus.NewMethod[pair, pair]("same"), pair{1, 2})
		require.NoError(t, err)
		require.Equal(t, pair{1, 2}, got)

		require.Equal(t, exitOK, w.end())
		require.Contains(t, s.ok("logs", id), "done method=any", "the log outlives the worker")
		require.Contains(t, s.fails(exitNotFound, "logs", "echo:h:1:abcd"), "no log of echo:h:1:abcd")
	})
}

func TestWorkerOfAProgramThatPrintsText(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	s.start("worker", "echo", "--text", "--exec", `printf '%s says\n"%s"\n' "$HELIO_METHOD" "$(cat)"`).ready()
	require.Equal(t, "it says\n\"1\"", s.ok("call", "it", "--worker", "echo", "--jsondata", "1", "--wait", "20"))
}

// Processes that a program has left behind end with Ctrl-C, even if they ignore
// SIGTERM, and when they hold the output.
func TestWorkerLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s, dir := on(t, pool), t.TempDir()
	work := launch(t, s.env["REDIS_URL"], "worker", "echo", "--worker_path", dir, "--exec", `case $HELIO_METHOD in
		silent) (trap "" TERM; exec sleep 1000) >/dev/null 2>&1 & ;;
		*) (trap "" TERM; exec sleep 1000) & ;;
		esac
		echo $! >$HELIO_METHOD.part; mv $HELIO_METHOD.part $HELIO_METHOD
		case $HELIO_METHOD in
		left) echo 1 ;;
		*) wait ;;
		esac`)
	work.out.Await(t, " is ready\n")
	gone := func(method string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, method))
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !lives(pid) }, soon, time.Millisecond, method)
	}
	require.Contains(t, s.fails(exitFailed, "call", "left", "--worker", "echo", "--wait", "20"), "has ended, but a process that it started still holds its output: redirect that to /dev/null")
	gone("left")
	for _, method := range []string{"silent", "held"} {
		s.start("call", method, "--worker", "echo", "--wait", "100")
		require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, method)); return err == nil }, soon, time.Millisecond)
	}
	require.NoError(t, work.Process.Signal(os.Interrupt))
	work.ends(0)
	gone("silent")
	gone("held")
}

// lives reports whether a process exists and is no zombie.
func lives(pid int) bool {
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
}

func TestWorkerTicks(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	file := filepath.Join(t.TempDir(), "ticks")
	s.start("worker", "clock", "--exec", "echo $HELIO_METHOD >> "+file, "--worker_interval", "0.01").ready()
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(file)
		return strings.HasPrefix(string(text), "bus.tick\nbus.tick\n")
	}, soon, time.Millisecond)
}

func TestWorkerLogIsFollowed(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	id := s.start("worker", "echo", "--exec", "cat").ready()
	follow := s.start("logs", id, "--follow")
	for _, method := range []string{"a", "b", "c"} {
		s.ok("call", method, "--worker", "echo", "--jsondata", "1", "--wait", "20")
		follow.out.Await(t, "done method="+method+" ")
	}
	require.Equal(t, exitOK, follow.end())
	require.Equal(t, 3, strings.Count(follow.out.String(), "\n"), follow.out.String())
	require.Contains(t, s.ok("logs", id, "-n", "1", "-o", "json"), `"level":"INFO","message":"done"`)
}

func TestArgumentsOfAWorker(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	require.Contains(t, s.fails(exitUsage, "worker", "x"), "--exec is missing")
	require.Contains(t, s.fails(exitUsage, "worker", "x", "--exec", "true", "--concurrency", "0"), `--concurrency: "0": want 1 or more`)
	require.Contains(t, s.fails(exitUsage, "worker", "x", "--exec", "true", "--worker_path", "/no/such"), "--worker_path: ")
	require.Contains(t, s.fails(exitUsage, "worker", "a b", "--exec", "true"), "WorkerConfig.Type")
}

// process is the built program.
type process struct {
	t *testing.T
	*exec.Cmd
	out, errs printed.Page
	ended     chan int
}

// launch runs the built program on a Redis.
func launch(t *testing.T, url string, args ...string) *process {
	t.Helper()
	p := &process{t: t, Cmd: exec.CommandContext(context.Background(), bin, args...), ended: make(chan int, 1)}
	p.Env = append(os.Environ(), "REDIS_URL="+url, "HELIO_CONFIG="+os.DevNull)
	p.Stdout, p.Stderr = &p.out, &p.errs
	require.NoError(t, p.Start())
	waited := make(chan struct{})
	go func() {
		_ = p.Wait()
		p.ended <- p.ProcessState.ExitCode()
		close(waited)
	}()
	t.Cleanup(func() { _ = p.Process.Kill(); <-waited })
	return p
}

// ends waits for the end.
func (p *process) ends(status int) {
	p.t.Helper()
	select {
	case got := <-p.ended:
		require.Equal(p.t, status, got, "%s%s", &p.out, &p.errs)
	case <-time.After(soon):
		p.t.Fatalf("it still runs:\n%s%s", &p.out, &p.errs)
	}
}

// SIGTERM waits for a worker's calls.
func TestSIGTERMDrainsAWorker(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	url := "redis://" + pool.Config().Redis.Addrs[0]
	dir := t.TempDir()
	work := launch(t, url, "worker", "slow", "--worker_path", dir, "--exec", "touch begun; while [ ! -e go ]; do sleep 0.01; done; echo 7")
	work.out.Await(t, " is ready\n")
	call := launch(t, url, "call", "x", "--worker", "slow", "--wait", "100")
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "begun")); return err == nil }, soon, time.Millisecond)
	require.NoError(t, work.Process.Signal(syscall.SIGTERM))
	s := on(t, pool)
	require.Eventually(t, func() bool { return s.helio("", "workers").status == exitNotFound }, soon, time.Millisecond, "it takes no more calls")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	call.ends(0)
	require.Equal(t, "7\n", call.out.String())
	work.ends(0)
}

// A Redis that can't be used is reported in one line, and within the default
// --connect_timeout, which is less than a second.
func TestRedisThatDoesNotTalkToUs(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--requirepass", "secret")
	free := storagetest.FreePort(t)
	says := func(url, want string, args ...string) {
		t.Helper()
		p := launch(t, url, append(args, "workers")...)
		p.ends(exitRedis)
		require.Empty(t, p.out.String())
		require.Equal(t, "helio: "+want+"\n", p.errs.String())
	}
	says("redis://"+srv.Addr(), fmt.Sprintf("Redis at %s requires a password: put it in --url redis://user:password@host:port, or REDIS_URL", srv.Addr()))
	says("redis://:wrong@"+srv.Addr(), fmt.Sprintf("Redis at %s refuses the password: put the right one in --url redis://user:password@host:port, or REDIS_URL", srv.Addr()))
	says("redis://127.0.0.1:"+free, fmt.Sprintf("no Redis at 127.0.0.1:%s: start one there, say where it is with --url or --hostname and --port, or try helio --embedded", free))
	says("redis://:secret@"+srv.Addr()+"/99", fmt.Sprintf("Redis at %s: ERR DB index is out of range", srv.Addr()))
	says("", fmt.Sprintf("port %s is in use, perhaps by a Redis, which needs no --embedded: choose another with --port, 0 for any", srv.Addr()[strings.Index(srv.Addr(), ":")+1:]),
		"--embedded", "--port", srv.Addr()[strings.Index(srv.Addr(), ":")+1:])
	srv.Pause()
	defer srv.Resume()
	says("redis://:secret@"+srv.Addr(), fmt.Sprintf("Redis at %s does not answer: say where it is with --url, or wait longer with --connect_timeout", srv.Addr()))
}
