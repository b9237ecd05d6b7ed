package cron_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus/jobs/internal/cron"
)

func next(t *testing.T, line, after, zone string) []string {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	require.NoError(t, err)
	l, err := cron.Parse(line)
	require.NoError(t, err)
	at, err := time.ParseInLocation("2006-01-02 15:04", after, loc)
	require.NoError(t, err)
	var list []string
	for range 3 {
		at = l.Next(at)
		list = append(list, at.Format("2006-01-02 15:04 -0700"))
	}
	return list
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, after, zone string
		want              [3]string
	}{
		{"0 3 * * *", "2026-11-27 03:00", "UTC", [3]string{"2026-11-28 03:00 +0000", "2026-11-29 03:00 +0000", "2026-11-30 03:00 +0000"}},
		{"*/20 8-9 * * mon-fri", "2026-11-27 09:30", "UTC", [3]string{"2026-11-27 09:40 +0000", "2026-11-30 08:00 +0000", "2026-11-30 08:20 +0000"}},
		{"0 0 29 2 *", "2026-01-01 00:00", "UTC", [3]string{"2028-02-29 00:00 +0000", "2032-02-29 00:00 +0000", "2036-02-29 00:00 +0000"}},
		{"0 0 13 * fri", "2026-11-12 00:00", "UTC", [3]string{"2026-11-13 00:00 +0000", "2026-11-20 00:00 +0000", "2026-11-27 00:00 +0000"}},
		{"0 0 1 JAN,Jul 7", "2026-12-01 00:00", "UTC", [3]string{"2027-01-01 00:00 +0000", "2027-01-03 00:00 +0000", "2027-01-10 00:00 +0000"}},
		{"@hourly", "2026-12-31 22:59", "UTC", [3]string{"2026-12-31 23:00 +0000", "2027-01-01 00:00 +0000", "2027-01-01 01:00 +0000"}},
		// The clock leaves 02:00 to 03:00 of 29 March out, and shows 02:00 to 03:00 of 25 October twice.
		{"30 2 * * *", "2026-03-28 00:00", "Europe/Berlin", [3]string{"2026-03-28 02:30 +0100", "2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"}},
		{"30 2 * * *", "2026-10-24 12:00", "Europe/Berlin", [3]string{"2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100", "2026-10-27 02:30 +0100"}},
		{"30 * * * *", "2026-10-25 01:45", "Europe/Berlin", [3]string{"2026-10-25 02:30 +0200", "2026-10-25 02:30 +0100", "2026-10-25 03:30 +0100"}},
		{"30 * * * *", "2026-03-29 00:45", "Europe/Berlin", [3]string{"2026-03-29 01:30 +0100", "2026-03-29 03:30 +0200", "2026-03-29 04:30 +0200"}},
		// Midnight is left out.
		{"0 0 * * *", "2018-11-03 12:00", "America/Sao_Paulo", [3]string{"2018-11-04 01:00 -0200", "2018-11-05 00:00 -0200", "2018-11-06 00:00 -0200"}},
	} {
		require.Equal(t, c.want[:], next(t, c.line, c.after, c.zone), "%s in %s", c.line, c.zone)
	}
}

// Random lines are due at the minutes that have their fields, which are tried one by one.
func TestNextIsTheFirstMinuteThatMatches(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(low, high int) (string, func(int) bool) {
		if random.IntN(3) == 0 {
			return "*", func(int) bool { return true }
		}
		a, b := low+random.IntN(high-low+1), low+random.IntN(high-low+1)
		a, b = min(a, b), max(a, b)
		step := 1 + random.IntN(high)
		return strconv.Itoa(a) + "-" + strconv.Itoa(b) + "/" + strconv.Itoa(step),
			func(v int) bool { return v >= a && v <= b && (v-a)%step == 0 }
	}
	for range 60 {
		var words [5]string
		var in [5]func(int) bool
		for i, limits := range [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}} {
			words[i], in[i] = pick(limits[0], limits[1])
		}
		text := strings.Join(words[:], " ")
		l, err := cron.Parse(text)
		if err != nil {
			require.ErrorContains(t, err, "no such date")
			continue
		}
		at := time.Date(2026, time.Month(1+random.IntN(12)), 1+random.IntN(28), random.IntN(24), random.IntN(60), random.IntN(60), 0, time.UTC)
		want := at.Truncate(time.Minute)
		for end := at.AddDate(0, 0, 40); want.Before(end); {
			want = want.Add(time.Minute)
			inMonth, inWeek := in[2](want.Day()), in[4](int(want.Weekday()))
			byDay := inMonth && inWeek
			if words[2] != "*" && words[4] != "*" {
				byDay = inMonth || inWeek
			}
			if byDay && in[0](want.Minute()) && in[1](want.Hour()) && in[3](int(want.Month())) {
				require.Equal(t, want, l.Next(at), "%s after %v", text, at)
				break
			}
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                  "0 fields, want 5",
		"* * * *":           "4 fields, want 5",
		"0 * * * * *":       "6 fields, want 5",
		"60 * * * *":        `field 1 (minute), "60": "60" is not between 0 and 59`,
		"0 3-25 * * *":      `field 2 (hour), "3-25": "25" is not between 0 and 23`,
		"0 5-3 * * *":       `field 2 (hour), "5-3": range "5-3" ends before it begins`,
		"0 0 0 * *":         `field 3 (day of month)`,
		"0 0 1 jam *":       `field 4 (month), "jam"`,
		"0 0 * * mo":        `field 5 (day of week), "mo"`,
		"*/0 * * * *":       `field 1 (minute), "*/0": step "0" is not between 1 and 59`,
		"*/ * * * *":        `step ""`,
		"1,, * * * *":       `"" is not between`,
		"-1 * * * *":        `"" is not between`,
		"0 0 31 2 *":        "there is no such date",
		"@often":            "is none of",
		"@daily 3":          "is none of",
		"@every":            "want one interval",
		"@every soon":       `"soon" is no interval`,
		"@every 10ms":       "less than 1s",
		"@every 1.0000001s": "fraction of a millisecond",
	} {
		_, err := cron.Parse(line)
		require.ErrorContains(t, err, want, line)
	}
	l, err := cron.Parse("@every 90s")
	require.NoError(t, err)
	require.Equal(t, 90*time.Second, l.Every())
}
