package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// every has a keyword of every kind.
const every = `[
	{"service":"all","name":"ON","kind":"boolean","initial":true},
	{"service":"all","name":"N32","kind":"integer","initial":1,"dispatcher":"other"},
	{"service":"all","name":"N64","kind":"integer64","initial":2},
	{"service":"all","name":"F32","kind":"float","initial":0.1,"units":"m"},
	{"service":"all","name":"F64","kind":"double","initial":"NaN"},
	{"service":"all","name":"MODE","kind":"enumerated","enumerators":{"0":"idle","1":"track"},"initial":"idle"},
	{"service":"all","name":"LAMPS","kind":"mask","bits":["red","green"],"initial":"red"},
	{"service":"all","name":"NOTE","kind":"string","initial":"two words"},
	{"service":"all","name":"BLOB","kind":"bytes","initial":"AAH/"},
	{"service":"all","name":"NS","kind":"integer array","initial":[1,2]},
	{"service":"all","name":"FS","kind":"double array","initial":[1.5]},
	{"service":"all","name":"BS","kind":"boolean array","initial":[true,false]},
	{"service":"all","name":"F32S","kind":"float array","initial":[0.1]},
	{"service":"all","name":"SS","kind":"string array","initial":["a","b c"]},
	{"service":"all","name":"UNSET","kind":"double"},
	{"service":"all","name":"SECRET","kind":"string","write_only":true},
	{"service":"all","name":"FIXED","kind":"double","initial":3,"read_only":true}
]`

// serving serves the keywords of a file.
func (s shellOn) serving(definitions string) *running {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "keywords")
	require.NoError(s.t, os.WriteFile(file, []byte(definitions), 0o600))
	r := s.start("keywords", "serve", file)
	r.ready()
	return r
}

func TestKeywordsOfEveryKind(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		serve := s.serving(every)
		require.Equal(t, strings.Join([]string{
			"BLOB   AAH/", "BS     true false", "F32    0.1 m", "F32S   0.1", "F64    NaN         invalid", "FIXED  3", "FS     1.5", "LAMPS  red", "MODE   idle", "N32    1", "N64    2",
			"NOTE   two words", "NS     1 2", "ON     true", `SS     a "b c"`, "UNSET  (no value)",
		}, "\n"), s.ok("show", "-s", "all"))
		json := s.ok("show", "-s", "all", "-o", "json")
		require.Equal(t, json, s.ok("show", "-s", "all", "-o", "json", "--terse"))
		for _, want := range []string{
			`"keyword":"ON","value":true,`, `"keyword":"N64","value":2,`, `"keyword":"F32","value":0.1,"units":"m",`, `"keyword":"F64","value":"NaN",`,
			`"keyword":"MODE","value":"idle",`, `"keyword":"LAMPS","value":"red",`, `"keyword":"BS","value":[true,false],`, `"keyword":"F32S","value":[0.1],`, `"keyword":"NS","value":[1,2],`, `"keyword":"SS","value":["a","b c"],`, `"keyword":"UNSET","value":null,`,
		} {
			require.Contains(t, json, want)
		}
		for _, setting := range []string{"ON=false", "N32=0x10", "N64=-5", "F32=1.5", "F64=2e3", "MODE=1", "LAMPS=red,green", "NOTE=a = b", "BLOB=AAAA", "NS=3 4", "FS=1,2", "SS=x", "BS=no yes no", "F32S=1 0.25"} {
			s.ok("modify", "-s", "ALL", setting)
		}
		require.Equal(t, "false\n16\n-5\n1.5\n2000\ntrack\nred,green\na = b\nAAAA\n3 4\n1 2\nx\nfalse true false\n1 0.25",
			s.ok("show", "-s", "all", "on", "N32", "N64", "F32", "F64", "MODE", "LAMPS", "NOTE", "BLOB", "NS", "FS", "SS", "BS", "F32S", "--terse"))
		require.Equal(t, "all.FIXED: read_only", s.fails(exitFailed, "modify", "all.FIXED=4"))
		require.Contains(t, s.fails(exitFailed, "show", "all.SECRET"), "all.SECRET is write-only")
		require.Contains(t, s.fails(exitUsage, "modify", "all.*=4"), "names, not patterns")

		// What list prints can be served.
		again := s.ok("list", "all", "-o", "json")
		require.Equal(t, exitOK, serve.end())
		require.Regexp(t, `MODE +track +stale`, s.ok("show", "all.MODE"), "values outlive the dispatcher")
		require.Equal(t, "all: 17 keywords cleared", s.ok("keywords", "clear", "all"))
		s.serving(again)
		require.Equal(t, "idle", s.ok("show", "all.MODE", "--terse"))
	})
}

