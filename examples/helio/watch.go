package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
)

func (t *tool) watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "print values and their changes, until Ctrl-C", ArgsUsage: "[KEYWORD | GLOB]...", Category: "keywords",
		Description: example("Prints the current values, then each change. If changes come faster than they are printed, the newest is printed next. "+
			"With --every each value is printed, out of the keyword's history, and what that has lost is told.",
			"helio watch -s stage", "helio watch -s stage SPEED 'T*' --interval 0.5", "helio watch stage.SPEED dome.SHUTTER", "helio watch stage.TEMP --every --from 0:1 -o json"),
		Flags: []cli.Flag{
			serviceFlag(),
			&secondsFlag{Name: "interval", Usage: "minimum time between two lines of a keyword"},
			&cli.BoolFlag{Name: "every", Usage: "print every value; the keywords must keep a history"},
			&cli.StringFlag{Name: "from", Usage: "with --every: begin after the `REVISION` that was printed last; 0:1 begins with the oldest value of the history"},
			&cli.IntFlag{Name: "count", HideDefault: true, Validator: positive, Usage: "end after `N` lines"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words := cmd.Args().Slice()
			if len(words) == 0 {
				if cmd.String("service") == "" {
					return usage("KEYWORD is missing: helio watch -s SERVICE watches all of a service, and helio list lists the services")
				}
				words = []string{"*"}
			}
			refs, err := refsOf(cmd, words, false)
			if err != nil {
				return err
			}
			opts := keywords.WatchOptions{MinInterval: cmd.Duration("interval"), Every: cmd.Bool("every")}
			if opts.From, err = keywords.ParseRevision(cmd.String("from")); err != nil {
				return usage("--from: %q is no revision such as 1790000000000000:5", cmd.String("from"))
			}
			switch {
			case opts.Every && opts.MinInterval != 0:
				return usage("--every prints every value: it can't be with --interval")
			case !opts.Every && cmd.IsSet("from"):
				return usage("--from is for --every")
			case cmd.IsSet("from") && (len(refs) > 1 || strings.ContainsAny(refs[0].name, "*?[")):
				return usage("--from is a revision of one keyword")
			}
			return untilCtrlC(ctx, t.withKeywords(ctx, cmd, func(s kwSession) error {
				return s.watch(ctx, refs, cmd.Int("count"), opts)
			}))
		},
	}
}

// errEnough ends a command that has printed --count lines.
var errEnough = errors.New("enough")

