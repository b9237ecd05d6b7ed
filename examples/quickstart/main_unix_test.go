//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// sha256sum is what the program must print.
func sha256sum(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip("no sha256sum to compare with")
	}
	out, err := exec.Command("sh", "-c", `find "$0" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`, dir).Output()
	require.NoError(t, err)
	return string(out)
}

func hashed(t *testing.T, dir string) (out, errs string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	con := newConsole(&o, &e)
	err = run(t.Context(), con, dir)
	con.flush()
	return o.String(), e.String(), err
}

// tree makes a folder with files of all kinds.
func tree(t *testing.T) string {
	dir := t.TempDir()
	for i, name := range []string{"a", "b/c", "b/d/e", "back\\slash", "new\nline", "re\rturn", " lead", "ümlaut", "bad\xffutf8", "*", "-n", "Z", "z"} {
		path := dir + "/" + name
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte(name), i*10_000), 0o644))
	}
	require.NoError(t, os.Symlink("a", dir+"/link"))
	require.NoError(t, os.Symlink("b", dir+"/linkdir"))
	require.NoError(t, os.Symlink("nowhere", dir+"/dangling"))
	require.NoError(t, syscall.Mkfifo(dir+"/fifo", 0o644))
	require.NoError(t, os.Mkdir(dir+"/empty", 0o755))
	return dir
}

func TestItPrintsWhatSHA256SumPrints(t *testing.T) {
	dir := tree(t)
	t.Chdir(dir)
	for _, from := range []string{".", dir, dir + "/", dir + "//", "./b", "a", ".."} {
		out, errs, err := hashed(t, from)
		require.NoError(t, err)
		require.Equal(t, sha256sum(t, from), out, from)
		require.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)
	}
	out, errs, err := hashed(t, "empty")
	require.NoError(t, err)
	require.Empty(t, out)
	require.Equal(t, "0 files below empty\n", errs)
}

func TestEveryWorkerHasAShare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 4 {
		require.NoError(t, os.WriteFile(fmt.Sprint(dir, "/", i), nil, 0o644))
	}
	for range 20 {
		_, errs, err := hashed(t, dir)
		require.NoError(t, err)
		require.Regexp(t, regexp.MustCompile(`^4 files, 0 bytes, \d+\.\d{3} s, \d+ calls/s; worker 1: 1 \(25\.0 %\), worker 2: 1 \(25\.0 %\), worker 3: 1 \(25\.0 %\), worker 4: 1 \(25\.0 %\)\n$`), errs)
	}
}

func TestOnARedisOfTheUsers(t *testing.T) {
	srv := storagetest.Start(t)
	t.Setenv("REDIS_URL", "redis://"+srv.Addr()+"/2")
	dir := tree(t)
	out, _, err := hashed(t, dir)
	require.NoError(t, err)
	require.Equal(t, sha256sum(t, dir), out)
	c := redis.NewClient(&redis.Options{Addr: srv.Addr(), DB: 2})
	defer c.Close()
	require.Zero(t, c.DBSize(t.Context()).Val(), "no key is left")

	srv.Kill()
	_, _, err = hashed(t, dir)
	require.ErrorContains(t, err, "REDIS_URL: dial tcp")
	t.Setenv("REDIS_URL", "http://h")
	_, _, err = hashed(t, dir)
	require.ErrorContains(t, err, `REDIS_URL: storage: Config.URL: unknown scheme "http"`)
}

// A file that can't be read does not stop the others, and sets the exit status. Root
// can read everything, so the program is built and run as another user.
func TestAFileThatCantBeRead(t *testing.T) {
	t.Parallel()
	bin := t.TempDir() + "/quickstart"
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir := t.TempDir()
	for _, name := range []string{"good", "locked", "other"} {
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte(name), 0o644))
	}
	require.NoError(t, os.Mkdir(dir+"/shut", 0o755))
	want := strings.Join(regexp.MustCompile(`.*/(good|other)\n`).FindAllString(sha256sum(t, dir), -1), "")
	require.NoError(t, os.Chmod(dir+"/locked", 0))
	require.NoError(t, os.Chmod(dir+"/shut", 0))
	for _, d := range []string{bin, dir} { // other users can't enter TempDir's parents
		for p := filepath.Dir(d); p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
			require.NoError(t, os.Chmod(p, 0o755))
		}
	}
	cmd := exec.Command(bin, dir)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%v\n%s", err, &stderr)
	require.Equal(t, want, stdout.String())
	require.Contains(t, stderr.String(), "quickstart: open "+dir+"/locked: permission denied\n")
	require.Contains(t, stderr.String(), "quickstart: open "+dir+"/shut: permission denied\n")
	require.Contains(t, stderr.String(), "3 files, 9 bytes")

	cmd = exec.Command(bin, dir+"/nowhere")
	stderr.Reset()
	cmd.Stderr = &stderr
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Equal(t, "quickstart: lstat "+dir+"/nowhere: no such file or directory\n", stderr.String())
}