const stage = `[
	{"service":"stage","name":"SPEED","kind":"double","units":"mm/s","min":0,"max":20,"initial":0,"history":3},
	{"service":"stage","name":"MODE","kind":"enumerated","enumerators":{"0":"idle","1":"track"},"initial":"idle"}
]`

func TestModify(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	serve := s.serving(stage)
	require.Equal(t, "stage.SPEED = 3.5 mm/s\nstage.MODE = track", s.ok("modify", "-s", "stage", "SPEED=3.5", "MODE=track"))
	require.Contains(t, s.fails(exitFailed, "modify", "-s", "stage", "SPEED=5", "MODE=fast"), `no enumerator "fast": want one of idle, track`)
	require.Contains(t, s.fails(exitFailed, "modify", "-s", "stage", "SPEED=5", "SPEED=25"), "stage.SPEED: range: 25 is above 20")
	require.Equal(t, "3.5", s.ok("show", "stage.SPEED", "--terse"), "nothing is set unless all settings are valid")
	require.Equal(t, `"SPEED": want KEYWORD=VALUE, such as SPEED=3.5`, s.fails(exitUsage, "modify", "-s", "stage", "SPEED"))
	require.Equal(t, `"SPEED" names no service: write -s SERVICE SPEED, or SERVICE.SPEED`, s.fails(exitUsage, "modify", "SPEED=1"))
	require.Equal(t, "no keyword SPED in service stage; keywords: MODE, SPEED", s.fails(exitNotFound, "modify", "stage.SPED=1"))
	require.Equal(t, `no service "stge"; services: stage`, s.fails(exitNotFound, "modify", "stge.SPEED=1"))
	require.Equal(t, s.ok("list", "stage"), s.ok("describe", "stage"))
	require.Equal(t, s.ok("list", "stage", "-o", "json"), s.ok("describe", "-s", "Stage", "-o", "json"))
	require.Contains(t, s.ok("describe", "stage.SPEED"), "  max         20\n")
	require.Equal(t, `no service "stge"; services: stage`, s.fails(exitNotFound, "describe", "stge"))
	require.Equal(t, "KEYWORD is missing: helio describe SERVICE, or helio describe KEYWORD...", s.fails(exitUsage, "describe"))

	require.Contains(t, s.fails(exitUsage, "modify", "-s", "stage", "MODE"), "want KEYWORD=VALUE")
	require.Equal(t, "3.5", s.ok("show", "stage.SPEED", "--terse", "--refresh"))

	_, rev, _ := strings.Cut(s.ok("modify", "stage.SPEED=4", "-o", "json"), `"revision":"`)
	rev = strings.TrimSuffix(strings.Split(rev, `"`)[0], `"`)
	s.ok("modify", "stage.SPEED=5", "--if_revision", rev)
	require.Contains(t, s.fails(exitFailed, "modify", "stage.SPEED=6", "--if_revision", rev), "stage.SPEED: revision")
	require.Contains(t, s.fails(exitUsage, "modify", "stage.SPEED=6", "--if_revision", "x"), "--if_revision: ")

	require.Regexp(t, `^TIME +VALUE +SET BY\n\S+ +3.5 mm/s .*\n\S+ +4 mm/s .*\n\S+ +5 mm/s .*$`, s.ok("gshow", "-s", "stage", "SPEED"))
	require.Equal(t, 2, strings.Count(s.ok("gshow", "stage.SPEED", "-n", "1"), "\n")+1)
	require.Contains(t, s.fails(exitNotFound, "gshow", "stage.MODE"), "keeps no history")

	require.Contains(t, s.fails(exitFailed, "keywords", "clear", "stage"), "stage is served")
	file := filepath.Join(t.TempDir(), "k.json")
	require.NoError(t, os.WriteFile(file, []byte(stage), 0o600))
	require.Contains(t, s.fails(exitFailed, "keywords", "serve", file), "stage is served already")
	require.Equal(t, exitOK, serve.end())
	require.Contains(t, s.fails(exitNotFound, "modify", "stage.SPEED=6"), `no dispatcher serves stage.SPEED: start dispatcher "main" of service stage`)
	require.Contains(t, s.fails(exitNotFound, "show", "stage.SPEED", "--refresh"), "no dispatcher serves stage.SPEED")
	s.ok("keywords", "clear", "stage")
	require.Contains(t, s.fails(exitNotFound, "keywords", "clear", "stage"), `no service "stage": there is no service at all`)
	require.Contains(t, s.fails(exitNotFound, "list"), "no service: ")
	require.Equal(t, "[]", s.ok("list", "-o", "json"))
}

