package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// whom is who is to answer: one worker, or all of an audience.
type whom struct {
	one     bus.Address
	all     bus.Audience
	several bool   // all is meant
	typ     string // of the workers, if it is known
	text    string // for people
}

func whomFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "worker", Validator: filled, Usage: "one worker of this `TYPE`"},
		&cli.StringFlag{Name: "worker_id", Validator: filled, Usage: "the worker with this `ID`"},
		&cli.StringFlag{Name: "multicast", Validator: filled, Usage: "every worker whose id matches a `PATTERN` such as 'calc:10.130.*', or behind the type of --worker such as '10.130.*'"},
		&cli.BoolFlag{Name: "local", Usage: "every worker on this host, of --worker or of all types"},
		&cli.BoolFlag{Name: "broadcast", Usage: "every worker, of --worker or of all types: what is meant if nothing else is said"},
	}
}

// whomOf reads the flags.
func whomOf(cmd *cli.Command) (whom, error) {
	typ, id, pattern := cmd.String("worker"), cmd.String("worker_id"), cmd.String("multicast")
	local, broadcast := cmd.Bool("local"), cmd.Bool("broadcast")
	ways := 0
	for _, way := range []bool{id != "", pattern != "", local && id == "", broadcast} { // as ever, the id overrides --local
		if way {
			ways++
		}
	}
	var wrong error
	switch {
	case ways > 1:
		wrong = usage("--worker_id, --multicast, --local and --broadcast: only one of them")
	case id != "":
		wrong = checkID("--worker_id", id)
	case typ != "":
		wrong = checkName("--worker", typ)
	case pattern != "":
		wrong = checkPattern("--multicast", pattern)
	}
	switch {
	case wrong != nil:
		return whom{}, wrong
	case id != "":
		of, _, _ := strings.Cut(id, ":")
		return whom{one: bus.Direct(id), typ: of, text: "worker " + id}, nil
	case pattern != "" && typ != "":
		pattern = typ + ":" + pattern
		return whom{all: bus.Multicast(pattern), several: true, typ: typ, text: "workers " + pattern}, nil
	case pattern != "":
		return whom{all: bus.Multicast(pattern), several: true, text: "workers " + pattern}, nil
	case local:
		return whom{all: bus.Local(typ), several: true, typ: typ, text: strings.TrimSpace("workers on this host " + ofType(typ))}, nil
	case typ != "" && !broadcast:
		return whom{one: bus.Group(typ), typ: typ, text: "worker " + ofType(typ)}, nil
	}
	return whom{all: bus.Broadcast(typ), several: true, typ: typ, text: strings.TrimSpace("workers " + ofType(typ))}, nil
}

// audienceOf is whomOf for commands that ask all who are meant. A word in place
// of flags is a type, an id or a pattern of ids.
func audienceOf(cmd *cli.Command) (whom, error) {
	w, err := whomOf(cmd)
	word := cmd.Args().First()
	switch {
	case err != nil:
		return whom{}, err
	case cmd.Args().Len() > 1:
		return whom{}, usage("%q is too much: %s [TYPE | ID | PATTERN]", cmd.Args().Get(1), cmd.FullName())
	case cmd.Args().Present() && saysWhom(cmd):
		return whom{}, usage("%q, or a flag that says whom: not both", word)
	case strings.ContainsAny(word, ":*?"):
		if err := checkPattern("PATTERN", word); err != nil {
			return whom{}, err
		}
		w = whom{all: bus.Multicast(word), several: true, text: "worker " + word}
		w.typ, _, _ = strings.Cut(word, ":")
	case cmd.Args().Present():
		if err := checkName("TYPE", word); err != nil {
			return whom{}, err
		}
		w = whom{all: bus.Broadcast(word), several: true, typ: word, text: "worker " + ofType(word)}
	case cmd.String("worker_id") != "":
		w.all, w.several = bus.Multicast(cmd.String("worker_id")), true
	case cmd.String("worker") != "" && !w.several:
		w.all, w.several = bus.Broadcast(w.typ), true
	}
	return w, nil
}

// checkName says what is wrong with the name of a type or a method, before anybody
// is asked. An empty one is what a script makes of a variable that is not set: it
// is not all workers that were meant.
func checkName(what, name string) error {
	err := redisio.CheckName(name)
	if err == nil && strings.Contains(name, ":") {
		err = fmt.Errorf("name %q: ':' is not allowed", name)
	}
	if err != nil {
		return usage("%s: %v", what, err)
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

// checkPattern looks at the type that a pattern of ids begins with, if it is one.
func checkPattern(what, pattern string) error {
	if typ, _, found := strings.Cut(pattern, ":"); found && !strings.ContainsAny(typ, "*?") {
		return checkName(what, typ)
	}
	return nil
}

// saysWhom reports whether a flag does.
func saysWhom(cmd *cli.Command) bool {
	return cmd.String("worker") != "" || cmd.String("worker_id") != "" || cmd.String("multicast") != "" || cmd.Bool("local") || cmd.Bool("broadcast")
}

func ofType(typ string) string {
	if typ == "" {
		return ""
	}
	return "of type " + typ
}

// withBus runs do with a client of the site that is meant.
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
		return do(session{t, c, site})
	})
}

// session is a client and what is needed to talk about what it gets.
type session struct {
	*tool
	bus  *bus.Client
	site string
}

// nobody says who runs instead of who was asked for.
func (s session) nobody(ctx context.Context, w whom) error {
	workers, err := s.bus.Workers(ctx, "")
	if err != nil {
		return err
	}
	if len(workers) == 0 {
		return fail(exitNobody, "no worker runs at site %s: helio worker TYPE --exec CMD starts one, --site names another site", s.site)
	}
	var ids []string
	counts := make(map[string]int)
	for _, info := range workers {
		counts[info.Type]++
		if info.Type == w.typ {
			ids = append(ids, info.ID)
		}
	}
	if len(ids) > 0 {
		return fail(exitNobody, "no %s at site %s; of this type: %s", w.text, s.site, some(ids))
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
	return fail(exitNobody, "no %s at site %s; running: %s", w.text, s.site, some(types))
}
