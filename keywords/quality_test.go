package keywords_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Encoder is a keyword with all that a value may have.
var Encoder = keywords.Define("stage", "ENCODER", keywords.Spec[float64]{
	ReadOnly: true, Persist: true, History: 10, DeadBand: 0.5,
	Alarm: keywords.Alarm{HighMinor: new(80.0), HighMajor: new(90.0), Hysteresis: 5},
})

func serveEncoder(d *keywords.Dispatcher) { keywords.Serve(d, Encoder, keywords.Hooks[float64]{}) }

func TestWhatSetSaysOfAValueIsSeenByAllReaders(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		d := run(t, pool, keywords.DispatcherConfig{}, serveEncoder).wait()
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 10))
		next := watched(t, keywords.Watch(ctx, k, Encoder))
		before := next(keywords.EventInitial).Value
		require.Empty(t, before.Text)
		require.Equal(t, keywords.SeverityNone, before.Severity)

		measured := time.Date(1999, 12, 31, 23, 59, 59, 123456000, time.UTC)
		broken := keywords.SetOptions{Severity: keywords.SeverityInvalid, Text: "no signal: cable 7, \"A\"\n", Time: measured}
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 10, broken), "a dead band does not hide it")
		check := func(v keywords.Value[string]) {
			t.Helper()
			require.Equal(t, "10", v.V)
			require.Equal(t, keywords.SeverityInvalid, v.Severity)
			require.Equal(t, broken.Text, v.Text)
			require.True(t, measured.Equal(v.Time), v.Time)
		}
		checkAll := func() {
			t.Helper()
			v, err := keywords.ReadText(ctx, k, "stage", "ENCODER")
			require.NoError(t, err)
			check(v)
			many, err := keywords.ReadMany(ctx, k, "stage", "ENCODER")
			require.NoError(t, err)
			check(many["ENCODER"])
			past, err := keywords.History(ctx, k, "stage", "ENCODER", 10)
			require.NoError(t, err)
			require.Len(t, past, 2)
			check(past[0])
			require.Empty(t, past[1].Text)
		}
		ev := next(keywords.EventChange)
		require.Equal(t, 1, ev.Value.Rev.Compare(before.Rev), "revisions rise, whatever the device's clock says")
		require.Equal(t, broken.Text, ev.Value.Text)
		require.Equal(t, keywords.SeverityInvalid, ev.Value.Severity)
		require.True(t, measured.Equal(ev.Value.Time))
		checkAll()

		data, err := json.Marshal(ev.Value)
		require.NoError(t, err)
		var back keywords.Value[float64]
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, broken.Text, back.Text)
		require.Contains(t, string(data), `"severity":"invalid","text":"no signal: cable 7, \"A\"\n"}`)

		d.stop()
		require.NoError(t, <-d.ended)
		next(keywords.EventStale)
		d = run(t, pool, keywords.DispatcherConfig{}, serveEncoder).wait()
		require.Equal(t, broken.Text, next(keywords.EventGood).Value.Text, "it persists")
		checkAll()

		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 10))
		v := next(keywords.EventChange).Value
		require.Empty(t, v.Text, "until the keyword is set again")
		require.Equal(t, keywords.SeverityNone, v.Severity)
		require.Positive(t, v.Rev.Compare(ev.Value.Rev))
	})
}

func TestTheSeverityOfSetAndThatOfTheAlarm(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		d := run(t, pool, keywords.DispatcherConfig{}, serveEncoder).wait()
		for _, step := range []struct {
			v    float64
			set  keywords.Severity
			want keywords.Severity
		}{
			{10, keywords.SeverityMinor, keywords.SeverityMinor},
			{95, keywords.SeverityMinor, keywords.SeverityMajor},
			{87, keywords.SeverityNone, keywords.SeverityMajor}, // hysteresis
			{10, keywords.SeverityMajor, keywords.SeverityMajor},
			{78, keywords.SeverityNone, keywords.SeverityNone}, // no hysteresis: 10 was beyond no limit
			{math.NaN(), keywords.SeverityMinor, keywords.SeverityInvalid},
			{78, keywords.SeverityInvalid, keywords.SeverityInvalid},
			{78, keywords.SeverityNone, keywords.SeverityNone},
		} {
			require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, step.v, keywords.SetOptions{Severity: step.set}))
			v, err := keywords.Read(ctx, k, Encoder)
			require.NoError(t, err)
			require.Equal(t, step.want, v.Severity, "%+v", step)
		}
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 78, keywords.SetOptions{Text: "calibrated"}))
		v, err := keywords.Read(ctx, k, Encoder)
		require.NoError(t, err)
		require.Equal(t, "calibrated", v.Text, "a dead band does not hide a text")
	})
}

func TestAWatchersDeadBandHidesNoText(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		d := run(t, pool, keywords.DispatcherConfig{}, serveEncoder).wait()
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 10))
		next := watched(t, keywords.Watch(ctx, k, Encoder, keywords.WatchOptions{DeadBand: 100}))
		next(keywords.EventInitial)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, Encoder, 10, keywords.SetOptions{Text: "calibrated"}))
		require.Equal(t, "calibrated", next(keywords.EventChange).Value.Text)
	})
}

func TestSetRefusesBadOptions(t *testing.T) {
	pool := storagetest.New(t)
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	serveEncoder(d)
	for want, o := range map[string]keywords.SetOptions{
		"keywords: SetOptions.Severity: no severity 9":                                                               {Severity: 9},
		"keywords: SetOptions.Text: 1025 bytes, the limit is 1024":                                                   {Text: strings.Repeat("a", 1025)},
		"keywords: SetOptions.Text: \"\\xff\" is not UTF-8":                                                          {Text: "\xff"},
		"keywords: SetOptions.Time: 1970-01-01 00:00:00 +0000 UTC is not after 1970-01-01 and before the year 10000": {Time: time.Unix(0, 0).UTC()},
	} {
		require.EqualError(t, keywords.Set(t.Context(), d, Encoder, 1, o), want)
	}
}

func FuzzMark(f *testing.F) {
	f.Add(uint64(1), uint64(2), int64(1_700_000_000_000_000), uint8(0), "ada@dome:12/my tool", "no signal")
	f.Add(uint64(0), uint64(0), int64(0), uint8(3), "", "")
	f.Add(uint64(1), uint64(2), int64(-1), uint8(1), " ", " \n ")
	f.Fuzz(func(t *testing.T, epoch, n uint64, at int64, severity uint8, source, remark string) {
		m := keywords.Mark{Rev: keywords.Revision{Epoch: epoch, N: n}, At: at, Severity: keywords.Severity(severity), Source: source, Remark: remark}
		keywords.ReadMark(source) // must not panic
		name, text, packed, err := keywords.Repack(source, remark, m)
		require.NoError(t, err)
		require.Equal(t, []string{source, remark}, []string{name, text})
		require.Equal(t, m, packed)
		if m.Rev != (keywords.Revision{}) {
			require.Equal(t, m, keywords.ReadMark(m.Text()))
		}
	})
}
