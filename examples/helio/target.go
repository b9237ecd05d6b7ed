package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// target is the workers that a command addresses. The word TARGET and the flags of
// [targetFlags] say the same thing in all commands.
type target struct {
	one     bus.Address  // a type: one of its workers; an id: that worker
	all     bus.Audience // all that are meant
	several bool         // only all is meant
	none    bool         // neither a word nor a flag named a target: all is everyone
	typ     string       // of the workers, if it is known
	id      string       // of the worker, if one is named
	text    string       // for people

	matches func(bus.WorkerInfo) bool // what all matches
}

const targetCategory = "target, in place of TARGET"

// targetFlags are the flags that say what TARGET says, and what it can't.
func targetFlags() []cli.Flag {
	return append(oneTargetFlags(),
		&cli.StringFlag{Name: "multicast", Category: targetCategory, Validator: filled, Usage: "all workers whose id matches `PATTERN`, such as 'calc:10.130.*'; with --worker TYPE, the part of the id after the type"},
		&cli.BoolFlag{Name: "local", Category: targetCategory, Usage: "all workers on this host; with a type, those of the type"},
		&cli.BoolFlag{Name: "broadcast", Category: targetCategory, Usage: "all workers of the site; with a type, those of the type"},
	)
}

// oneTargetFlags are those by which one worker can be named.
func oneTargetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "worker", Category: targetCategory, Validator: filled, Usage: "the worker `TYPE`"},
		&cli.StringFlag{Name: "worker_id", Category: targetCategory, Validator: filled, Usage: "the worker with this `ID`"},
	}
}

// targetHelp explains TARGET in the help of a command.
const targetHelp = "TARGET is a worker type (calc), an id as helio workers prints it, or a pattern of ids ('calc:10.130.*')."

// targetOf reads the target from words, which are none or TARGET, and from the
// flags.
func targetOf(cmd *cli.Command, words ...string) (target, error) {
	typ, id, pattern := cmd.String("worker"), cmd.String("worker_id"), cmd.String("multicast")
	local, broadcast := cmd.Bool("local"), cmd.Bool("broadcast")
	typFrom, idFrom, patternFrom := "--worker", "--worker_id", "--multicast"
	if len(words) > 0 {
		for _, flag := range []struct{ name, value string }{{typFrom, typ}, {idFrom, id}, {patternFrom, pattern}} {
			if flag.value != "" {
				return target{}, usage("two targets: %q and %s %s", words[0], flag.name, flag.value)
			}
		}
		switch word := words[0]; {
		case strings.ContainsAny(word, "*?"):
			pattern, patternFrom = word, "TARGET"
		case strings.Contains(word, ":"):
			id, idFrom = word, "TARGET"
		default:
			typ, typFrom = word, "TARGET"
			if err := checkName("TARGET", word); err != nil {
				return target{}, err
			}
		}
	}
	ways := 0
	for _, way := range []bool{id != "", pattern != "", local && id == "", broadcast} { // as in redisbus-cli, the id overrides --local
		if way {
			ways++
		}
	}
	var err error
	switch {
	case ways > 1:
		err = usage("an id, a pattern, --local and --broadcast exclude each other: give one of them")
	case id != "":
		err = checkID(idFrom, id)
	case typ != "":
		err = checkName(typFrom, typ)
	case pattern != "":
		err = checkPattern(patternFrom, pattern)
	}
	if err != nil {
		return target{}, err
	}
	switch of, _, found := strings.Cut(pattern, ":"); {
	case pattern != "" && typ != "":
		pattern = typ + ":" + pattern
	case found && !strings.ContainsAny(of, "*?"):
		typ = of
	}
	return newTarget(typ, id, pattern, local, broadcast), nil
}

// newTarget returns the target that checked words and flags mean.
func newTarget(typ, id, pattern string, local, broadcast bool) target {
	ofTyp := func(w bus.WorkerInfo) bool { return typ == "" || w.Type == typ }
	switch {
	case id != "":
		of, _, _ := strings.Cut(id, ":")
		return target{one: bus.Direct(id), all: bus.Multicast(id), typ: of, id: id, text: "worker " + id,
			matches: func(w bus.WorkerInfo) bool { return w.ID == id }}
	case pattern != "":
		return target{all: bus.Multicast(pattern), several: true, typ: typ, text: "worker matching " + pattern,
			matches: func(w bus.WorkerInfo) bool { ok, _ := path.Match(pattern, w.ID); return ok }}
	case local:
		here, _ := os.Hostname()
		here = strings.ReplaceAll(here, ":", "-") // as in ids
		return target{all: bus.Local(typ), several: true, typ: typ, text: strings.TrimSpace("worker on this host " + ofType(typ)),
			matches: func(w bus.WorkerInfo) bool { return w.Host == here && ofTyp(w) }}
	case typ != "" && !broadcast:
		return target{one: bus.Group(typ), all: bus.Broadcast(typ), typ: typ, text: "worker " + ofType(typ), matches: ofTyp}
	}
	return target{all: bus.Broadcast(typ), several: true, none: !broadcast, typ: typ, text: strings.TrimSpace("worker " + ofType(typ)), matches: ofTyp}
}

