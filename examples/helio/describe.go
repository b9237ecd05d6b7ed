package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
)

func (t *tool) listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list services, or the keywords of one", ArgsUsage: "[SERVICE]", Category: "keywords",
		Description: example("", "helio list", "helio list stage"),
		Flags:       []cli.Flag{serviceFlag()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words := cmd.Args().Slice()
			if service := cmd.String("service"); service != "" {
				words = append(words, service)
			}
			if len(words) > 1 {
				return tooMuch(cmd, words[1], "helio list [SERVICE]")
			}
			return t.withKeywords(ctx, cmd, func(s kwSession) error {
				if len(words) == 1 {
					return s.listKeywords(ctx, strings.ToLower(words[0]))
				}
				return s.listServices(ctx)
			})
		},
	}
}

func (s kwSession) listServices(ctx context.Context) error {
	services, err := s.kw.Services(ctx)
	if err != nil {
		return err
	}
	if len(services) == 0 && !s.json {
		return fail(exitNotFound, "there is no service: helio keywords serve FILE makes one%s", servicesElsewhere(ctx, s.pool))
	}
	var rows [][]string
	list := make([]map[string]any, 0, len(services))
	for _, service := range services {
		defs, err := s.kw.Keywords(ctx, service)
		if err != nil {
			return err
		}
		rows = append(rows, []string{service, strconv.Itoa(len(defs))})
		list = append(list, map[string]any{"service": service, "keywords": len(defs)})
	}
	return s.table([]string{"SERVICE", "KEYWORDS"}, rows, list)
}

func (s kwSession) listKeywords(ctx context.Context, service string) error {
	defs, err := s.all(ctx, service)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, def := range defs {
		rows = append(rows, []string{def.Name, def.Kind.String(), def.Units, access(def), plain(oneLine(def.Help))})
	}
	return s.table([]string{"KEYWORD", "KIND", "UNITS", "MAY BE", "HELP"}, rows, defs)
}

func access(def keywords.Definition) string {
	switch {
	case def.ReadOnly:
		return "read"
	case def.WriteOnly:
		return "set"
	}
	return "read, set"
}

func (t *tool) describeCommand() *cli.Command {
	return &cli.Command{
		Name: "describe", Usage: "describe keywords, or list those of a service", ArgsUsage: "SERVICE | KEYWORD...", Category: "keywords",
		Description: example("Prints the whole definition of each KEYWORD. A SERVICE lists its keywords, as helio list does.",
			"helio describe stage", "helio describe stage.SPEED", "helio describe -s stage SPEED MODE"),
		Flags: []cli.Flag{serviceFlag()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words := cmd.Args().Slice()
			service := cmd.String("service")
			if len(words) == 1 && service == "" && !strings.Contains(words[0], ".") {
				service, words = words[0], nil
			}
			if len(words) == 0 {
				if service == "" {
					return usage("KEYWORD is missing: helio describe SERVICE, or helio describe KEYWORD...")
				}
				return t.withKeywords(ctx, cmd, func(s kwSession) error { return s.listKeywords(ctx, strings.ToLower(service)) })
			}
			refs, err := refsOf(cmd, words, false)
			if err != nil {
				return err
			}
			return t.withKeywords(ctx, cmd, func(s kwSession) error {
				var all []keywords.Definition
				for _, r := range refs {
					defs, err := s.find(ctx, r)
					if err != nil {
						return err
					}
					all = append(all, defs...)
				}
				if t.json {
					return t.emit(all)
				}
				for _, def := range all {
					if err := t.describe(def); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (t *tool) describe(def keywords.Definition) error {
	rows := [][]string{
		{"help", oneLine(def.Help)}, {"kind", def.Kind.String()}, {"may be", access(def)}, {"units", def.Units}, {"format", def.Format},
		{"min", value(def, def.Min)}, {"max", value(def, def.Max)}, {"initial", value(def, def.Initial)}, {"max length", number0(def.MaxLen)},
		{"enumerators", enumerators(def)}, {"bits", strings.Join(def.Bits, ", ")}, {"elements", strings.Join(def.Elements, ", ")},
		{"alarm", alarm(def.Alarm)}, {"dead band", float0(def.DeadBand)}, {"period", period(def.Period)}, {"history", number0(def.History)},
		{"persistent", yes(def.Persist)}, {"broadcast", no(def.NoBroadcast)}, {"dispatcher", def.Dispatcher},
	}
	rows = slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
	if _, err := fmt.Fprintln(t.out, def); err != nil {
		return err
	}
	for _, line := range aligned(rows) {
		if _, err := fmt.Fprintln(t.out, "  "+plain(line)); err != nil {
			return err
		}
	}
	return nil
}

func value(def keywords.Definition, v any) string {
	if v == nil {
		return ""
	}
	return def.Text(v)
}

func number0(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func float0(f float64) string {
	if f == 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func period(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return short(d)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func no(b bool) string {
	if b {
		return "no"
	}
	return ""
}

func enumerators(def keywords.Definition) string {
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(def.Enumerators)) {
		parts = append(parts, fmt.Sprintf("%d %s", n, def.Enumerators[n]))
	}
	return strings.Join(parts, ", ")
}

func alarm(a keywords.Alarm) string {
	var parts []string
	for _, limit := range []struct {
		text string
		at   *float64
	}{{"major from %v down", a.LowMajor}, {"minor from %v down", a.LowMinor}, {"minor from %v up", a.HighMinor}, {"major from %v up", a.HighMajor}} {
		if limit.at != nil {
			parts = append(parts, fmt.Sprintf(limit.text, *limit.at))
		}
	}
	return strings.Join(parts, ", ")
}

func (t *tool) gshowCommand() *cli.Command {
	return &cli.Command{
		Name: "gshow", Usage: "show the last values of a keyword", ArgsUsage: "KEYWORD", Category: "keywords",
		Description: example("Prints the newest value last. The history in the keyword's definition says how many are kept.",
			"helio gshow -s stage SPEED -n 100", "helio gshow stage.SPEED --since 1h"),
		Flags: []cli.Flag{
			serviceFlag(),
			&cli.IntFlag{Name: "n", Value: 20, Validator: positive, Usage: "the newest `N` values"},
			&secondsFlag{Name: "since", Usage: "only values not older than this"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words, err := arguments(cmd, "KEYWORD")
			if err != nil {
				return err
			}
			refs, err := refsOf(cmd, words, false)
			if err != nil {
				return err
			}
			return t.withKeywords(ctx, cmd, func(s kwSession) error {
				return s.gshow(ctx, refs[0], cmd.Int("n"), cmd.Duration("since"))
			})
		},
	}
}

func (s kwSession) gshow(ctx context.Context, r ref, n int, since time.Duration) error {
	defs, err := s.find(ctx, r)
	switch {
	case err != nil:
		return err
	case len(defs) > 1:
		return usage("%q matches %d keywords: gshow takes one", r.name, len(defs))
	case defs[0].History == 0:
		return fail(exitNotFound, "%s keeps no history: set the number of values in its definition, as \"history\" or Spec.History", defs[0])
	}
	past, err := keywords.History(ctx, s.kw, r.service, defs[0].Name, n)
	if err != nil {
		return err
	}
	slices.Reverse(past)
	var rows [][]string
	records := make([]record, 0, len(past))
	for _, value := range past {
		if since > 0 && time.Since(value.Time) > since {
			continue
		}
		v := shown{def: defs[0], value: value}
		rows, records = append(rows, []string{clock(value.Time), v.text(), v.note(), value.Source}), append(records, v.record())
	}
	return s.table([]string{"TIME", "VALUE", "", "SET BY"}, rows, records)
}
