package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) typesCommand() *cli.Command {
	return &cli.Command{
		Name: "types", Usage: "write the types of calls and keywords for TypeScript", Category: "calls and workers",
		Description: example("Prints an interface Site for connect<Site>() of heliograph.js, from the JSON Schemas of running workers and\n"+
			"from the definitions of keywords. Without --worker and --service it is of all.",
			"helio types --ts > site.d.ts", "helio types --ts --worker calc --service stage"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "ts", Usage: "in TypeScript, which is the only language so far"},
			&cli.StringSliceFlag{Name: "worker", Usage: "the methods of the workers of `TYPE`; may be repeated"},
			&cli.StringSliceFlag{Name: "service", Aliases: []string{"s"}, Usage: "the keywords of `SERVICE`; may be repeated"},
		},
		Action: t.types,
	}
}

func (t *tool) types(ctx context.Context, cmd *cli.Command) error {
	if _, err := arguments(cmd); err != nil {
		return err
	}
	if !cmd.Bool("ts") {
		return usage("--ts is missing: helio types --ts")
	}
	workers, services := cmd.StringSlice("worker"), cmd.StringSlice("service")
	all := len(workers) == 0 && len(services) == 0
	site, err := t.site(cmd)
	if err != nil {
		return err
	}
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		c, err := bus.NewClient(pool, bus.ClientConfig{Site: site})
		if err != nil {
			return usage("--site: %v", err)
		}
		k, err := keywords.NewClient(pool, keywords.ClientConfig{})
		if err != nil {
			return err
		}
		var out typeScript
		if all {
			if workers, err = runningTypes(ctx, c); err != nil {
				return err
			}
			if services, err = k.Services(ctx); err != nil {
				return err
			}
		}
		for _, typ := range workers {
			info, err := bus.Call(ctx, c, bus.Group(typ), bus.Info, struct{}{})
			if err != nil {
				return err
			}
			out.addWorker(typ, info.Methods)
		}
		for _, service := range services {
			defs, err := k.Keywords(ctx, strings.ToLower(service))
			if err != nil {
				return err
			}
			out.addService(defs)
		}
		_, err = fmt.Fprint(t.out, out.text())
		return err
	})
}