// audience reads the target of a command that asks all workers in it and takes no other
// argument.
func audience(cmd *cli.Command) (target, error) {
	words, err := arguments(cmd, "[TARGET]")
	if err != nil {
		return target{}, err
	}
	return targetOf(cmd, words...)
}

// oneTargetOf is [targetOf] for a command that goes to one worker.
func oneTargetOf(cmd *cli.Command, words ...string) (target, error) {
	to, err := targetOf(cmd, words...)
	switch {
	case err != nil:
		return target{}, err
	case to.none:
		return target{}, usage("TARGET is missing: %s %s", cmd.FullName(), cmd.ArgsUsage)
	case to.several:
		return target{}, usage("%s goes to one worker: give its id, or a type that has one worker", cmd.FullName())
	}
	return to, nil
}

// idOf returns the id of the one worker that a target means: a type means its
// worker if it has only one.
func (s session) idOf(ctx context.Context, to target) (string, error) {
	if to.id != "" {
		return to.id, nil
	}
	workers, err := s.bus.Workers(ctx, to.typ)
	switch {
	case err != nil:
		return "", err
	case len(workers) == 0:
		return "", s.noWorkers(ctx, to)
	case len(workers) > 1:
		var ids []string
		for _, w := range workers {
			ids = append(ids, w.ID)
		}
		return "", usage("%d workers are of type %s: give the id of one: %s", len(ids), to.typ, some(ids))
	}
	return workers[0].ID, nil
}

// checkName says what is wrong with the name of a type or a method before anything
// is sent. An empty one comes from a variable of a script that is not set: it
// does not mean all workers.
func checkName(what, name string) error {
	_, err := pubsub.ParseTopic[any](name) // all packages have the same rules
	switch {
	case err == nil && strings.Contains(name, ":"):
		return usage("%s: name %q: ':' is not allowed", what, name)
	case err != nil:
		return usage("%s: %s", what, strings.TrimPrefix(err.Error(), "pubsub: topic: "))
	}
	return nil
}

func checkID(what, id string) error {
	parts := strings.Split(id, ":")
	if len(parts) != 4 {
		return usage("%s: want type:host:pid:uid, as helio workers lists them, not %q", what, id)
	}
	for _, part := range parts {
		if err := checkName(what, part); err != nil {
			return err
		}
	}
	return nil
}

// checkPattern checks the type that a pattern of ids begins with, if it begins with
// one.
func checkPattern(what, pattern string) error {
	if typ, _, found := strings.Cut(pattern, ":"); found && !strings.ContainsAny(typ, "*?") {
		return checkName(what, typ)
	}
	return nil
}

func ofType(typ string) string {
	if typ == "" {
		return ""
	}
	return "of type " + typ
}

// withBus runs do with a bus client of the chosen site.
func (t *tool) withBus(ctx context.Context, cmd *cli.Command, cfg bus.ClientConfig, do func(s session) error) error {
	site, err := t.site(cmd)
	if err != nil {
		return err
	}
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		cfg.Site = site
		c, err := bus.NewClient(pool, cfg)
		if err != nil {
			return usage("--site: %v", err)
		}
		return do(session{t, pool, c, site})
	})
}

// session is a client and what is needed to explain what it returns.
type session struct {
	*tool
	pool *storage.Pool
	bus  *bus.Client
	site string
}

// noWorkers says which workers run instead of those that are meant.
func (s session) noWorkers(ctx context.Context, to target) error {
	workers, err := s.bus.Workers(ctx, "")
	if err != nil {
		return err
	}
	if len(workers) == 0 {
		return fail(exitNotFound, "no worker runs at site %s: helio worker TYPE --exec CMD starts one%s", s.site, workersElsewhere(ctx, s.pool, s.site))
	}
	var ids []string
	counts := make(map[string]int)
	for _, info := range workers {
		counts[info.Type]++
		if info.Type == to.typ {
			ids = append(ids, info.ID)
		}
	}
	if len(ids) > 0 {
		return fail(exitNotFound, "no %s at site %s; of this type: %s", to.text, s.site, some(ids))
	}
	types := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	for i, typ := range types {
		types[i] = fmt.Sprintf("%s (%d)", typ, counts[typ])
	}
	return fail(exitNotFound, "no %s at site %s; running: %s", to.text, s.site, some(types))
}
