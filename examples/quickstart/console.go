package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// console prints sums on one stream and everything else on another, with a progress bar
// if that is a terminal.
type console struct {
	mu    sync.Mutex
	out   *bufio.Writer
	err   io.Writer
	bar   bool // err is a terminal
	lines bool // out is a terminal, perhaps the same
	done  int
	bytes int64
	drawn time.Time
	shown bool
}

func newConsole(out, err io.Writer) *console {
	return &console{out: bufio.NewWriter(out), err: err, bar: isTerminal(err), lines: isTerminal(out)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// print writes to the stream of results.
func (c *console) print(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines {
		c.erase()
		defer c.out.Flush()
	}
	_, _ = c.out.WriteString(line)
}

// say writes a line to the other stream.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	fmt.Fprintf(c.err, format+"\n", args...)
}

func (c *console) complain(err error) { c.say("quickstart: %v", err) }

// barWidth is the number of characters between the brackets.
const barWidth = 40

// advance counts finished files, and draws the bar ten times a second.
func (c *console) advance(files, of int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += files
	c.bytes += bytes
	if !c.bar || time.Since(c.drawn) < 100*time.Millisecond {
		return
	}
	c.drawn, c.shown = time.Now(), true
	full := barWidth * c.done / of
	fmt.Fprintf(c.err, "\r[%s%s] %d of %d files, %.1f MB", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), c.done, of, float64(c.bytes)/1e6)
}

// erase removes the bar.
func (c *console) erase() {
	if c.shown {
		fmt.Fprint(c.err, "\r\x1b[K")
		c.shown = false
	}
}

func (c *console) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	_ = c.out.Flush()
}
