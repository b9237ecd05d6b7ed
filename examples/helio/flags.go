package main

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// secondsFlag is a duration such as 1.5s or 2m; a bare number is seconds.
type secondsFlag = cli.FlagBase[time.Duration, cli.NoConfig, seconds]

type seconds time.Duration

// Create, ToString, Set, Get and String implement the value of a flag for the cli
// package.
func (seconds) Create(value time.Duration, p *time.Duration, _ cli.NoConfig) cli.Value {
	*p = value
	return (*seconds)(p)
}

func (seconds) ToString(d time.Duration) string {
	if d == 0 {
		return "" // no default
	}
	return short(d)
}

func (s *seconds) Set(text string) error {
	d, err := parseSeconds(text)
	if err != nil {
		return err
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) Get() any       { return time.Duration(*s) }
func (s *seconds) String() string { return time.Duration(*s).String() }

func parseSeconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		n, isNumber := strconv.ParseFloat(text, 64)
		if isNumber != nil || math.IsNaN(n) || math.Abs(n) > math.MaxInt64/1e9 {
			return 0, errors.New("want seconds, or a duration such as 1.5s or 2m")
		}
		d = time.Duration(n * float64(time.Second))
	}
	if d <= 0 {
		return 0, errors.New("want a duration above 0")
	}
	return d, nil
}

func positive(n int) error {
	if n < 1 {
		return errors.New("want 1 or more")
	}
	return nil
}

func filled(s string) error {
	if s == "" {
		return errors.New("want a value, got none")
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(words, s) {
			return errors.New("want " + strings.Join(words, " or "))
		}
		return nil
	}
}
