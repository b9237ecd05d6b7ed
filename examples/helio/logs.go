package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
)

func (t *tool) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "print what a worker has logged", ArgsUsage: "TARGET", Category: "calls and workers",
		Description: example("TARGET is the id of a worker, or a type that has one worker. A worker that keeps a log (Worker.LogHandler)\n"+
			"leaves it in Redis for an hour when it ends; by its id it can still be read.", "helio logs calc", "helio logs calc:ada:4711:k3j9x2 -n 100"),
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "n", Value: 20, Validator: positive, Usage: "the newest `N` records"},
			&cli.BoolFlag{Name: "follow", Usage: "go on with new records, until Ctrl-C"},
		}, oneTargetFlags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			args, err := arguments(cmd, "[TARGET]")
			if err != nil {
				return err
			}
			to, err := oneTargetOf(cmd, args...)
			if err != nil {
				return err
			}
			return t.withBus(ctx, cmd, bus.ClientConfig{}, func(s session) error {
				id, err := s.idOf(ctx, to)
				if err != nil {
					return err
				}
				err = s.logs(ctx, id, cmd.Int("n"), cmd.Bool("follow"))
				if cmd.Bool("follow") {
					return untilCtrlC(ctx, err)
				}
				return err
			})
		},
	}
}

// keptLog is the number of records that workers keep by default. Each look reads as
// many, so that it misses none.
const keptLog = 1000

func (s session) logs(ctx context.Context, id string, n int, follow bool) error {
	records, err := s.bus.Log(ctx, id, n)
	switch {
	case err != nil:
		return err
	case len(records) == 0 && !follow:
		return fail(exitNotFound, "no log of %s: it keeps none, has logged nothing, or ended more than an hour ago; helio workers lists those that run", id)
	}
	for {
		for _, r := range records {
			if err := s.printRecord(r); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		var last bus.LogRecord
		if len(records) > 0 {
			last = records[len(records)-1]
		}
		if records, err = s.newer(ctx, id, last); err != nil {
			return err
		}
	}
}

// newer waits for records after the last that was printed.
func (s session) newer(ctx context.Context, id string, last bus.LogRecord) ([]bus.LogRecord, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		all, err := s.bus.Log(ctx, id, keptLog)
		if err != nil {
			return nil, err
		}
		seen := slices.IndexFunc(all, func(r bus.LogRecord) bool { return r.Time.Equal(last.Time) && r.Message == last.Message })
		for seen+1 < len(all) && seen >= 0 && all[seen+1].Time.Equal(last.Time) && all[seen+1].Message == last.Message {
			seen++
		}
		if seen+1 < len(all) {
			return all[seen+1:], nil
		}
	}
}

func (t *tool) printRecord(r bus.LogRecord) error {
	if t.json {
		return t.emit(map[string]any{"time": r.Time, "level": r.Level, "message": r.Message, "attrs": r.Attrs})
	}
	_, err := fmt.Fprintln(t.out, recordLine(r))
	return err
}

// recordLine returns a record as a line of text, without the attributes that are
// empty.
func recordLine(r bus.LogRecord) string {
	var line strings.Builder
	fmt.Fprintf(&line, "%s %-5s %s", clock(r.Time), r.Level, r.Message)
	for _, name := range slices.Sorted(maps.Keys(r.Attrs)) {
		if text := fmt.Sprint(r.Attrs[name]); text != "" {
			fmt.Fprintf(&line, " %s=%s", name, text)
		}
	}
	return plain(oneLine(line.String()))
}

// ownLog writes the log of this program in the format of helio logs.
type ownLog struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
	group string // prefix of the attributes that are added next, with a dot
}

// logger returns the log of this program: warnings, and everything with --verbose.
func (t *tool) logger() *slog.Logger {
	if t.verbose {
		return slog.New(&ownLog{w: t.err, level: slog.LevelDebug})
	}
	return slog.New(&ownLog{w: t.err, level: slog.LevelWarn})
}

func (l *ownLog) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l *ownLog) Handle(_ context.Context, r slog.Record) error {
	attrs := make(map[string]any)
	for _, a := range l.attrs {
		attrs[a.Key] = a.Value
	}
	r.Attrs(func(a slog.Attr) bool {
		attrs[l.group+a.Key] = a.Value
		return true
	})
	_, err := fmt.Fprintln(l.w, recordLine(bus.LogRecord{Time: r.Time, Level: r.Level, Message: r.Message, Attrs: attrs}))
	return err
}

func (l *ownLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *l
	more.attrs = slices.Clone(l.attrs)
	for _, a := range attrs {
		more.attrs = append(more.attrs, slog.Attr{Key: l.group + a.Key, Value: a.Value})
	}
	return &more
}

func (l *ownLog) WithGroup(name string) slog.Handler {
	more := *l
	more.group += name + "."
	return &more
}
