package bus

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// The methods that [Files] serves, with a path below the root as argument.
var (
	// Download returns the bytes of a regular file, in chunks.
	Download = StreamMethod[string, []byte]{name: "bus.download"}
	// DownloadDir returns the regular files below a directory, "." for the root,
	// as a zip archive, in chunks. Symbolic links and other special files are
	// left out.
	DownloadDir = StreamMethod[string, []byte]{name: "bus.download_dir"}
)

// chunkSize is how many bytes an item of Download has at most.
const chunkSize = 128 << 10

// Files has w serve the files below root to everybody who can call it, with
// [Download] and [DownloadDir]. Paths that lead out of root, by .. or by a
// symbolic link, are refused. What is not there gets CodeNotFound.
func Files(w *Worker, root *os.Root, opts ...HandleOptions) {
	if root == nil {
		panic("bus: Files: nil root")
	}
	size := min(chunkSize, max(w.cfg.MaxMessage-16, 1))
	w.handleFiles(Download, opts, size, func(ctx context.Context, name string, out io.Writer) error {
		return copyFile(ctx, out, root.FS(), name)
	})
	w.handleFiles(DownloadDir, opts, size, func(ctx context.Context, name string, out io.Writer) error {
		return zipDir(ctx, out, root.FS(), name)
	})
}

func (w *Worker) handleFiles(m StreamMethod[string, []byte], opts []HandleOptions, size int, write func(ctx context.Context, name string, out io.Writer) error) {
	HandleStream(w, m, func(ctx context.Context, name string, send func([]byte) error) error {
		if name = path.Clean(name); !fs.ValidPath(name) {
			return Errorf(CodeNotAllowed, "path %q leads out of the root", name)
		}
		out := bufio.NewWriterSize(chunks{send, size}, size)
		err := write(ctx, name, out)
		if err == nil {
			err = out.Flush()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return Errorf(CodeNotFound, "no file %q", name)
		}
		return err
	}, opts...)
}

// chunks is an io.Writer of the items of a stream.
type chunks struct {
	send func([]byte) error
	size int
}

func (c chunks) Write(p []byte) (n int, err error) {
	for chunk := range slices.Chunk(p, c.size) {
		if err := c.send(chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// copyFile copies a regular file. What blocks, as a pipe does, is not opened.
func copyFile(ctx context.Context, out io.Writer, files fs.FS, name string) error {
	info, err := fs.Stat(files, name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return Errorf(CodeNotAllowed, "%q is not a regular file", name)
	}
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, reader{ctx, f})
	return err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

func zipDir(ctx context.Context, out io.Writer, files fs.FS, dir string) error {
	if info, err := fs.Stat(files, dir); err != nil {
		return err
	} else if !info.IsDir() {
		return Errorf(CodeNotAllowed, "%q is not a directory", dir)
	}
	below, err := fs.Sub(files, dir)
	if err != nil {
		return err
	}
	archive := zip.NewWriter(out)
	err = fs.WalkDir(below, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		header.Name, header.Method = name, zip.Deflate
		member, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		return copyFile(ctx, member, below, name)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}
