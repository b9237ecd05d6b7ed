package keywords

import (
	"fmt"
	"math"
	"slices"
)

// Severity says how alarming a value is.
type Severity uint8

// The severities, each worse than the one before.
const (
	SeverityNone    Severity = iota
	SeverityMinor            // beyond a minor limit of the keyword's Alarm
	SeverityMajor            // beyond a major one
	SeverityInvalid          // not a number, or not to be trusted, such as that of a broken sensor
)

var severityNames = [...]string{"none", "minor", "major", "invalid"}

// String returns none, minor, major or invalid.
func (s Severity) String() string {
	if int(s) >= len(severityNames) {
		return fmt.Sprintf("severity %d", uint8(s))
	}
	return severityNames[s]
}

// MarshalText returns the severity's name.
func (s Severity) MarshalText() ([]byte, error) {
	if int(s) >= len(severityNames) {
		return nil, fmt.Errorf("keywords: no %v", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads the name of a severity.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severityNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("keywords: no severity %.40q", text)
	}
	*s = Severity(i)
	return nil
}

// Alarm has the limits from which a number is alarming. A value at or above a High
// limit, or at or below a Low limit, has the severity of that limit; an array has the
// severity of its worst element. A nil limit is not checked. Alarms refuse no value;
// Min and Max do.
type Alarm struct {
	LowMajor  *float64 `json:"low_major,omitempty"`
	LowMinor  *float64 `json:"low_minor,omitempty"`
	HighMinor *float64 `json:"high_minor,omitempty"`
	HighMajor *float64 `json:"high_major,omitempty"`

	// Hysteresis is how far a value must return behind a limit before its severity
	// falls again, in the keyword's units. Defaults to 0.
	Hysteresis float64 `json:"hysteresis,omitempty"`
}

func (a Alarm) limits() [4]*float64 {
	return [4]*float64{a.LowMajor, a.LowMinor, a.HighMinor, a.HighMajor}
}

// copy returns an Alarm that shares no limit with a.
func (a Alarm) copy() Alarm {
	for _, limit := range []**float64{&a.LowMajor, &a.LowMinor, &a.HighMinor, &a.HighMajor} {
		if *limit != nil {
			*limit = new(**limit)
		}
	}
	return a
}

func (a Alarm) check(kind Kind) error {
	if a == (Alarm{}) {
		return nil
	}
	if !kind.isNumeric() {
		return badField("Alarm", "not for a keyword that is %v", kind)
	}
	names := [4]string{"LowMajor", "LowMinor", "HighMinor", "HighMajor"}
	below := -1
	limits := a.limits()
	for i, limit := range limits {
		switch {
		case limit == nil:
			continue
		case math.IsNaN(*limit) || math.IsInf(*limit, 0):
			return badField("Alarm."+names[i], "%v is not a finite number", *limit)
		case below >= 0 && *limit < *limits[below]:
			return badField("Alarm."+names[i], "%v is below %s, %v", *limit, names[below], *limits[below])
		}
		below = i
	}
	if !(a.Hysteresis >= 0) || math.IsInf(a.Hysteresis, 0) {
		return badField("Alarm.Hysteresis", "%v, want a finite number, 0 or more", a.Hysteresis)
	}
	low, high := math.Inf(-1), math.Inf(1)
	for i, limit := range limits {
		switch {
		case limit == nil:
		case i < 2:
			low = *limit
		default:
			high = min(high, *limit)
		}
	}
	// A value that was alarming must be able to return to no alarm.
	if low+a.Hysteresis >= high-a.Hysteresis {
		return badField("Alarm", "no value between %v and %v is without alarm with a hysteresis of %v", low, high, a.Hysteresis)
	}
	return nil
}

// severity returns the severity of v after a value of severity prev.
func (a *Alarm) severity(v float64, prev Severity) Severity {
	if math.IsNaN(v) {
		return SeverityInvalid
	}
	if prev == SeverityInvalid {
		prev = SeverityNone
	}
	major, minor := 0.0, 0.0 // how far inside the limit a value still counts as beyond it
	if prev >= SeverityMajor {
		major = a.Hysteresis
	}
	if prev >= SeverityMinor {
		minor = a.Hysteresis
	}
	switch {
	case above(v, a.HighMajor, major), below(v, a.LowMajor, major):
		return SeverityMajor
	case above(v, a.HighMinor, minor), below(v, a.LowMinor, minor):
		return SeverityMinor
	}
	return SeverityNone
}

// above reports whether v is beyond a high limit. A value that returns is no longer
// beyond it when it is exactly eased inside the limit.
func above(v float64, limit *float64, eased float64) bool {
	return limit != nil && (v >= *limit || v > *limit-eased)
}

func below(v float64, limit *float64, eased float64) bool {
	return limit != nil && (v <= *limit || v < *limit+eased)
}
