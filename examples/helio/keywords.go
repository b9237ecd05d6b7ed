package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

func serviceFlag() cli.Flag {
	return &cli.StringFlag{Name: "service", Aliases: []string{"s"}, Usage: "`SERVICE` of the keywords; without it, write SERVICE.KEYWORD"}
}

// kwSession is a keyword client and what is needed to print what it returns.
type kwSession struct {
	*tool
	pool *storage.Pool
	kw   *keywords.Client
}

func (t *tool) withKeywords(ctx context.Context, cmd *cli.Command, do func(s kwSession) error) error {
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		k, err := keywords.NewClient(pool, keywords.ClientConfig{})
		if err != nil {
			return err
		}
		return do(kwSession{t, pool, k})
	})
}

// ref names a keyword, or those that match a glob. Text is the value to be set.
type ref struct{ service, name, text string }

// refsOf parses keywords: SPEED with -s stage, or stage.SPEED. With settings each has
// a value: SPEED=3.5.
func refsOf(cmd *cli.Command, words []string, settings bool) (refs []ref, err error) {
	service := strings.ToLower(cmd.String("service"))
	for _, word := range words {
		r := ref{service: service, name: word}
		if settings {
			var ok bool
			if r.name, r.text, ok = strings.Cut(word, "="); !ok {
				return nil, usage("%q: want KEYWORD=VALUE, such as SPEED=3.5", word)
			}
		}
		if r.service == "" {
			of, name, ok := strings.Cut(r.name, ".")
			if !ok {
				return nil, usage("%q names no service: write -s SERVICE %s, or SERVICE.%s", r.name, r.name, r.name)
			}
			r.service, r.name = strings.ToLower(of), name
		}
		r.name = strings.ToUpper(strings.TrimSpace(r.name))
		refs = append(refs, r)
	}
	return refs, nil
}

// all returns the definitions of a service. The error for an unknown service lists
// those that exist.
func (s kwSession) all(ctx context.Context, service string) ([]keywords.Definition, error) {
	defs, err := s.kw.Keywords(ctx, service)
	if !errors.Is(err, keywords.CodeUnknownService) {
		return defs, err
	}
	services, err := s.kw.Services(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(services) == 0:
		return nil, fail(exitNotFound, "no service %q: there is no service at all; helio keywords serve FILE makes one%s", service, servicesElsewhere(ctx, s.pool))
	}
	return nil, fail(exitNotFound, "no service %q; services: %s", service, some(services))
}

// find returns the definitions that a ref means.
func (s kwSession) find(ctx context.Context, r ref) ([]keywords.Definition, error) {
	defs, err := s.all(ctx, r.service)
	if err != nil {
		return nil, err
	}
	if _, err := path.Match(r.name, ""); err != nil {
		return nil, usage("%q: a bracket is not closed", r.name)
	}
	var found []keywords.Definition
	var names []string
	for _, def := range defs {
		names = append(names, def.Name)
		if ok, _ := path.Match(r.name, def.Name); ok {
			found = append(found, def)
		}
	}
	if len(found) == 0 {
		return nil, fail(exitNotFound, "no keyword %s in service %s; keywords: %s", r.name, r.service, some(names))
	}
	return found, nil
}

// shown is a value as it is printed.
type shown struct {
	def   keywords.Definition
	value keywords.Value[string]
	none  bool // the keyword has no value yet
}

// text returns the value with its units, for text output.
func (v shown) text() string {
	if v.none {
		return "(no value)"
	}
	text := v.value.V
	if parsed, err := v.def.Parse(text); err == nil {
		text = v.def.Display(parsed)
	}
	return plain(strings.TrimSpace(oneLine(text) + " " + v.def.Units))
}

// at returns the time when the value was set, or nothing.
func (v shown) at() string {
	if v.value.Time.IsZero() {
		return ""
	}
	return clock(v.value.Time)
}

// note returns the severity and the quality of the value, unless they are good, and what
// the device says of it.
func (v shown) note() string {
	var notes []string
	if v.value.Severity != keywords.SeverityNone {
		notes = append(notes, v.value.Severity.String())
	}
	if v.value.Text != "" {
		notes = append(notes, "("+plain(oneLine(v.value.Text))+")")
	}
	if v.value.Quality != keywords.QualityGood {
		notes = append(notes, v.value.Quality.String())
	}
	return strings.Join(notes, " ")
}

// json returns the value for JSON output: a boolean, number or array if it is one, and
// a string if it is a name.
func (v shown) json() any {
	if v.none {
		return nil
	}
	parsed, err := v.def.Parse(v.value.V)
	if err != nil || v.def.Kind == keywords.KindEnumerated || v.def.Kind == keywords.KindMask {
		return v.value.V
	}
	switch v.def.Kind { // with the digits of their text: as doubles they have more
	case keywords.KindFloat:
		parsed = float32(parsed.(float64))
	case keywords.KindFloatArray:
		list := []float32{}
		for _, f := range parsed.([]float64) {
			list = append(list, float32(f))
		}
		parsed = list
	}
	if _, err := storage.JSON.Marshal(parsed); err != nil {
		return v.value.V // NaN and Inf are no JSON numbers
	}
	return parsed
}