func TestWaitfor(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	s.serving(stage)
	wait := s.start("waitfor", "-s", "stage", "SPEED > 3 and MODE == track", "-t", "100")
	s.ok("modify", "stage.MODE=track")
	s.ok("modify", "stage.SPEED=4")
	require.Equal(t, exitOK, wait.wait(), &wait.errs)
	require.Empty(t, wait.out.String())
	s.ok("waitfor", "$stage.SPEED > 3", "-t", "10")
	require.Equal(t, `{"true":true}`, s.ok("waitfor", "-s", "stage", "SPEED", ">", "3", "-o", "json"))
	require.Equal(t, "SPEED > 5 was not true within 50ms: SPEED is 4 mm/s", s.fails(exitLate, "waitfor", "-s", "stage", "SPEED > 5", "-t", "0.05"))
	require.Equal(t, "the expression ends, want a value", s.fails(exitUsage, "waitfor", "-s", "stage", "SPEED >"))
	require.Contains(t, s.fails(exitUsage, "waitfor", "SPEED > 5"), "a keyword begins with $")
	s.ok("waitfor", "-s", "stage", "MODE == 'TRACK'", "--ignore_case")
	s.ok("waitfor", "-s", "stage", "mode == track and Speed > 3")
	require.Equal(t, "service stage has no keyword MOED: helio list stage lists them; a string must be in quotes", s.fails(exitNotFound, "waitfor", "-s", "stage", "MOED == track"))
	require.Equal(t, `--count: "0": want 1 or more`, s.fails(exitUsage, "watch", "-s", "stage", "--count", "0"))
	require.Contains(t, s.fails(exitNotFound, "waitfor", "$stage.SPED > 5"), "stage.SPED: unknown_keyword")
}

