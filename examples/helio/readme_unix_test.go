//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// step is a command of the README and the lines that it prints.
type step struct {
	command string
	want    []string
}

// readme returns the commands in the sh blocks: lines after "$ ", continued by lines
// after "> ".
func readme(t *testing.T) (steps []step) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for i, block := range strings.Split(string(text), "```sh\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: command})
				continue
			}
			last := &steps[len(steps)-1]
			if more, ok := strings.CutPrefix(line, "> "); ok {
				last.command += "\n" + more
			} else {
				last.want = append(last.want, line)
			}
		}
	}
	return steps
}

// differ lists what differs from run to run, and the name that replaces it.
var differ = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\b([a-z]+):[^:\s"]+:\d+:[a-z0-9]{8}\b`), "$1:ID"},
	{regexp.MustCompile(`[^\s"]+@[^\s"]+:\d+/helio`), "SOURCE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{3}\b`), "TIME"},
	{regexp.MustCompile(`\b\d{16}:\d+\b`), "REVISION"},
	{regexp.MustCompile(`\b(serves|waits) +\S+ +\S+ +\d+ `), "$1 EPOCH HOST PID "},
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`(shop.zip: )\d+`), "${1}SIZE"},
	{regexp.MustCompile(`  (user|path|go)  +.*`), "  $1  HERE"},
	{regexp.MustCompile(`(127.0.0.1|//localhost):\d+`), "ADDRESS"},
	{regexp.MustCompile(`   *`), "  "},
}

func normal(line string) string {
	for _, d := range differ {
		line = d.what.ReplaceAllString(line, d.name)
	}
	return strings.TrimRight(line, " ")
}

func TestReadme(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	for _, server := range []string{"embedded", "redis"} {
		t.Run(server, func(t *testing.T) {
			port := storagetest.FreePort(t)
			steps := readme(t)
			require.Equal(t, "helio --embedded --port 6399 &", steps[0].command)
			if server == "redis" {
				_, port, _ = strings.Cut(storagetest.Start(t).Addr(), ":")
				steps = steps[1:] // it is there
			}
			run(t, steps, func(command string) string { return strings.ReplaceAll(command, "6399", port) })
		})
	}
}

// run runs commands in one shell. Lines that background commands print meanwhile may come
// in any order.
func run(t *testing.T, steps []step, adapt func(string) string) {
	lines, shell := startShell(t)
	for n, s := range steps {
		end := fmt.Sprintf("end of step %d", n)
		_, err := io.WriteString(shell, adapt(s.command)+"\necho "+end+"\n")
		require.NoError(t, err)
		want := make([]string, len(s.want))
		for i, line := range s.want {
			want[i] = normal(line)
		}
		got := []string{}
		for ended := false; !ended || len(got) < len(want); {
			select {
			case line, ok := <-lines:
				require.True(t, ok, "the shell has ended at $ %s", s.command)
				if line == end {
					ended = true
				} else {
					got = append(got, normal(line))
				}
			case <-time.After(soon):
				t.Fatalf("$ %s\nwant %q\ngot  %q", s.command, want, got)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, "$ %s", s.command)
	}
}

// startShell starts a shell in an empty folder, with helio on its PATH, and returns its
// output and the writer for its commands. The shell and its children end with the test.
func startShell(t *testing.T) (lines chan string, commands io.Writer) {
	dir := t.TempDir()
	shell := exec.CommandContext(context.Background(), "sh")
	shell.Dir = dir
	shell.Env = []string{"PATH=" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C"}
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	write, err := shell.StdinPipe()
	require.NoError(t, err)
	read, printed, err := os.Pipe()
	require.NoError(t, err)
	shell.Stdout, shell.Stderr = printed, printed
	require.NoError(t, shell.Start())
	require.NoError(t, printed.Close())
	lines = make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(read); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
		_ = shell.Wait()
		for range lines { // to its end
		}
		_ = read.Close()
	})
	return lines, write
}