// record is a value in JSON output.
type record struct {
	Service  string            `json:"service"`
	Keyword  string            `json:"keyword"`
	Event    string            `json:"event,omitempty"`
	Value    any               `json:"value"`
	Units    string            `json:"units,omitempty"`
	Time     *time.Time        `json:"time,omitempty"`
	Revision string            `json:"revision,omitempty"`
	Stale    bool              `json:"stale,omitempty"`
	Severity keywords.Severity `json:"severity"`
	Text     string            `json:"text,omitempty"`
	Source   string            `json:"source,omitempty"`
	Gap      *keywords.Gap     `json:"gap,omitempty"`
}

func (v shown) record() record {
	r := record{Service: v.def.Service, Keyword: v.def.Name, Value: v.json(), Units: v.def.Units,
		Revision: v.value.Rev.String(), Stale: v.value.Quality != keywords.QualityGood, Severity: v.value.Severity, Text: v.value.Text, Source: v.value.Source}
	if !v.value.Time.IsZero() {
		r.Time = &v.value.Time
	}
	return r
}

func (t *tool) showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show the values of keywords", ArgsUsage: "[KEYWORD | GLOB]...", Category: "keywords",
		Description: example("Reads the named keywords of a service at one moment; without names, all of the service.",
			"helio show -s stage SPEED TARGET", "helio show -s stage 'S*'", "helio show stage.SPEED --terse"),
		Flags: []cli.Flag{
			serviceFlag(),
			&cli.BoolFlag{Name: "refresh", Usage: "let the dispatcher read the values anew first"},
			&cli.BoolFlag{Name: "terse", Usage: "print only the values, in the form that modify takes"},
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "also print time, source and revision"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words := cmd.Args().Slice()
			if len(words) == 0 {
				if cmd.String("service") == "" {
					return usage("KEYWORD is missing: helio show -s SERVICE shows all of a service, and helio list lists the services")
				}
				words = []string{"*"}
			}
			refs, err := refsOf(cmd, words, false)
			if err != nil {
				return err
			}
			return t.withKeywords(ctx, cmd, func(s kwSession) error {
				values, err := s.read(ctx, refs)
				if err == nil && cmd.Bool("refresh") {
					values, err = s.refresh(ctx, values)
				}
				if err != nil {
					return err
				}
				return s.show(values, cmd.String("service") == "", cmd.Bool("terse"), cmd.Bool("long"))
			})
		},
	}
}

// read returns the values of keywords, those of one service at one moment.
func (s kwSession) read(ctx context.Context, refs []ref) (values []shown, err error) {
	names := make(map[string][]string) // by service
	for _, r := range refs {
		defs, err := s.find(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			switch {
			case def.WriteOnly && r.name == def.Name:
				return nil, fail(exitFailed, "%s is write-only", def)
			case def.WriteOnly:
				continue
			}
			values = append(values, shown{def: def})
			names[r.service] = append(names[r.service], def.Name)
		}
	}
	for service, some := range names {
		read, err := keywords.ReadMany(ctx, s.kw, service, some...)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if v.def.Service == service {
				value, ok := read[v.def.Name]
				values[i].value, values[i].none = value, !ok
			}
		}
	}
	return values, nil
}

// refresh makes the dispatchers read the values anew.
func (s kwSession) refresh(ctx context.Context, values []shown) ([]shown, error) {
	p := s.begin("refreshing " + names(values))
	defer p.end()
	for i, v := range values {
		read, err := keywords.ReadText(ctx, s.kw, v.def.Service, v.def.Name, keywords.ReadOptions{Refresh: true})
		switch {
		case errors.Is(err, keywords.ErrNoDispatcher):
			return nil, fail(exitNotFound, "no dispatcher serves %s: without --refresh its last value is shown", v.def)
		case err != nil && !errors.Is(err, keywords.ErrNoValue):
			return nil, err
		}
		values[i].value, values[i].none = read, err != nil
	}
	return values, nil
}

func (s kwSession) show(values []shown, full, terse, long bool) error {
	var rows [][]string
	records := make([]record, 0, len(values))
	for _, v := range values {
		records = append(records, v.record())
		name := v.def.Name
		if full {
			name = v.def.String()
		}
		if terse {
			rows = append(rows, []string{oneLine(v.value.V)})
			continue
		}
		row := []string{name, v.text(), v.note()}
		if long {
			row = append(row, v.at(), v.value.Source, v.value.Rev.String())
		}
		rows = append(rows, row)
	}
	if s.json {
		return s.emit(records)
	}
	for i, line := range aligned(rows) {
		if values[i].note() != "" {
			line = s.dress.yellow(line)
		}
		if _, err := fmt.Fprintln(s.out, plain(line)); err != nil {
			return err
		}
	}
	return nil
}
