package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
)

func (t *tool) modifyCommand() *cli.Command {
	return &cli.Command{
		Name: "modify", Usage: "set keywords", ArgsUsage: "KEYWORD=VALUE...", Category: "keywords",
		Description: example("Returns when the dispatcher has set the keyword. Several keywords of one dispatcher are set in one step, all or none.", "helio modify -s stage SPEED=3.5", "helio modify stage.SPEED=3.5 dome.SHUTTER=open"),
		Flags: []cli.Flag{
			serviceFlag(),
			&secondsFlag{Name: "timeout", Aliases: []string{"t"}, Value: 30 * time.Second, Usage: "how long to wait for the dispatcher"},
			&cli.StringFlag{Name: "if_revision", Usage: "set the keyword only if it still has this `REVISION`, from helio show --long"},
		},
		Action: t.modify,
	}
}

func (t *tool) modify(ctx context.Context, cmd *cli.Command) error {
	words, err := arguments(cmd, "KEYWORD=VALUE...")
	if err != nil {
		return err
	}
	refs, err := refsOf(cmd, words, true)
	if err != nil {
		return err
	}
	var opts keywords.ModifyOptions
	if text := cmd.String("if_revision"); text != "" {
		if opts.IfRevision, err = keywords.ParseRevision(text); err != nil || len(refs) > 1 {
			return usage("--if_revision: want one keyword and its revision, as helio show --long prints it")
		}
	}
	return t.withKeywords(ctx, cmd, func(s kwSession) error {
		settings, err := s.check(ctx, refs)
		if err != nil {
			return err
		}
		steps := stepsOf(settings)
		for i, step := range steps {
			if err := s.set(ctx, step, opts, cmd.Duration("timeout")); err != nil {
				if i > 0 {
					f := explain(ctx, err)
					err = &failure{f.status, f.text + "; already set: " + names(slices.Concat(steps[:i]...))}
				}
				return err
			}
		}
		return nil
	})
}

// stepsOf groups settings by dispatcher: each group is set in one step.
func stepsOf(settings []shown) (steps [][]shown) {
	for _, v := range settings {
		i := slices.IndexFunc(steps, func(step []shown) bool {
			return step[0].def.Service == v.def.Service && step[0].def.Dispatcher == v.def.Dispatcher
		})
		if i < 0 {
			i, steps = len(steps), append(steps, nil)
		}
		steps[i] = append(steps[i], v)
	}
	return steps
}

func names(values []shown) string {
	var names []string
	for _, v := range values {
		names = append(names, v.def.String())
	}
	return some(names)
}

// check returns the settings, or what is wrong with one of them, before any is set.
func (s kwSession) check(ctx context.Context, refs []ref) (settings []shown, err error) {
	for _, r := range refs {
		if strings.ContainsAny(r.name, "*?[") {
			return nil, usage("%q: modify takes names, not patterns", r.name)
		}
		defs, err := s.find(ctx, r)
		if err != nil {
			return nil, err
		}
		def := defs[0]
		v, err := def.Parse(r.text)
		if err == nil {
			err = def.Check(v)
		}
		if refused := new(keywords.Error); errors.As(err, &refused) {
			return nil, fail(exitFailed, "%s%s", plainly(refused), hint(def))
		} else if err != nil {
			return nil, err
		}
		settings = append(settings, shown{def: def, value: keywords.Value[string]{V: r.text}})
	}
	return settings, nil
}

// hint says which values a keyword may have.
func hint(def keywords.Definition) string {
	if len(def.Enumerators) > 0 || len(def.Bits) > 0 {
		return "" // the error names them
	}
	return fmt.Sprintf(": helio describe %s shows the allowed values", def)
}

// set lets a dispatcher set keywords in one step.
func (s kwSession) set(ctx context.Context, step []shown, opts keywords.ModifyOptions, timeout time.Duration) error {
	var settings []keywords.Setting
	for _, v := range step {
		settings = append(settings, v.def.To(v.value.V, opts))
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := s.begin("setting " + names(step))
	rev, err := keywords.ModifyMany(waiting, s.kw, settings...)
	p.end()
	switch def := step[0].def; {
	case err == nil:
	case ctx.Err() != nil:
		return fail(exitInterrupted, "interrupted: %s may still be set", names(step))
	case errors.Is(err, keywords.ErrNoDispatcher):
		return fail(exitNotFound, "no dispatcher serves %s: start dispatcher %q of service %s, or helio keywords serve FILE", names(step), def.Dispatcher, def.Service)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(exitLate, "%s was not set within %s and may still be set later: wait longer with -t", names(step), short(timeout))
	default:
		return err
	}
	for _, v := range step {
		if s.json {
			err = s.emit(map[string]any{"service": v.def.Service, "keyword": v.def.Name, "value": v.json(), "revision": rev.String()})
		} else {
			_, err = fmt.Fprintf(s.out, "%s = %s\n", v.def, v.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