// runningTypes returns the types of the workers that run, in order.
func runningTypes(ctx context.Context, c *bus.Client) ([]string, error) {
	workers, err := c.Workers(ctx, "")
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, w := range workers {
		seen[w.Type] = true
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// typeScript is an interface Site that is being written.
type typeScript struct{ calls, streams, keywords []string }

func (ts *typeScript) addWorker(typ string, methods []bus.MethodInfo) {
	var calls, streams []string
	for _, m := range methods {
		if m.Name == "*" {
			continue // any name: there is nothing to say of it
		}
		args, result := typeOfSchema(m.Args), typeOfSchema(m.Result)
		if m.Stream {
			streams = append(streams, fmt.Sprintf("      %s: { args: %s; item: %s }", property(m.Name), args, result))
			continue
		}
		calls = append(calls, fmt.Sprintf("      %s: { args: %s; result: %s }", property(m.Name), args, result))
	}
	group := func(list []string) string {
		return "    " + property(typ) + ": {\n" + strings.Join(list, "\n") + "\n    }"
	}
	if len(calls) > 0 {
		ts.calls = append(ts.calls, group(calls))
	}
	if len(streams) > 0 {
		ts.streams = append(ts.streams, group(streams))
	}
}

func (ts *typeScript) addService(defs []keywords.Definition) {
	for _, def := range defs {
		var about []string
		for _, part := range []string{oneLine(def.Help), def.Units, limitsOf(def)} {
			if part != "" {
				about = append(about, strings.ReplaceAll(part, "*/", "* /"))
			}
		}
		line := "    " + property(def.Service+"."+def.Name) + ": " + typeOfKind(def)
		if len(about) > 0 {
			line = "    /** " + strings.Join(about, "; ") + " */\n" + line
		}
		ts.keywords = append(ts.keywords, line)
	}
}

func (ts *typeScript) text() string {
	var b strings.Builder
	b.WriteString("// Written by helio types --ts.\n\nexport interface Site {\n")
	for _, part := range []struct {
		name  string
		lines []string
	}{{"calls", ts.calls}, {"streams", ts.streams}, {"keywords", ts.keywords}} {
		b.WriteString("  " + part.name + ": {")
		if len(part.lines) > 0 {
			b.WriteString("\n" + strings.Join(part.lines, "\n") + "\n  ")
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// property returns a name as that of a property.
func property(name string) string { return strconv.Quote(name) }

func limitsOf(def keywords.Definition) string {
	low, high := value(def, def.Min), value(def, def.Max)
	switch {
	case low != "" && high != "":
		return low + " to " + high
	case low != "":
		return "at least " + low
	case high != "":
		return "at most " + high
	}
	return ""
}

// typeOfKind returns the type of a keyword's values as gateway/control sends them.
func typeOfKind(def keywords.Definition) string {
	switch def.Kind {
	case keywords.KindBoolean:
		return "boolean"
	case keywords.KindEnumerated:
		var names []string
		for _, n := range slices.Sorted(maps.Keys(def.Enumerators)) {
			names = append(names, strconv.Quote(def.Enumerators[n]))
		}
		return strings.Join(names, " | ")
	case keywords.KindInteger, keywords.KindInteger64, keywords.KindFloat, keywords.KindDouble:
		return "number"
	case keywords.KindBooleanArray:
		return "boolean[]"
	case keywords.KindStringArray:
		return "string[]"
	case keywords.KindIntegerArray, keywords.KindFloatArray, keywords.KindDoubleArray:
		return "number[]"
	}
	return "string"
}

// typeOfSchema returns the type of what a JSON Schema describes, as far as that can be
// said: the rest is unknown.
func typeOfSchema(raw json.RawMessage) string {
	var s schema
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return "unknown"
	}
	return s.typeScript()
}

// schema is as much of a JSON Schema as types are written of.
type schema struct {
	Types      oneOrMore[string] `json:"type"`
	Enum       []any             `json:"enum"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Additional json.RawMessage   `json:"additionalProperties"`
	Items      *schema           `json:"items"`
	AnyOf      []schema          `json:"anyOf"`
	OneOf      []schema          `json:"oneOf"`
}

// oneOrMore is a value, or an array of values.
type oneOrMore[T any] []T

func (list *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	var one T
	if err := json.Unmarshal(data, &one); err == nil {
		*list = oneOrMore[T]{one}
		return nil
	}
	return json.Unmarshal(data, (*[]T)(list))
}

func (s schema) typeScript() string {
	var any []string
	for _, v := range s.Enum {
		text, err := json.Marshal(v)
		if err != nil {
			return "unknown"
		}
		any = append(any, string(text))
	}
	for _, one := range slices.Concat(s.AnyOf, s.OneOf) {
		any = append(any, one.typeScript())
	}
	if len(any) == 0 {
		for _, name := range s.Types {
			any = append(any, s.ofType(name))
		}
	}
	if len(any) == 0 || slices.Contains(any, "unknown") {
		return "unknown"
	}
	slices.Sort(any)
	return strings.Join(slices.Compact(any), " | ")
}

func (s schema) ofType(name string) string {
	switch name {
	case "integer", "number":
		return "number"
	case "string", "boolean", "null":
		return name
	case "array":
		if s.Items == nil {
			return "unknown[]"
		}
		return "Array<" + s.Items.typeScript() + ">"
	case "object":
		return s.object()
	}
	return "unknown"
}

func (s schema) object() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		optional := "?"
		if slices.Contains(s.Required, name) {
			optional = ""
		}
		parts = append(parts, property(name)+optional+": "+s.Properties[name].typeScript())
	}
	if len(parts) > 0 {
		return "{ " + strings.Join(parts, "; ") + " }"
	}
	switch closed := string(s.Additional); closed {
	case "false", `{"not":{}}`:
		return "Record<string, never>"
	case "", "true":
		return "Record<string, unknown>"
	}
	return "Record<string, " + typeOfSchema(s.Additional) + ">"
}
