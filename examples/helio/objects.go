package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/storage"
)

// objectFlags are those of a command on an object, which may change it.
func objectFlags(changes bool) []cli.Flag {
	flags := []cli.Flag{codecFlag()}
	if changes {
		flags = append(flags, &secondsFlag{Name: "ttl", Usage: "how long the object lives after this change (default: for ever)"})
	}
	return flags
}

func objectOptions(cmd *cli.Command) storage.ObjectOptions {
	return storage.ObjectOptions{Codec: codecs[cmd.String("codec")], TTL: cmd.Duration("ttl")}
}

// word reads a value as it is typed, for the codec of the object.
func word(cmd *cli.Command, text string) any {
	if cmd.String("codec") == "text" {
		return text
	}
	return fromWord(text)
}

func (t *tool) setCommand() *cli.Command {
	// act is a command on the set that its first argument names.
	act := func(name, what string, names []string, do func(ctx context.Context, cmd *cli.Command, set *storage.Set[any], members []any) error) *cli.Command {
		return &cli.Command{
			Name: name, Usage: what, ArgsUsage: strings.Join(names, " "), Flags: objectFlags(name == "add"),
			Description: example("", strings.TrimSpace("helio set "+name+" users"+map[bool]string{true: " ada grace"}[len(names) > 1])),
			Action: func(ctx context.Context, cmd *cli.Command) error {
				args, err := arguments(cmd, names...)
				if err != nil {
					return err
				}
				return t.with(ctx, cmd, func(pool *storage.Pool) error {
					set, err := storage.NewSet[any](pool, args[0], objectOptions(cmd))
					if err != nil {
						return usage("%s", plainly(err))
					}
					var members []any
					for _, text := range args[1:] {
						members = append(members, word(cmd, text))
					}
					return do(ctx, cmd, set, members)
				})
			},
		}
	}
	return &cli.Command{
		Name: "set", Usage: "sets that programs share (storage.Set)", Category: "pub/sub and objects",
		Description: example("A member that is JSON is that value, all else is text.", "helio set add users ada grace", "helio set list users"),
		Commands: []*cli.Command{
			act("add", "add members", []string{"NAME", "MEMBER..."}, func(ctx context.Context, _ *cli.Command, set *storage.Set[any], members []any) error {
				n, err := set.Add(ctx, members...)
				return t.counted(err, n, "added", "%s added\n", count(n, "member"))
			}),
			act("remove", "remove members", []string{"NAME", "MEMBER..."}, func(ctx context.Context, _ *cli.Command, set *storage.Set[any], members []any) error {
				n, err := set.Remove(ctx, members...)
				return t.counted(err, n, "removed", "%s removed\n", count(n, "member"))
			}),
			act("list", "list the members", []string{"NAME"}, func(ctx context.Context, _ *cli.Command, set *storage.Set[any], _ []any) error {
				members, err := set.Get(ctx)
				if err != nil {
					return err
				}
				return t.members(members)
			}),
			act("has", "exit with 0 if it has a member, with 3 if not", []string{"NAME", "MEMBER"}, func(ctx context.Context, cmd *cli.Command, set *storage.Set[any], members []any) error {
				has, err := set.Contains(ctx, members[0])
				switch {
				case err != nil:
					return err
				case !has:
					return fail(exitNobody, "%s has no member %s", cmd.Args().First(), cmd.Args().Get(1))
				}
				return nil
			}),
			act("len", "count the members", []string{"NAME"}, func(ctx context.Context, _ *cli.Command, set *storage.Set[any], _ []any) error {
				n, err := set.Len(ctx)
				return t.counted(err, n, "len", "%d\n", n)
			}),
			act("clear", "delete the set", []string{"NAME"}, func(ctx context.Context, cmd *cli.Command, set *storage.Set[any], _ []any) error {
				there, err := set.Clear(ctx)
				return t.cleared(cmd.Args().First(), there, err)
			}),
		},
	}
}

