package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// workerType is the type of the workers.
const workerType = "log"

// site separates several runs on one Redis.
var site = "tail-" + strconv.Itoa(os.Getpid())

// FileStat describes the file of a worker.
type FileStat struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Lines int    `json:"lines"`
}

// TailArgs are the arguments of Tail.
type TailArgs struct {
	Lines  int  `json:"lines"`
	Follow bool `json:"follow"`
}

// Line is a line of a file.
type Line struct {
	File string `json:"file"`
	Text string `json:"text"`
}

var (
	Stat = bus.NewMethod[struct{}, FileStat]("stat")
	Tail = bus.NewStream[TailArgs, Line]("tail")
)

// startWorker runs a worker for a file until ctx ends or the pool is closed.
func startWorker(ctx context.Context, pool *storage.Pool, file string) error {
	if info, err := os.Stat(file); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: site, Type: workerType})
	if err != nil {
		return err
	}
	bus.Handle(w, Stat, func(context.Context, struct{}) (FileStat, error) { return stat(file) })
	bus.HandleStream(w, Tail, func(ctx context.Context, a TailArgs, send func(Line) error) error {
		return tail(ctx, file, a, func(text string) error { return send(Line{filepath.Base(file), text}) })
	})
	_, err = bus.Start(ctx, w)
	return err
}

func stat(file string) (FileStat, error) {
	f, err := os.Open(file)
	if err != nil {
		return FileStat{}, err
	}
	defer f.Close()
	s := FileStat{File: file}
	for block := make([]byte, 64<<10); ; {
		n, err := f.Read(block)
		s.Bytes += int64(n)
		s.Lines += bytes.Count(block[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return FileStat{}, err
		}
	}
}

// pollTime is the time between two reads of a file that is followed.
const pollTime = 100 * time.Millisecond

// tail sends the last lines of a file and, with Follow, those that are appended, until
// ctx ends. A file that becomes shorter is read from its start.
func tail(ctx context.Context, file string, args TailArgs, send func(string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := lastLines(f, args.Lines)
	if err != nil {
		return err
	}
	part := "" // the beginning of a line without its end
	for r := bufio.NewReader(io.NewSectionReader(f, at, 1<<62)); ; {
		text, err := r.ReadString('\n')
		at += int64(len(text))
		part += text
		switch {
		case err == nil:
			if err := send(strings.TrimSuffix(part, "\n")); err != nil {
				return err
			}
			part = ""
		case !errors.Is(err, io.EOF):
			return err
		case !args.Follow:
			if part != "" {
				return send(part)
			}
			return nil
		default:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pollTime):
			}
			if info, err := f.Stat(); err == nil && info.Size() < at {
				at, part = 0, ""
			}
			r.Reset(io.NewSectionReader(f, at, 1<<62))
		}
	}
}

// lastLines returns where the last n lines of a file begin.
func lastLines(f *os.File, n int) (at int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	for block := make([]byte, 8<<10); end > 0 && n > 0; {
		size := min(int64(len(block)), end)
		if _, err := f.ReadAt(block[:size], end-size); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			// The newline at the very end begins no line.
			if pos := end - size + i; block[i] == '\n' && pos != info.Size()-1 {
				n--
				if n == 0 {
					return pos + 1, nil
				}
			}
		}
		end -= size
	}
	return end, nil
}
