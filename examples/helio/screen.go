package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that shows one page after the other and reads keys.
type screen struct {
	w     *os.File
	dress dress
	keys  chan byte // nil: stdin is no terminal

	restore func() // the settings of the terminal that keys come from
}

// openScreen switches the terminal to its second page, hides the cursor and reads
// keys. Quit is called for q and Ctrl-C, which is a key here.
func (t *tool) openScreen(quit func()) *screen {
	s := &screen{w: t.out.(*os.File), dress: t.dress, restore: func() {}}
	if in, ok := t.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		if state, err := term.MakeRaw(int(in.Fd())); err == nil {
			s.restore = func() { _ = term.Restore(int(in.Fd()), state) }
			s.keys = make(chan byte, 16)
			go s.read(in, quit) // ends with the process
		}
	}
	_, _ = io.WriteString(s.w, "\x1b[?1049h\x1b[?25l")
	t.screen.Store(s)
	return s
}

// close restores the terminal.
func (s *screen) close() {
	_, _ = io.WriteString(s.w, "\x1b[?25h\x1b[?1049l")
	s.restore()
}

const ctrlC = 3

func (s *screen) read(in io.Reader, quit func()) {
	for key := make([]byte, 1); ; {
		if _, err := in.Read(key); err != nil {
			return
		}
		switch key[0] {
		case 'q', 'Q', ctrlC:
			quit()
			return
		}
		select {
		case s.keys <- key[0]:
		default: // more than are looked at
		}
	}
}

// show replaces the page by lines, cut to the size of the terminal.
func (s *screen) show(lines []line) error {
	width, height, err := term.GetSize(int(s.w.Fd()))
	if err != nil {
		return err
	}
	if width == 0 || height == 0 { // the terminal does not know its size
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
		page = append(page, s.dress.paint(l.colour, l.text)+"\x1b[K\r\n"...)
	}
	_, err = s.w.Write(append(page, "\x1b[J"...))
	return err
}

// live shows samples until ctx ends, or the help after ? until the next key.
func (m *monitor) live(ctx context.Context, s *screen, interval time.Duration) error {
	next := time.NewTimer(0)
	defer next.Stop()
	var page []line
	for help := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case key := <-s.keys:
			help = key == '?' && !help
		case <-next.C:
			page = m.sample(ctx).lines()
			next.Reset(interval)
		}
		shown := page
		if help {
			shown = topHelp
		}
		if s.keys != nil {
			shown = append(slices.Clone(shown), line{}, line{"q quits, ? explains the columns", faint})
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := s.show(shown); err != nil {
			return err
		}
	}
}

// topHelp is the page after ?.
var topHelp = []line{
	{"TYPE         a worker type and what its workers do together", ""},
	{"  WORKERS    how many run; silent ones have not answered within a second", ""},
	{"  QUEUED     calls that no worker has taken yet", ""},
	{"  HELD       calls that workers have taken and not yet answered", ""},
	{"  CALLS/S    calls answered per second; ERRORS/S of these with an error", ""},
	{"  P99        of the slowest method: 99 of 100 calls took at most this time", ""},
	{"GATEWAY      a WebSocket gateway", ""},
	{"  IN/S       messages from its clients per second; OUT/S to them", ""},
	{"  SLOW       clients closed because they read too slowly, since it started", ""},
	{"  DROPPED    messages dropped for slow clients, since it started", ""},
	{"SERVICE      a keyword service, and how often its keywords change", ""},
}

// line is a line of the screen and its colour.
type line struct{ text, colour string }

// lines is the page.
func (s sample) lines() (page []line) {
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
	if len(s.Queues) > 0 {
		add("", "")
		rows = [][]string{{"QUEUE", "WAITING", "RUNNING", "SCHEDULED", "DEAD", ""}}
		for _, q := range s.Queues {
			rows = append(rows, append([]string{q.Queue}, countCells(q.Counts)...))
		}
		for i, text := range aligned(rows) {
			colour := ""
			switch {
			case i == 0:
				colour = faint
			case s.Queues[i-1].Dead > 0 || s.Queues[i-1].Paused:
				colour = yellow
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
