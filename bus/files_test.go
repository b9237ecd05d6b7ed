package bus_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestFilesAreServedBelowTheRootOnly(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		dir := t.TempDir()
		inside := filepath.Join(dir, "root")
		big := bytes.Repeat([]byte("0123456789"), 100_000)
		require.NoError(t, os.MkdirAll(filepath.Join(inside, "sub", "empty"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("s3cr3t"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(inside, "big"), big, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(inside, "sub", "none"), nil, 0o644))
		require.NoError(t, os.Symlink("../secret", filepath.Join(inside, "escape")))
		require.NoError(t, os.Symlink("big", filepath.Join(inside, "link")))
		root, err := os.OpenRoot(inside)
		require.NoError(t, err)
		defer root.Close()
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) { bus.Files(w, root) })
		c := client(t, pool, bus.ClientConfig{})
		fetch := func(m bus.StreamMethod[string, []byte], name string) ([]byte, error) {
			var all []byte
			for chunk, err := range bus.Stream(t.Context(), c, bus.Group("calc"), m, name) {
				if err != nil {
					return nil, err
				}
				all = append(all, chunk...)
			}
			return all, nil
		}
		for name, want := range map[string][]byte{"big": big, "./sub/../big": big, "link": big, "sub/none": nil} {
			data, err := fetch(bus.Download, name)
			require.NoError(t, err, name)
			require.Equal(t, want, data)
		}
		for name, want := range map[string]error{
			"": bus.CodeNotAllowed, "sub": bus.CodeNotAllowed, "../secret": bus.CodeNotAllowed, "/etc/passwd": bus.CodeNotAllowed,
			"sub/../../secret": bus.CodeNotAllowed, "escape": bus.CodeFailed, "nothing": bus.CodeNotFound, "sub/nothing": bus.CodeNotFound,
		} {
			_, err := fetch(bus.Download, name)
			require.ErrorIs(t, err, want, name)
			require.NotContains(t, err.Error(), "s3cr3t")
			require.NotContains(t, err.Error(), dir)
		}
		data, err := fetch(bus.DownloadDir, ".")
		require.NoError(t, err)
		archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		var names []string
		for _, f := range archive.File {
			names = append(names, f.Name)
		}
		require.Equal(t, []string{"big", "sub/none"}, names)
		f, err := archive.Open("big")
		require.NoError(t, err)
		data, err = io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, big, data)
		_, err = fetch(bus.DownloadDir, "big")
		require.ErrorIs(t, err, bus.CodeNotAllowed)
		_, err = fetch(bus.DownloadDir, "nothing")
		require.ErrorIs(t, err, bus.CodeNotFound)
	})
}
