//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 20 * time.Second

// seen checks what the observer has printed.
func seen(t *testing.T, out string) {
	t.Helper()
	at := 0
	for _, line := range []string{ // in this order; what is watched comes when it comes
		"stage.TARGET     double         target position; a modify returns on arrival\n",
		"dome.LAMPS       mask           lamps that are on\n",
		"prepare\n", "  change  dome.SHUTTER = open\n", "point\n", "  change  stage.STATE = moving\n",
		"the stage is past 30 mm: 3", "on target\n", "stop\n", "refused: keywords: stage.TARGET: rejected: stopped\n",
		"stop the dome\n", "move 2 to 130° is half done, at ", "refused: keywords: dome.TARGET: aborted: stopped\n", "move 2 is aborted, ", "mistakes\n",
		"refused: keywords: stage.TARGET: range: 250 is above 100\n",
		"refused: keywords: stage.TARGET: rejected: the motor is off\n",
		"refused: keywords: stage.POSITION: read_only\n",
		"refused: keywords: dome.TARGET: malformed: \"north\" is not a number\n",
		"refused: keywords: dome.SHUTTER: enumerator: no enumerator \"ajar\": want one of closed, open\n",
		"refused: keywords: stage.SPEED: revision: the keyword has ",
		"the motor has 1", " °C (minor)\n", "at 60 mm, encoder 30 0, moves 3\n",
	} {
		if strings.HasPrefix(line, "  ") {
			require.Contains(t, out, line)
			continue
		}
		i := strings.Index(out[at:], line)
		require.GreaterOrEqual(t, i, 0, "%q in\n%s", line, out[at:])
		at += i
	}
	require.Greater(t, strings.Count(out, "change  stage.POSITION"), 2, "it is seen to move")
	require.Regexp(t, `change  dome.TARGET_MOVE = 2 running 130 0\.\d+ `, out, "the progress of the dome")
	require.Regexp(t, `move 2 is aborted, [5-9]\d% done`, out)
	require.Regexp(t, `change  stage.TEMP = 1\d\.\d °C \(minor\)`, out, "the period of TEMP")
}

func TestBothInOneProcess(t *testing.T) {
	var out printed.Page
	require.NoError(t, run(t.Context(), &out, ""))
	seen(t, out.String())
}