func TestDollars(t *testing.T) {
	t.Parallel()
	defs := []keywords.Definition{{Name: "SPEED"}, {Name: "MODE"}}
	for condition, want := range map[string]string{
		"SPEED > 3":                          "$SPEED > 3",
		"$SPEED>SPEED":                       "$SPEED>$SPEED",
		"$stage.SPEED > 3":                   "$stage.SPEED > 3",
		"${my-stage.SPEED} > SPEED[0]":       "${my-stage.SPEED} > $SPEED[0]",
		"MODE == 'SPEED' or MODE == \"SPEED": "$MODE == 'SPEED' or $MODE == \"SPEED",
		"SPEED == SPEEDY-MODE":               "$SPEED == SPEEDY-$MODE",
		"(SPEED)":                            "($SPEED)",
		"":                                   "",
		"speed > 3 and Mode == 'speed'":      "$SPEED > 3 and $MODE == 'speed'",
		`MODE == 'it\'s MODE' or "\"MODE`:    `$MODE == 'it\'s MODE' or "\"MODE`,
		"not true == SPEED or 0x1f < .5e3":   "not true == $SPEED or 0x1f < .5e3",
		`MODE in (idle, MODE)`:               "$MODE in (idle, $MODE)",
	} {
		got, _, unknown := dollars(condition, defs)
		require.Equal(t, want, got)
		require.Empty(t, unknown, condition)
	}
	text, names, _ := dollars("has IN and ascii(IN)", []keywords.Definition{{Name: "IN"}, {Name: "AND"}, {Name: "ASCII"}})
	require.Equal(t, "has $IN and ascii($IN)", text)
	require.Equal(t, []string{"IN"}, names, "words of the language are no keywords")
	words := []keywords.Definition{{Name: "MODE"}, {Name: "TRACK"}, {Name: "POWER"}}
	for condition, want := range map[string]string{
		"mode == Track": "$MODE == Track", "MODE == TRACK": "$MODE == $TRACK", "3 < power": "3 < $POWER",
		"On == POWER": "On == $POWER", "Fault in MODE": "Fault in $MODE", "On == $other.POWER": "On == $other.POWER",
	} {
		text, _, unknown := dollars(condition, words)
		require.Equal(t, want, text)
		require.Empty(t, unknown, condition)
	}
	_, names, _ = dollars("SPEED > MODE and speed", defs)
	require.Equal(t, []string{"SPEED", "MODE"}, names)
	for _, condition := range []string{
		"MOED == track", "SPEED > 3 and MOED=track", "MOED<3", "MOED != 'track'", "not MOED in (idle)", "MOED not  in (idle)", "(MOED has x)", "MOED >= 3 and X == 1", "-MOED > 1",
	} {
		_, _, unknown := dollars(condition, defs)
		require.Equal(t, "MOED", unknown, condition)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		serve := s.serving(stage)
		w := s.start("watch", "-s", "stage")
		w.out.Await(t, "stage.SPEED = 0 mm/s\n")
		w.out.Await(t, "stage.MODE = idle\n")
		s.ok("modify", "stage.SPEED=4")
		w.out.Await(t, "stage.SPEED = 4 mm/s\n")
		js := s.start("watch", "stage.SPEED", "stage.MODE", "-o", "json", "--count", "2")
		js.out.Await(t, `"event":"initial","value":4,"units":"mm/s"`)
		js.out.Await(t, `"event":"initial","value":"idle"`)
		require.Equal(t, exitOK, js.wait())
		serve.end()
		w.out.Await(t, "stage.SPEED = 4 mm/s  stale\n")
		require.Equal(t, exitOK, w.end())
		require.Empty(t, w.errs.String())
		require.Equal(t, "no keyword X in service stage; keywords: MODE, SPEED", s.fails(exitNotFound, "watch", "stage.X"))
	})
}

func TestKeywordFilesThatAreWrong(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	for text, want := range map[string]string{
		"[]":   "defines no keyword",
		"{":    "",
		"":     "",
		`[{}]`: "",
		`[{"service":"stage","name":"SPEED","kind":"double","maxx":1}]`: "maxx",
		`<bundle>`: "",
	} {
		file := filepath.Join(t.TempDir(), "k")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.Contains(t, s.fails(exitUsage, "keywords", "serve", file), want)
	}
	require.Contains(t, s.fails(exitUsage, "keywords", "serve", "/no/such"), "no such file")
	require.Contains(t, s.fails(exitUsage, "keywords", "srve"), "did you mean serve?")
}

