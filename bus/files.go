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

// The methods that [Files] serves. Their argument is a path below the root.
var (
	// Download returns the bytes of a regular file, in chunks.
	Download = StreamMethod[string, []byte]{name: "bus.download"}
	// DownloadDir returns the regular files below a directory as a zip archive, in
	// chunks. The path "." is the root. Symbolic links and special files are omitted.
	DownloadDir = StreamMethod[string, []byte]{name: "bus.download_dir"}
)

// chunkSize is the largest item of Download, in bytes.
const chunkSize = 128 << 10

// Files registers handlers for [Download] and [DownloadDir], by which every client of
// the site can read the files below root. Paths that lead out of root, by .. or by a
// symbolic link, are refused. A path that does not exist is answered with
// CodeNotFound. Files panics as [Handle] does.
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
		name = path.Clean(name)
		if !fs.ValidPath(name) {
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

// chunks is an io.Writer that sends items of a stream.
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

// copyFile copies a regular file. It does not open other files, such as pipes, which
// may block.
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

// reader is an io.Reader that ends with its context.
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