// An archive is whole, though its archiver was ended twice, once within a line.
func TestTheArchiveIsWhole(t *testing.T) {
	pool, name := storagetest.New(t), t.TempDir()+"/positions"
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	keywords.Serve(d, StagePosition, keywords.Hooks[float64]{})
	stop, err := keywords.Start(t.Context(), d)
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	want := "0\n"
	for part := range 3 {
		for i := range 20 {
			at := float64(part*20 + i + 1)
			require.NoError(t, keywords.Set(t.Context(), d, StagePosition, at))
			want += fmt.Sprintln(at)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ended := make(chan error, 1)
		go func() { ended <- archive(ctx, pool, io.Discard, name) }()
		var text []byte
		require.Eventually(t, func() bool {
			text, err = os.ReadFile(name)
			return err == nil && bytes.Count(text, []byte{'\n'}) == 20*part+21
		}, patience, 5*time.Millisecond)
		cancel()
		require.NoError(t, <-ended)
		if part == 1 { // it was killed while it wrote a line
			require.NoError(t, os.WriteFile(name, text[:len(text)-3], 0o600))
		}
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		got.WriteString(line[strings.LastIndexByte(line, ' ')+1:])
	}
	require.Equal(t, want, got.String())
}

// build returns the program.
func build(t *testing.T) string {
	bin := t.TempDir() + "/telescope"
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// start runs it.
func start(t *testing.T, bin, url string, args ...string) (cmd *exec.Cmd, out *printed.Page, ended chan int) {
	cmd, out, ended = exec.Command(bin, args...), new(printed.Page), make(chan int, 1)
	cmd.Env = append(os.Environ(), "REDIS_URL="+url)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	waited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		ended <- cmd.ProcessState.ExitCode()
		close(waited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-waited
	})
	return cmd, out, ended
}

func exits(t *testing.T, ended chan int, want int, out *printed.Page) {
	t.Helper()
	select {
	case code := <-ended:
		require.Equal(t, want, code, out)
	case <-time.After(patience):
		t.Fatal("it goes on:\n", out)
	}
}

func TestTwoPrograms(t *testing.T) {
	storagetest.Long(t)
	bin, srv := build(t), storagetest.Start(t)
	url := "redis://" + srv.Addr() + "/3"

	// The services are not served, and never were.
	_, out, ended := start(t, bin, url, "observe")
	exits(t, ended, 1, out)
	require.Equal(t, "telescope: keywords: stage: unknown_service\n", out.String())

	telescope, serving, stopped := start(t, bin, url)
	serving.Await(t, "the stage and the dome are ready\n")
	_, out, ended = start(t, bin, url, "observe")
	exits(t, ended, 0, out)
	seen(t, out.String())

	// Ctrl-C ends moves and waits at once: this move would take 100 s.
	pool := storagetest.Open(t, storage.Config{URL: url})
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	_, err = keywords.Modify(t.Context(), k, StageSpeed, 1)
	require.NoError(t, err)
	moved := make(chan error, 1)
	go func() {
		_, err := keywords.Modify(context.Background(), k, StageTarget, 0)
		moved <- err
	}()
	_, err = keywords.WaitFor(t.Context(), k, StageState, func(s State) bool { return s == Moving })
	require.NoError(t, err)
	observer, out, ended := start(t, bin, url, "observe")
	out.Await(t, "prepare\n") // the stage does one thing at a time
	require.NoError(t, observer.Process.Signal(os.Interrupt))
	exits(t, ended, 1, out)
	require.True(t, strings.HasSuffix(out.String(), "telescope: interrupted\n"), out)

	require.NoError(t, telescope.Process.Signal(syscall.SIGTERM))
	exits(t, stopped, 0, serving)
	require.Error(t, <-moved)
	state, err := keywords.Read(t.Context(), k, StageState)
	require.NoError(t, err)
	require.Equal(t, Idle, state.V, "it has stopped, and said so")
	require.Equal(t, keywords.QualityStale, state.Quality)
}

func TestBadUsage(t *testing.T) {
	bin := build(t)
	for _, args := range [][]string{{"stare"}, {"observe", "twice"}, {"archive"}, {"-x"}} {
		var errs bytes.Buffer
		cmd := exec.Command(bin, args...)
		cmd.Stderr = &errs
		require.Error(t, cmd.Run())
		require.Equal(t, 2, cmd.ProcessState.ExitCode())
		require.Contains(t, errs.String(), "usage: telescope [observe | archive FILE]\n")
	}
	require.ErrorContains(t, run(t.Context(), io.Discard, "redis://127.0.0.1:1", "observe"), "REDIS_URL: ")
	require.ErrorContains(t, run(t.Context(), io.Discard, "http://h"), `unknown scheme "http"`)
}

func TestTheDomeTurnsTheShorterWay(t *testing.T) {
	a := axis{at: 350, speed: 10_000, circle: 360}
	for _, to := range []float64{10, 355, 90, 0} {
		from := a.at
		require.NoError(t, a.move(t.Context(), to, func(at float64) error {
			require.True(t, at >= 0 && at < 360)
			return nil
		}))
		require.Equal(t, to, a.at, "from %v", from)
	}
	a = axis{at: 350, speed: 100, circle: 360}
	var told []float64
	require.NoError(t, a.move(t.Context(), 5, func(at float64) error { told = append(told, at); return nil }))
	for _, at := range told {
		require.True(t, at >= 350 || at <= 5, "%v", told)
	}
}