func (s kwSession) watch(ctx context.Context, refs []ref, count int, opts keywords.WatchOptions) error {
	defs := make(map[string]keywords.Definition) // by service.NAME
	for _, r := range refs {
		found, err := s.find(ctx, r)
		if err != nil {
			return err
		}
		for _, def := range found {
			defs[def.String()] = def
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex // of printing
	lines := 0
	for _, r := range refs {
		wg.Go(func() {
			for ev, err := range keywords.WatchText(ctx, s.kw, r.service, r.name, opts) {
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				if err = s.event(ctx, defs, ev); err == nil {
					lines++
					if lines == count {
						err = errEnough
					}
				}
				if ctx.Err() != nil || err != nil {
					mu.Unlock()
					cancel(err)
					return
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// event prints an event. It asks for the definition of a keyword that is new.
func (s kwSession) event(ctx context.Context, defs map[string]keywords.Definition, ev keywords.Event[string]) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch ev.Kind {
	case keywords.EventGone:
		return s.gone(ev)
	case keywords.EventGap:
		return s.gap(ev)
	}
	if ev.Kind == keywords.EventRedefined {
		defs[ev.Definition.String()] = *ev.Definition
	}
	def, ok := defs[ev.Service+"."+ev.Keyword]
	if !ok {
		var err error
		if def, err = s.kw.Describe(ctx, ev.Service, ev.Keyword); err != nil {
			def = keywords.Definition{Service: ev.Service, Name: ev.Keyword, Kind: keywords.KindString}
		}
		defs[def.String()] = def
	}
	v := shown{def: def, value: ev.Value, none: ev.Value.Rev == keywords.Revision{}}
	if s.json {
		r := v.record()
		r.Event = ev.Kind.String()
		return s.emit(r)
	}
	line := fmt.Sprintf("%s  %s = %s", clock(ev.Value.Time), def, v.text())
	if ev.Kind == keywords.EventRedefined {
		line += "  redefined"
	}
	if note := v.note(); note != "" {
		line = s.dress.yellow(line + "  " + note)
	}
	_, err := fmt.Fprintln(s.out, line)
	return err
}

// gone prints that a keyword or a whole service is no longer defined.
func (s kwSession) gone(ev keywords.Event[string]) error {
	if s.json {
		return s.emit(record{Service: ev.Service, Keyword: ev.Keyword, Event: ev.Kind.String()})
	}
	what := strings.TrimSuffix(ev.Service+"."+ev.Keyword, ".")
	_, err := fmt.Fprintln(s.out, s.dress.yellow(fmt.Sprintf("%s  %s is gone", clock(time.Now()), what)))
	return err
}

// gap prints which values a history has lost.
func (s kwSession) gap(ev keywords.Event[string]) error {
	if s.json {
		return s.emit(record{Service: ev.Service, Keyword: ev.Keyword, Event: ev.Kind.String(), Gap: ev.Gap})
	}
	_, err := fmt.Fprintln(s.out, s.dress.yellow(fmt.Sprintf("%s  %s.%s: %s are lost", clock(time.Now()), ev.Service, ev.Keyword, ev.Gap)))
	return err
}

func (t *tool) waitforCommand() *cli.Command {
	return &cli.Command{
		Name: "waitfor", Usage: "wait until a condition on keywords is true", ArgsUsage: "CONDITION", Category: "keywords",
		Description: example("Exits with 0 once CONDITION is true, and with 4 after --timeout. A keyword is $SERVICE.KEYWORD, with -s only KEYWORD.\n"+
			"Operators are and, or, not, comparisons, in, has for masks, + - * / and parentheses.",
			"helio waitfor -s stage 'SPEED > 3' -t 10", "helio waitfor '$stage.SPEED > 3 and $dome.SHUTTER == open'"),
		Flags: []cli.Flag{
			serviceFlag(),
			&secondsFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "how long to wait (default: no limit)"},
			&cli.BoolFlag{Name: "ignore_case", Usage: "ignore the case of strings"},
		},
		Action: t.waitfor,
	}
}

func (t *tool) waitfor(ctx context.Context, cmd *cli.Command) error {
	words, err := arguments(cmd, "CONDITION...")
	if err != nil {
		return err
	}
	condition, service := strings.Join(words, " "), strings.ToLower(cmd.String("service"))
	return t.withKeywords(ctx, cmd, func(s kwSession) error {
		text, names := condition, []string(nil)
		if service != "" {
			defs, err := s.all(ctx, service)
			if err != nil {
				return err
			}
			var unknown string
			if text, names, unknown = dollars(condition, defs); unknown != "" {
				return fail(exitNotFound, "service %s has no keyword %s: helio list %s lists them; a string must be in quotes", service, unknown, service)
			}
		}
		waiting := ctx
		if timeout := cmd.Duration("timeout"); timeout > 0 {
			var cancel context.CancelFunc
			waiting, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		p := t.begin("waiting for " + condition)
		err := keywords.WaitForExpr(waiting, s.kw, text, keywords.WaitOptions{Service: service, IgnoreCase: cmd.Bool("ignore_case")})
		p.end()
		refused := new(keywords.Error)
		switch {
		case err == nil, ctx.Err() != nil:
			return t.done(err, "true")
		case errors.Is(err, context.DeadlineExceeded):
			return fail(exitLate, "%s was not true within %s%s", condition, short(cmd.Duration("timeout")), s.nowText(ctx, service, names))
		case errors.As(err, &refused):
			return err
		}
		return usage("%s", place.ReplaceAllString(err.Error(), ""))
	})
}

// place is the position in the message about a wrong expression. It counts the
// dollars, which were not typed.
var place = regexp.MustCompile(`^keywords: expression: column \d+: `)

// nowText returns the values of a condition's keywords.
func (s kwSession) nowText(ctx context.Context, service string, names []string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var refs []ref
	for _, name := range names {
		refs = append(refs, ref{service: service, name: name})
	}
	values, err := s.read(ctx, refs)
	if err != nil || len(values) == 0 {
		return ""
	}
	var parts []string
	for _, v := range values {
		parts = append(parts, v.def.Name+" is "+v.text())
	}
	return ": " + some(parts)
}

// dollars puts a $ before the names of a service's keywords in a condition, and
// returns these names. Names match in any case, except after a comparison with a
// name: there another case is rather the name of an enumerator. Words in quotes and
// after a $ stay as they are. Unknown is the first word that is compared like a
// keyword and is none: as a string it would never become true.
func dollars(condition string, defs []keywords.Definition) (text string, names []string, unknown string) {
	find := func(word string, same func(a, b string) bool) int {
		return slices.IndexFunc(defs, func(d keywords.Definition) bool { return same(d.Name, word) })
	}
	exactly := func(a, b string) bool { return a == b }
	var b strings.Builder
	for i := 0; i < len(condition); {
		c := condition[i]
		end := i + 1
		switch {
		case c == '\'' || c == '"':
			for end < len(condition) && condition[end] != c {
				if condition[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(condition))
		case c == '$':
			for end < len(condition) && (inName(condition[end]) || strings.IndexByte("{}.-", condition[end]) >= 0) {
				end++
			}
		case inName(c):
			for end < len(condition) && inName(condition[end]) {
				end++
			}
			word := condition[i:end]
			n := find(word, exactly)
			if n < 0 && !operand.MatchString(condition[:i]) {
				n = find(word, strings.EqualFold)
			}
			behind := compared.FindStringSubmatch(condition[end:])
			switch {
			case reserved.MatchString(word):
			case n >= 0:
				name := defs[n].Name
				b.WriteString("$" + name)
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
				i = end
				continue
			case unknown == "" && behind != nil && behind[1] == "" && find(behind[2], exactly) < 0:
				unknown = word
			}
		}
		b.WriteString(condition[i:end])
		i = end
	}
	return b.String(), names, unknown
}

// reserved matches the words of the language, and numbers. Compared matches a
// comparison after a word, with the $ and the word after it. Operand matches what
// stands before a word that anything but a number is compared with.
var (
	reserved = regexp.MustCompile(`^(and|or|not|in|has|true|false|ascii|[0-9].*)$`)
	compared = regexp.MustCompile(`^\s*(?:[=<>!]=?|(?:in|has|not\s+in)\b)\s*(\$?)(\w*)`)
	operand  = regexp.MustCompile(`(?:\b[A-Za-z_]\w*|[\])"'])\s*(?:[=<>!]=?|\b(?:in|has))[\s(]*$`)
)

func inName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
