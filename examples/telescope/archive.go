package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

// archive appends every position of the stage to a file until ctx ends: a line has the
// revision, the time and the value. It begins after the last line of the file, so that
// no position is missing that was set while no archiver ran, as long as the history of
// the keyword has it; where it has not, a line says so.
func archive(ctx context.Context, pool *storage.Pool, out io.Writer, name string) error {
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	if err != nil {
		return err
	}
	defer k.Close()
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	last, err := resume(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "archiving %v after %v\n", StagePosition, last)
	for ev, err := range keywords.Watch(ctx, k, StagePosition, keywords.WatchOptions{Every: true, From: last}) {
		if err != nil {
			if ctx.Err() != nil {
				return nil // Ctrl-C
			}
			return err
		}
		switch ev.Kind {
		case keywords.EventInitial, keywords.EventChange:
			_, err = fmt.Fprintf(file, "%v %s %g\n", ev.Value.Rev, ev.Value.Time.UTC().Format(time.RFC3339Nano), ev.Value.V)
		case keywords.EventGap:
			_, err = fmt.Fprintf(file, "# %v are lost\n", ev.Gap)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resume returns the revision of the last value in an archive, and moves to its end. A line
// that was not written to its end is removed. An archive without values begins with
// the oldest value of the history.
func resume(file *os.File) (keywords.Revision, error) {
	last := keywords.Revision{N: 1}
	text, err := io.ReadAll(file)
	if err != nil {
		return last, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	lines := bytes.Split(text, []byte{'\n'})
	for i := len(lines) - 1; i >= 0; i-- {
		if len(lines[i]) == 0 || lines[i][0] == '#' {
			continue
		}
		rev, _, _ := bytes.Cut(lines[i], []byte{' '})
		if last, err = keywords.ParseRevision(string(rev)); err != nil {
			return last, fmt.Errorf("%s: line %d: %w", file.Name(), i+1, err)
		}
		break
	}
	_, err = file.Seek(int64(len(text)), io.SeekStart)
	return last, errors.Join(file.Truncate(int64(len(text))), err)
}
