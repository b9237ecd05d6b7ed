package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

func write(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(text)
	require.NoError(t, err)
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20_000)
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb\nc", 2, "b\nc\n"}, {"a\nb\n", 5, "a\nb\n"}, {"a\nb\n", 0, ""},
		{"\n\n\n", 2, "\n\n"}, {long + "\n" + long + "\n", 1, long + "\n"}, {"a", 1, "a\n"}, {"a", 0, ""},
	} {
		file := filepath.Join(t.TempDir(), "log")
		write(t, file, c.text)
		var out, info printed.Page
		require.NoError(t, run(t.Context(), &out, &info, TailArgs{Lines: c.n}, []string{file}))
		require.Equal(t, c.want, out.String(), "%.20q %d", c.text, c.n)
		require.Equal(t, fmt.Sprintf("%s: %d bytes, %d lines\n", file, len(c.text), strings.Count(c.text, "\n")), info.String())
	}
}

func TestItFollowsSeveralFiles(t *testing.T) {
	for _, server := range []string{"embedded", "redis"} {
		t.Run(server, func(t *testing.T) {
			t.Setenv("REDIS_URL", "")
			if server == "redis" {
				t.Setenv("REDIS_URL", "redis://"+storagetest.Start(t).Addr())
			}
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
			write(t, a, "1\n2\n3\n")
			write(t, b, "half")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out printed.Page
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, &out, io.Discard, TailArgs{Lines: 2, Follow: true}, []string{b, a, a}) }()
			lines := func(want ...string) {
				t.Helper()
				require.Eventually(t, func() bool {
					got := strings.Split(strings.TrimSpace(out.String()), "\n")
					slices.Sort(got)
					slices.Sort(want)
					return slices.Equal(got, want)
				}, 20*time.Second, time.Millisecond, "%v", want)
			}
			lines("a.log: 2", "a.log: 3")
			write(t, b, " and half\n")
			write(t, a, "4\n")
			lines("a.log: 2", "a.log: 3", "a.log: 4", "b.log: half and half")
			require.NoError(t, os.Truncate(a, 0))
			write(t, a, "anew\n")
			lines("a.log: 2", "a.log: 3", "a.log: 4", "b.log: half and half", "a.log: anew")
			cancel()
			require.NoError(t, <-ended)
		})
	}
}

func TestWhatCanNotBeRead(t *testing.T) {
	dir := t.TempDir()
	require.ErrorContains(t, run(t.Context(), io.Discard, io.Discard, TailArgs{}, []string{dir}), "is not a regular file")
	require.ErrorIs(t, run(t.Context(), io.Discard, io.Discard, TailArgs{}, []string{filepath.Join(dir, "no")}), os.ErrNotExist)
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1")
	require.Error(t, run(t.Context(), io.Discard, io.Discard, TailArgs{}, []string{dir}))
}