func (t *tool) mapCommand() *cli.Command {
	act := func(name, what string, names []string, do func(ctx context.Context, cmd *cli.Command, m *storage.Map[any], args []string) error) *cli.Command {
		examples := map[string]string{"put": " prices tea 3.5", "get": " prices tea", "remove": " prices tea milk"}
		if examples[name] == "" {
			examples[name] = " prices"
		}
		return &cli.Command{
			Name: name, Usage: what, ArgsUsage: strings.Join(names, " "), Flags: objectFlags(name == "put"),
			Description: example("", "helio map "+name+examples[name]),
			Action: func(ctx context.Context, cmd *cli.Command) error {
				args, err := arguments(cmd, names...)
				if err != nil {
					return err
				}
				return t.with(ctx, cmd, func(pool *storage.Pool) error {
					m, err := storage.NewMap[any](pool, args[0], objectOptions(cmd))
					if err != nil {
						return usage("%s", plainly(err))
					}
					return do(ctx, cmd, m, args[1:])
				})
			},
		}
	}
	return &cli.Command{
		Name: "map", Usage: "maps that programs share (storage.Map)", Category: "pub/sub and objects",
		Description: example("A value that is JSON is that value, all else is text.", "helio map put prices tea 3.5", "helio map list prices"),
		Commands: []*cli.Command{
			act("put", "set a field", []string{"NAME", "FIELD", "VALUE"}, func(ctx context.Context, cmd *cli.Command, m *storage.Map[any], args []string) error {
				return m.Put(ctx, args[0], word(cmd, args[1]))
			}),
			act("get", "print the value of a field; exit with 3 if there is none", []string{"NAME", "FIELD"}, func(ctx context.Context, cmd *cli.Command, m *storage.Map[any], args []string) error {
				v, ok, err := m.Get(ctx, args[0])
				switch {
				case err != nil:
					return err
				case !ok:
					return fail(exitNobody, "%s has no field %s", cmd.Args().First(), args[0])
				}
				return t.printValue(v)
			}),
			act("remove", "remove fields", []string{"NAME", "FIELD..."}, func(ctx context.Context, _ *cli.Command, m *storage.Map[any], args []string) error {
				n, err := m.Delete(ctx, args...)
				return t.counted(err, n, "removed", "%s removed\n", count(n, "field"))
			}),
			act("list", "list fields and values", []string{"NAME"}, func(ctx context.Context, _ *cli.Command, m *storage.Map[any], _ []string) error {
				return t.fields(ctx, m)
			}),
			act("len", "count the fields", []string{"NAME"}, func(ctx context.Context, _ *cli.Command, m *storage.Map[any], _ []string) error {
				n, err := m.Len(ctx)
				return t.counted(err, n, "len", "%d\n", n)
			}),
			act("clear", "delete the map", []string{"NAME"}, func(ctx context.Context, cmd *cli.Command, m *storage.Map[any], _ []string) error {
				there, err := m.Clear(ctx)
				return t.cleared(cmd.Args().First(), there, err)
			}),
		},
	}
}

// counted prints a number, in words or as JSON.
func (t *tool) counted(err error, n int, key, format string, args ...any) error {
	switch {
	case err != nil:
		return err
	case t.json:
		return t.emit(map[string]int{key: n})
	}
	_, err = fmt.Fprintf(t.out, format, args...)
	return err
}

func (t *tool) cleared(name string, there bool, err error) error {
	if err != nil || there {
		return err
	}
	return fail(exitNobody, "there was no %s", name)
}

// printValue prints a value by itself.
func (t *tool) printValue(v any) error {
	value, err := storage.JSON.Marshal(v)
	switch {
	case err != nil:
		return err
	case t.json:
		return t.emit(json.RawMessage(value))
	}
	_, err = fmt.Fprintln(t.out, plain(t.text(value)))
	return err
}

// members prints the members of a set in the order of their texts.
func (t *tool) members(members []any) error {
	var lines []string
	for _, m := range members {
		value, err := storage.JSON.Marshal(m)
		if err != nil {
			return err
		}
		lines = append(lines, string(value))
	}
	slices.Sort(lines)
	if t.json {
		list := make([]json.RawMessage, 0, len(lines))
		for _, line := range lines {
			list = append(list, json.RawMessage(line))
		}
		return t.emit(list)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(t.out, plain(t.text(json.RawMessage(line)))); err != nil {
			return err
		}
	}
	return nil
}

// fields prints a map in the order of its fields.
func (t *tool) fields(ctx context.Context, m *storage.Map[any]) error {
	values := make(map[string]any) // a field may be yielded twice
	for entry, err := range m.All(ctx) {
		if err != nil {
			return err
		}
		values[entry.Field] = entry.Value
	}
	var rows [][]string
	for field, v := range values {
		value, err := storage.JSON.Marshal(v)
		if err != nil {
			return err
		}
		rows = append(rows, []string{plain(field), plain(t.text(value))})
	}
	slices.SortFunc(rows, slices.Compare)
	if t.json {
		return t.emit(values)
	}
	return t.table([]string{"FIELD", "VALUE"}, rows, nil)
}
