// Package cron parses lines of cron and computes when they are due.
//
// The module has a parser of its own because errors must say which field of a line is
// wrong, and because runs must neither be lost nor doubled when clocks are changed.
package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Line says when something is due. It is a set of minutes, or an interval.
type Line struct {
	every  time.Duration // 0: the fields below
	fields [5]uint64     // bit n: the value n
	// eitherDay says that a day is due if the day of the month or the day of the week is,
	// as both are restricted.
	eitherDay bool
}

const (
	minute = iota
	hour
	day
	month
	weekday
)

// spec describes a field.
type spec struct {
	name     string
	min, max int
	names    string // of the values from min on, three letters each
}

var specs = [5]spec{
	{"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day of month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of week", 0, 7, "sunmontuewedthufrisat"}, // 7 is Sunday too
}

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// MinEvery is the shortest interval of a line.
const MinEvery = time.Second

// Parse parses the five fields minute, hour, day of month, month and day of week, one of
// @yearly, @monthly, @weekly, @daily and @hourly, or @every with an interval. A field is a
// list of values, ranges a-b, and *, each perhaps with a step /n; months and days of the
// week may be names of three letters. The error says which field is wrong.
func Parse(text string) (Line, error) {
	words := strings.Fields(text)
	if len(words) > 0 && strings.HasPrefix(words[0], "@") {
		if words[0] == "@every" {
			return parseEvery(words[1:])
		}
		expansion, ok := macros[words[0]]
		if !ok || len(words) > 1 {
			return Line{}, fmt.Errorf("%q is none of @yearly, @monthly, @weekly, @daily, @hourly and @every", text)
		}
		words = strings.Fields(expansion)
	}
	if len(words) != len(specs) {
		return Line{}, fmt.Errorf("%d fields, want 5: minute, hour, day of month, month, day of week", len(words))
	}
	var l Line
	for i, word := range words {
		set, err := specs[i].parse(word)
		if err != nil {
			return Line{}, fmt.Errorf("field %d (%s), %q: %w", i+1, specs[i].name, word, err)
		}
		l.fields[i] = set
	}
	l.fields[weekday] = l.fields[weekday]&0x7f | l.fields[weekday]>>7
	l.eitherDay = !strings.HasPrefix(words[day], "*") && !strings.HasPrefix(words[weekday], "*")
	if l.Next(time.Unix(0, 0).UTC()).IsZero() {
		return Line{}, fmt.Errorf("fields 3 and 4 (day of month, month): there is no such date")
	}
	return l, nil
}

func parseEvery(words []string) (Line, error) {
	if len(words) != 1 {
		return Line{}, fmt.Errorf("@every: want one interval, such as @every 90s")
	}
	d, err := time.ParseDuration(words[0])
	if err != nil {
		return Line{}, fmt.Errorf("@every: %q is no interval, such as 90s or 1h30m", words[0])
	}
	if d < MinEvery || d%time.Millisecond != 0 {
		return Line{}, fmt.Errorf("@every: %v is less than %v or has a fraction of a millisecond", d, MinEvery)
	}
	return Line{every: d}, nil
}

// parse returns the set of values of a field.
func (s spec) parse(word string) (set uint64, err error) {
	for part := range strings.SplitSeq(word, ",") {
		one, err := s.parsePart(part)
		if err != nil {
			return 0, err
		}
		set |= one
	}
	return set, nil
}

func (s spec) parsePart(part string) (set uint64, err error) {
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > s.max {
			return 0, fmt.Errorf("step %q is not between 1 and %d", stepText, s.max)
		}
	}
	first, last := s.min, s.max
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		if first, err = s.value(from); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if last, err = s.value(to); err != nil {
				return 0, err
			}
		case !stepped:
			last = first
		}
		if first > last {
			return 0, fmt.Errorf("range %q ends before it begins", span)
		}
	}
	for v := first; v <= last; v += step {
		set |= 1 << v
	}
	return set, nil
}

func (s spec) value(text string) (int, error) {
	if i := strings.Index(s.names, strings.ToLower(text)); i >= 0 && i%3 == 0 && len(text) == 3 {
		return s.min + i/3, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < s.min || v > s.max {
		return 0, fmt.Errorf("%q is not between %d and %d", text, s.min, s.max)
	}
	return v, nil
}

// Every returns the interval of a line of @every, or 0.
func (l Line) Every() time.Duration { return l.every }

func (l Line) has(field, value int) bool { return l.fields[field]>>value&1 == 1 }

// hasDay reports whether a day is due.
func (l Line) hasDay(t time.Time) bool {
	if !l.has(month, int(t.Month())) {
		return false
	}
	inMonth, inWeek := l.has(day, t.Day()), l.has(weekday, int(t.Weekday()))
	if l.eitherDay {
		return inMonth || inWeek
	}
	return inMonth && inWeek
}

// maxDays is how far Next looks: 29 February may be eight years away, and a day of the
// week of it 40.
const maxDays = 41 * 366

// Next returns the first time after another, in its location, at which a line of five
// fields is due, or the zero time if there is none. Where a clock is put forward, what was
// due in the hour that is left out is due at its end. Where it is put back, a line for
// certain hours is due once, and a line for every hour in both.
func (l Line) Next(after time.Time) time.Time {
	everyHour := bits.OnesCount64(l.fields[hour]) == 24
	y, m, d := after.Date()
	for n := range maxDays {
		noon := time.Date(y, m, d+n, 12, 0, 0, 0, after.Location())
		if !l.hasDay(noon) {
			continue
		}
		next := l.nextOfDay(noon, after)
		if everyHour {
			next = l.nextOfEveryHour(noon, after)
		}
		if !next.IsZero() {
			return next
		}
	}
	return time.Time{}
}

// nextOfDay returns the first time on a day and after another at which the line is due,
// each hour and minute once.
func (l Line) nextOfDay(date, after time.Time) time.Time {
	y, m, d := date.Date()
	for h := range 24 {
		if !l.has(hour, h) {
			continue
		}
		for min := range 60 {
			if !l.has(minute, min) {
				continue
			}
			if t := wall(y, m, d, h, min, date.Location()); t.After(after) {
				return t
			}
		}
	}
	return time.Time{}
}

// nextOfEveryHour returns the first minute of a day and after another that the clock shows
// when the line is due.
func (l Line) nextOfEveryHour(date, after time.Time) time.Time {
	y, m, d := date.Date()
	t := wall(y, m, d, 0, 0, date.Location())
	if !t.After(after) {
		t = after.Truncate(time.Minute).Add(time.Minute)
	}
	for ; t.Day() == d; t = t.Add(time.Minute) {
		if l.has(minute, t.Minute()) {
			return t
		}
	}
	return time.Time{}
}

// wall returns the first moment at which the clock of a location shows a time, or, if it
// leaves that out, the end of what it leaves out.
func wall(y int, m time.Month, d, h, min int, loc *time.Location) time.Time {
	t := time.Date(y, m, d, h, min, 0, 0, loc)
	begin, end := t.ZoneBounds()
	if t.Hour() != h || t.Minute() != min {
		// Date has chosen the offset of one side of the change.
		if shown := t.Hour()*60 + t.Minute(); t.Day() > d || t.Day() == d && shown > h*60+min {
			return begin
		}
		return end
	}
	if begin.IsZero() {
		return t
	}
	_, before := begin.Add(-time.Second).Zone()
	_, offset := t.Zone()
	if earlier := t.Add(time.Duration(offset-before) * time.Second); earlier.Before(begin) && before > offset {
		return earlier
	}
	return t
}
