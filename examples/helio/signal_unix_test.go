//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// Ctrl-C ends commands that run until Ctrl-C with status 0 and no message. It interrupts
// commands that wait for something.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	url := "redis://" + pool.Config().Redis.Addrs[0]
	file := filepath.Join(t.TempDir(), "k.json")
	require.NoError(t, os.WriteFile(file, []byte(`[{"service":"stage","name":"SPEED","kind":"double","initial":0}]`), 0o600))
	serve := launch(t, url, "keywords", "serve", file)
	serve.out.Await(t, "service stage is ready\n")
	work := launch(t, url, "worker", "slow", "--exec", "echo begun >&2; sleep 1000", "--verbose")
	work.out.Await(t, " is ready\n")

	for _, c := range []struct {
		args   []string
		awaits string // on stdout or stderr
		status int
		errs   string
	}{
		{[]string{"sub", "x"}, "listening to x\n", 0, "listening to x\n"},
		{[]string{"watch", "-s", "stage"}, "SPEED = 0\n", 0, ""},
		{[]string{"workers", "--follow"}, " + slow:", 0, ""},
		{[]string{"worker", "idle", "--exec", "true"}, " is ready\n", 0, ""},
		{[]string{"--embedded", "--url", "", "--port", "0"}, "redis://", 0, ""},
		{[]string{"logs", "slow:h:1:abcd", "--follow", "--verbose"}, "DEBUG connected", 0, ""},
		{[]string{"top", "--interval", "1000", "--verbose"}, "DEBUG connected", exitInterrupted, "helio: interrupted\n"},
		{[]string{"waitfor", "-s", "stage", "SPEED > 3", "--verbose"}, "DEBUG connected", exitInterrupted, "helio: interrupted\n"},
		{[]string{"call", "x", "--worker", "slow", "--wait", "100", "--verbose"}, "DEBUG connected", exitInterrupted, "helio: interrupted\n"},
	} {
		env := url
		if c.args[0] == "--embedded" {
			env = ""
		}
		p := launch(t, env, c.args...)
		require.Eventually(t, func() bool { return strings.Contains(p.out.String()+p.errs.String(), c.awaits) }, soon, time.Millisecond, "%v: %s%s", c.args, &p.out, &p.errs)
		require.NoError(t, p.Process.Signal(os.Interrupt))
		p.ends(c.status)
		require.True(t, strings.HasSuffix(p.errs.String(), c.errs), "%v: %s", c.args, &p.errs)
	}

	// Ctrl-C ends a worker and its running commands.
	call := launch(t, url, "call", "x", "--worker", "slow", "--wait", "100")
	s := on(t, pool)
	require.Eventually(t, func() bool {
		return strings.Contains(s.ok("stats", "slow"), " 0 errors, 2 held") || strings.Contains(s.ok("stats", "slow"), " 1 held")
	}, soon, time.Millisecond)
	require.NoError(t, work.Process.Signal(os.Interrupt))
	work.ends(0)
	call.ends(exitFailed)
	require.Contains(t, call.errs.String(), "was ended")
	require.NoError(t, serve.Process.Signal(os.Interrupt))
	serve.ends(0)
	require.Empty(t, serve.errs.String())
}

// Ctrl-C ends a command while Redis hangs.
func TestCtrlCWhileRedisHangs(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	url := "redis://" + srv.Addr()
	work := launch(t, url, "worker", "idle", "--exec", "true")
	work.out.Await(t, " is ready\n")
	watch := launch(t, url, "workers", "--follow")
	watch.out.Await(t, " + idle:")
	srv.Pause()
	defer srv.Resume()
	show := launch(t, url, "list", "--connect_timeout", "1000", "--verbose")
	show.errs.Await(t, "DEBUG connecting")
	all := []*process{work, watch, show}
	for _, p := range all {
		require.NoError(t, p.Process.Signal(os.Interrupt))
	}
	for _, p := range all {
		select {
		case <-p.ended:
		case <-time.After(soon):
			t.Fatal("it still runs: ", p.Args)
		}
	}
	require.Contains(t, show.errs.String(), "interrupted")
}
