package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that shows one page after the other.
type screen struct {
	w     *os.File
	dress dress
}

// openScreen puts the page of the shell aside, and the cursor away.
func (t *tool) openScreen() *screen {
	s := &screen{t.out.(*os.File), t.dress}
	_, _ = io.WriteString(s.w, "\x1b[?1049h\x1b[?25l")
	t.screen.Store(s)
	return s
}

// close brings both back.
func (s *screen) close() { _, _ = io.WriteString(s.w, "\x1b[?25h\x1b[?1049l") }

// show shows lines in place of those before: as many and as much of them as fit.
func (s *screen) show(lines []line) error {
	width, height, err := term.GetSize(int(s.w.Fd()))
	if err != nil {
		return err
	}
	if width == 0 || height == 0 { // a terminal that does not know
		width, height = 80, 24
	}
	page := []byte("\x1b[H")
	for i, l := range lines {
		if i == height-1 {
			break
		}
		if utf8.RuneCountInString(l.text) > width {
			l.text = string([]rune(l.text)[:width])
		}
		page = append(page, s.dress.paint(l.colour, l.text)+"\x1b[K\n"...)
	}
	_, err = s.w.Write(append(page, "\x1b[J"...))
	return err
}

// live shows what is seen until ctx ends.
func (w *watchtower) live(ctx context.Context, s *screen, interval time.Duration) error {
	for {
		seen := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := s.show(seen.lines()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// line is a line of the screen and its colour.
type line struct{ text, colour string }

// lines is the page.
func (s sight) lines() (page []line) {
	add := func(colour, format string, args ...any) {
		page = append(page, line{fmt.Sprintf(format, args...), colour})
	}
	if s.err != nil {
		add(red, "%s  Redis does not answer: %s", clock(s.Time), oneLine(plainly(s.err)))
		return page
	}
	workers := 0
	for _, t := range s.Types {
		workers += t.Workers
	}
	add("", "%s  site %s  %s  Redis answers in %s", clock(s.Time), s.Site, count(workers, "worker"), short(ofSeconds(s.Ping)))
	add("", "")
	rows := [][]string{{"TYPE", "WORKERS", "QUEUED", "HELD", "CALLS/S", "ERRORS/S", "SLOWEST P99"}}
	for _, t := range s.Types {
		n := fmt.Sprint(t.Workers)
		if t.Silent > 0 {
			n += fmt.Sprintf(" (%d silent)", t.Silent)
		}
		rows = append(rows, []string{t.Type, n, fmt.Sprint(t.Queued), fmt.Sprint(t.Held), rate(t.Calls), rate(t.Errors), short(ofSeconds(t.P99))})
	}
	for i, text := range aligned(rows) {
		switch {
		case i == 0:
			add(faint, "%s", text)
		case s.Types[i-1].Silent > 0:
			add(red, "%s", text)
		case s.Types[i-1].Queued > 0 || s.Types[i-1].Errors > 0:
			add(yellow, "%s", text)
		default:
			add("", "%s", text)
		}
	}
	if len(s.Gateways) > 0 {
		add("", "")
		rows = [][]string{{"GATEWAY", "SOCKETS", "CHANNELS", "IN/S", "OUT/S", "SLOW", "DROPPED"}}
		for _, g := range s.Gateways {
			rows = append(rows, []string{g.Worker, fmt.Sprint(g.Sockets), fmt.Sprint(g.Channels), rate(g.In), rate(g.Out), fmt.Sprint(g.Slow), fmt.Sprint(g.Dropped)})
		}
		for i, text := range aligned(rows) {
			colour := ""
			if i == 0 {
				colour = faint
			}
			add(colour, "%s", text)
		}
	}
	add("", "")
	rows = [][]string{{"SERVICE", "CHANGES/S", "LAST CHANGE", ""}}
	for _, k := range s.Services {
		last, note := "", ""
		if k.Last != "" {
			last = k.Last + " = " + k.Value
		}
		if k.Stale {
			note = "no dispatcher"
		}
		rows = append(rows, []string{k.Service, rate(k.Changes), last, note})
	}
	for i, text := range aligned(rows) {
		switch {
		case i == 0:
			add(faint, "%s", text)
		case s.Services[i-1].Stale:
			add(yellow, "%s", text)
		default:
			add("", "%s", text)
		}
	}
	return page
}

func ofSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func rate(r float64) string {
	if r == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", r)
}
