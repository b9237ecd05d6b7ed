package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/heliograph/heliograph/storage"
)

// dress says whether an output is a terminal and shows colours.
type dress struct{ terminal, colours bool }

func dressOf(w io.Writer, getenv func(string) string) dress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return dress{}
	}
	return dress{terminal: true, colours: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

func (d dress) paint(code, text string) string {
	if !d.colours || text == "" || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (d dress) red(text string) string    { return d.paint(red, text) }
func (d dress) yellow(text string) string { return d.paint(yellow, text) }
func (d dress) faint(text string) string  { return d.paint(faint, text) }

const (
	faint  = "2"
	red    = "31"
	yellow = "33"
)

// emit prints a value as one line of JSON.
func (t *tool) emit(v any) error {
	line, err := storage.JSON.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s\n", line)
	return err
}

// table prints rows with a heading, each column as wide as its widest cell. With
// --output json it prints the value instead.
func (t *tool) table(heading []string, rows [][]string, value any) error {
	if t.json {
		return t.emit(value)
	}
	for _, line := range aligned(append([][]string{heading}, rows...)) {
		line = plain(line)
		if heading != nil {
			line, heading = t.dress.faint(line), nil
		}
		if _, err := fmt.Fprintln(t.out, line); err != nil {
			return err
		}
	}
	return nil
}

// aligned returns rows as lines with columns of equal width. It skips nil rows.
func aligned(rows [][]string) (lines []string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		if row == nil {
			continue
		}
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// plain replaces control characters, which could change the terminal, by '?'.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// short returns a duration as text with about three digits.
func short(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Minute:
		return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
	case d >= 100*time.Millisecond:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}

// clock returns a time as text, without the date if that is today.
func clock(at time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05")
}

// progress shows on a terminal's stderr what the command waits for, in a line that is
// removed later. Without a terminal it does nothing.
type progress struct {
	w    io.Writer
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	text    string
	visible bool
}

// begin shows a text and the time that has passed.
func (t *tool) begin(text string) *progress {
	p := &progress{w: t.err, text: text, stop: make(chan struct{})}
	if dressOf(t.err, t.getenv).terminal {
		p.show(500 * time.Millisecond)
	}
	return p
}

// show writes the line at an interval, until end.
func (p *progress) show(every time.Duration) {
	p.done.Go(func() {
		begun, tick := time.Now(), time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				p.clear()
				return
			case <-tick.C:
				p.mu.Lock()
				fmt.Fprintf(p.w, "\r\x1b[K%s… %s", p.text, time.Since(begun).Round(time.Second))
				p.visible = true
				p.mu.Unlock()
			}
		}
	})
}

// say replaces the text.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	p.text = fmt.Sprintf(format, args...)
	p.mu.Unlock()
}

// clear removes the line, so that another can be printed.
func (p *progress) clear() {
	p.mu.Lock()
	if p.visible {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.visible = false
	}
	p.mu.Unlock()
}

// end removes the line and stops. It is called once.
func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