// An interrupted modify says that it may still be carried out.
func TestModifyThatIsInterrupted(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	begun := make(chan struct{})
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Drain: time.Millisecond})
	require.NoError(t, err)
	speed := keywords.Define("stage", "SPEED", keywords.Spec[float64]{})
	keywords.Serve(d, speed, keywords.Hooks[float64]{Write: func(ctx context.Context, _ float64) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-d.Ready()
	r := s.start("modify", "stage.SPEED=1")
	<-begun
	require.Equal(t, exitInterrupted, r.end())
	require.Equal(t, "helio: interrupted: stage.SPEED may still be set\n", r.errs.String())
	cancel()
	<-ended
}

func TestDispatchers(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	require.Contains(t, s.fails(exitNotFound, "dispatchers", "stage"), `no service "stage"`)
	serve := s.serving(stage)
	require.Regexp(t, `^DISPATCHER +STATE +EPOCH +HOST +PID +SINCE +FOR +WORKER\nmain +serves +\d{16} +\S+ +\d+ +\S+ +\S+ +kw\.stage\.main:\S+$`, s.ok("dispatchers", "stage"))
	require.Contains(t, s.fails(exitNotFound, "dispatchers", "dome"), "services: stage")
	require.Regexp(t, `^\[\{"service":"stage","name":"main","serving":\{"worker":"kw\.stage\.main:\S+","host":"\S+","pid":\d+,"since":"\S+"\},"epoch":\d+,"standbys":\[\]\}\]$`,
		s.ok("dispatchers", "STAGE", "-o", "json"))
	require.Equal(t, exitOK, serve.end())
	require.Regexp(t, `\nmain +none +\d{16}$`, s.ok("dispatchers", "stage"))
	require.Contains(t, s.fails(exitUsage, "dispatchers"), "SERVICE is missing")
}

// The keywords of several dispatchers can't be set in one step: the error names those
// that were set.
func TestModifyOfSeveralDispatchers(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	dome := s.serving(strings.ReplaceAll(stage, "stage", "dome"))
	s.serving(stage)
	require.Equal(t, "dome.SPEED = 1 mm/s\ndome.MODE = track\nstage.SPEED = 2 mm/s", s.ok("modify", "dome.SPEED=1", "stage.SPEED=2", "dome.MODE=track"))
	require.Equal(t, exitOK, dome.end())
	r := s.helio("", "modify", "stage.SPEED=3", "dome.SPEED=3", "dome.MODE=idle")
	require.Equal(t, exitNotFound, r.status)
	require.Equal(t, "stage.SPEED = 3 mm/s\n", r.out)
	require.Contains(t, r.err, "no dispatcher serves dome.SPEED, dome.MODE: ")
	require.Contains(t, r.err, "; already set: stage.SPEED\n")
}

// Every value is printed, from a revision on; what the history has lost is told.
func TestWatchEvery(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	s.serving(stage)
	for _, speed := range []string{"1", "2", "3"} {
		s.ok("modify", "stage.SPEED="+speed)
	}
	require.Regexp(t, `(?s)values after 0:1 and before \d+:\d+ are lost.* = 1 mm/s\n.* = 2 mm/s\n.* = 3 mm/s$`, s.ok("watch", "stage.SPEED", "--every", "--from", "0:1", "--count", "4"))
	first, _, _ := strings.Cut(s.ok("watch", "stage.SPEED", "--every", "--from", "0:1", "--count", "2", "-o", "json"), "\n")
	require.Regexp(t, `^\{"service":"stage","keyword":"SPEED","event":"gap",.*"gap":\{"after":"0:1","before":"\d+:\d+"\}\}$`, first)
	require.Contains(t, s.fails(exitFailed, "watch", "stage.MODE", "--every"), "Spec.History of the keyword is 0")
	require.Equal(t, `--from: "five" is no revision such as 1790000000000000:5`, s.fails(exitUsage, "watch", "stage.SPEED", "--every", "--from", "five"))
	require.Equal(t, "--from is for --every", s.fails(exitUsage, "watch", "stage.SPEED", "--from", "0:1"))
	require.Equal(t, "--from is a revision of one keyword", s.fails(exitUsage, "watch", "-s", "stage", "--every", "--from", "0:1"))
	require.Equal(t, "--every prints every value: it can't be with --interval", s.fails(exitUsage, "watch", "stage.SPEED", "--every", "--interval", "1"))
}
