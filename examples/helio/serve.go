package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/keywords/ktlxml"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) keywordsCommand() *cli.Command {
	return &cli.Command{
		Name: "keywords", Usage: "serve the keywords of a file, or remove a service", Category: "keywords",
		Commands: []*cli.Command{{
			Name: "serve", Usage: "serve the keywords that a file defines, until Ctrl-C", ArgsUsage: "FILE",
			Description: example("FILE is a JSON array of definitions, as helio list SERVICE --output json prints it, or KTL's XML; - reads\n"+
				"stdin. Setting a keyword stores the value and does nothing else.", "helio keywords serve stage.json"),
			Action: t.serveKeywords,
		}, {
			Name: "clear", Usage: "remove the definitions, values and history of a service that is not served", ArgsUsage: "SERVICE",
			Description: example("", "helio keywords clear stage"),
			Action: func(ctx context.Context, cmd *cli.Command) error {
				args, err := arguments(cmd, "SERVICE")
				if err != nil {
					return err
				}
				return t.withKeywords(ctx, cmd, func(s kwSession) error { return s.clear(ctx, strings.ToLower(args[0])) })
			},
		}},
	}
}

func (s kwSession) clear(ctx context.Context, service string) error {
	defs, err := s.all(ctx, service)
	if err != nil {
		return err
	}
	if err := s.kw.Clear(ctx, service); errors.Is(err, keywords.ErrServed) {
		return fail(exitFailed, "%s is served: stop its dispatcher first", service)
	} else if err != nil {
		return err
	}
	if s.json {
		return s.emit(map[string]any{"service": service, "cleared": len(defs)})
	}
	_, err = fmt.Fprintf(s.out, "%s: %d keywords cleared\n", service, len(defs))
	return err
}

func (t *tool) serveKeywords(ctx context.Context, cmd *cli.Command) error {
	args, err := arguments(cmd, "FILE")
	if err != nil {
		return err
	}
	defs, err := t.load(ctx, args[0])
	if err != nil {
		return err
	}
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		all, names, err := dispatchersOf(pool, defs)
		if err != nil {
			return usage("%s: %v", args[0], err)
		}
		var ready []<-chan struct{}
		for _, d := range all {
			ready = append(ready, d.Ready())
		}
		err = t.serve(ctx, func(ctx context.Context) error { return runAll(ctx, all) }, ready, "service "+strings.Join(names, ", "))
		if errors.Is(err, keywords.ErrServed) {
			return fail(exitFailed, "%s is served already: stop the other dispatcher, or wait %s if it has crashed", strings.Join(names, " or "), short(lease))
		}
		return err
	})
}

// lease is the time after which a dispatcher that has crashed no longer counts as
// alive.
const lease = 5 * time.Second

// load reads definitions in JSON or XML.
func (t *tool) load(ctx context.Context, file string) (defs []keywords.Definition, err error) {
	var data []byte
	if file == "-" {
		data, err = t.readAll(ctx, 0)
	} else if data, err = os.ReadFile(file); err != nil {
		err = usage("%v", err)
	}
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		defs, err = ktlxml.Load(bytes.NewReader(data))
	} else {
		defs, err = keywords.LoadDefinitions(bytes.NewReader(data))
	}
	switch {
	case err != nil:
		return nil, usage("%s: %s", file, plainly(err))
	case len(defs) == 0:
		return nil, usage("%s defines no keyword", file)
	}
	return defs, nil
}

// dispatchersOf returns a dispatcher for each service and dispatcher name in the
// definitions, and the names of the services.
func dispatchersOf(pool *storage.Pool, defs []keywords.Definition) (all []*keywords.Dispatcher, services []string, err error) {
	type owner struct{ service, name string }
	byOwner, seen := make(map[owner]*keywords.Dispatcher), make(map[string]bool)
	for _, def := range defs {
		if seen[def.String()] {
			return nil, nil, fmt.Errorf("%s is defined twice", def)
		}
		seen[def.String()] = true
		o := owner{def.Service, def.Dispatcher}
		d := byOwner[o]
		if d == nil {
			if d, err = keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: o.service, Name: o.name, Refuse: true, Lease: lease}); err != nil {
				return nil, nil, err
			}
			byOwner[o], all = d, append(all, d)
			if !seen[o.service] {
				seen[o.service], services = true, append(services, o.service)
			}
		}
		if err := serveKind(d, def); err != nil {
			return nil, nil, err
		}
	}
	return all, services, nil
}

// serveKind serves a keyword whose type is known at run time only.
func serveKind(d *keywords.Dispatcher, def keywords.Definition) error {
	switch def.Kind {
	case keywords.KindBoolean:
		return serveAs[bool](d, def)
	case keywords.KindInteger:
		return serveAs[int](d, def)
	case keywords.KindInteger64:
		return serveAs[int64](d, def)
	case keywords.KindFloat:
		return serveAs[float32](d, def)
	case keywords.KindDouble:
		return serveAs[float64](d, def)
	case keywords.KindEnumerated:
		return serveAs[enumerated](d, def)
	case keywords.KindMask:
		return serveAs[mask](d, def)
	case keywords.KindBytes:
		return serveAs[[]byte](d, def)
	case keywords.KindBooleanArray:
		return serveAs[[]bool](d, def)
	case keywords.KindFloatArray:
		return serveAs[[]float32](d, def)
	case keywords.KindIntegerArray:
		return serveAs[[]int64](d, def)
	case keywords.KindDoubleArray:
		return serveAs[[]float64](d, def)
	case keywords.KindStringArray:
		return serveAs[[]string](d, def)
	default:
		return serveAs[string](d, def)
	}
}

type (
	enumerated int32
	mask       uint32
)

func serveAs[T keywords.Type](d *keywords.Dispatcher, def keywords.Definition) error {
	k, err := keywords.Bind[T](def)
	if err == nil {
		keywords.Serve(d, k, keywords.Hooks[T]{})
	}
	return err
}

// runAll runs dispatchers until ctx ends, or one of them does.
func runAll(ctx context.Context, all []*keywords.Dispatcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(all))
	for _, d := range all {
		go func() {
			defer cancel()
			ended <- d.Run(ctx)
		}()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}
