package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// onTerminal runs the built program on a pseudo-terminal, and returns what it shows, the
// file to write keys to, and its exit status.
func onTerminal(t *testing.T, url string, args ...string) (shows *printed.Page, keys *os.File, ended chan int) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	var unlocked, n int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlocked, syscall.TIOCGPTN: &n} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, keys.Fd(), request, uintptr(unsafe.Pointer(arg)))
		require.Zero(t, errno)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "REDIS_URL="+url, "HELIO_CONFIG="+os.DevNull, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	shows, ended = new(printed.Page), make(chan int, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		page := make([]byte, 4096)
		for {
			n, err := keys.Read(page)
			_, _ = shows.Write(page[:n])
			if err != nil { // the program has ended
				return
			}
		}
	}()
	go func() {
		_ = cmd.Wait()
		ended <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-read; _ = keys.Close() })
	return shows, keys, ended
}

func TestKeysOfTop(t *testing.T) {
	t.Parallel()
	url := "redis://" + storagetest.New(t).Config().Redis.Addrs[0]
	for _, quit := range []string{"q", "Q", "\x03"} {
		shows, keys, ended := onTerminal(t, url, "top", "--interval", "1000")
		shows.Await(t, "0 workers")
		shows.Await(t, "q quits, ? explains the columns")
		_, err := keys.WriteString("?")
		require.NoError(t, err)
		shows.Await(t, "calls that no worker has taken yet")
		_, err = keys.WriteString(quit)
		require.NoError(t, err)
		require.Equal(t, exitOK, <-ended, "%q", quit)
		shows.Await(t, "\x1b[?1049l")
	}
}
