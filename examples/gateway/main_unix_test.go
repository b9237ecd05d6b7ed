//go:build unix

package main

import (
	"bufio"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

func TestASignalEndsIt(t *testing.T) {
	bin := t.TempDir() + "/gateway"
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command(bin, "--port", "0")
		cmd.Env = append(cmd.Environ(), "REDIS_URL=")
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		said := bufio.NewReader(stderr)
		line, err := said.ReadString('\n')
		require.NoError(t, err)
		conn, _, err := websocket.Dial(t.Context(), regexp.MustCompile(`ws://\S+:\d+`).FindString(line), nil)
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(sig))
		for err == nil {
			_, _, err = conn.Read(t.Context())
		}
		require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
		rest, err := said.ReadString('\n')
		require.Empty(t, rest, "no more than one line")
		require.Error(t, err)
		require.NoError(t, cmd.Wait(), "and status 0")
	}
	cmd := exec.Command(bin, "-port", "x")
	text, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 2, cmd.ProcessState.ExitCode())
	require.Equal(t, 1, strings.Count(string(text), "\n"), "%s", text)
}
