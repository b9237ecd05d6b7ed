package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/storage"
)

// objectCommand is a command on an object of type O.
type objectCommand[O any] struct {
	name, usage, example string
	args                 string // "NAME MEMBER..."
	changes              bool   // it takes --ttl
	do                   func(ctx context.Context, o O, a objectArgs) error
}

// objectArgs are the arguments of an objectCommand after the name of the object: as
// typed, and as values.
type objectArgs struct {
	name   string
	words  []string
	values []any
	form   string // --codec
}

// objectCommands are the commands on objects that open opens. Commands that only read
// get the bytes of values, since other programs may use any format.
func objectCommands[O any](t *tool, open func(*storage.Pool, string, ...storage.ObjectOptions) (O, error), reads bool, all ...objectCommand[O]) (commands []*cli.Command) {
	for _, c := range all {
		flags := []cli.Flag{codecFlag()}
		if reads {
			flags[0] = formFlag()
		}
		if c.changes {
			flags = append(flags, &secondsFlag{Name: "ttl", Usage: "time until the object expires (default: never)"})
		}
		commands = append(commands, &cli.Command{
			Name: c.name, Usage: c.usage, ArgsUsage: c.args, Flags: flags, Description: example("", c.example),
			Action: func(ctx context.Context, cmd *cli.Command) error {
				words, err := arguments(cmd, strings.Fields(c.args)...)
				if err != nil {
					return err
				}
				return t.with(ctx, cmd, func(pool *storage.Pool) error {
					form := cmd.String("codec")
					codec := codecs[form]
					if reads {
						codec = storage.Raw
					}
					o, err := open(pool, words[0], storage.ObjectOptions{Codec: codec, TTL: cmd.Duration("ttl")})
					if err != nil {
						return usage("%s", plainly(err))
					}
					return c.do(ctx, o, objectArgs{words[0], words[1:], valuesOf(codec, words[1:]), form})
				})
			},
		})
	}
	return commands
}

// valuesOf returns the typed words as values for the codec of an object.
func valuesOf(codec storage.Codec, words []string) (values []any) {
	for _, word := range words {
		if codec == storage.Text {
			values = append(values, word)
		} else {
			values = append(values, fromWord(word))
		}
	}
	return values
}

func (t *tool) setCommand() *cli.Command {
	type set = *storage.Set[any]
	type raw = *storage.Set[[]byte]
	return &cli.Command{
		Name: "set", Usage: "add, remove and list members of a set (storage.Set)", Category: "pub/sub and objects",
		Description: example("A MEMBER that is valid JSON is that value, any other is a string.", "helio set add users ada grace", "helio set list users"),
		Commands: append(objectCommands(t, storage.NewSet[any], false,
			objectCommand[set]{"add", "add members", "helio set add users ada grace", "NAME MEMBER...", true, func(ctx context.Context, o set, a objectArgs) error {
				n, err := o.Add(ctx, a.values...)
				return t.counted(err, n, "added", count(n, "member")+" added")
			}},
			objectCommand[set]{"remove", "remove members", "helio set remove users ada", "NAME MEMBER...", false, func(ctx context.Context, o set, a objectArgs) error {
				n, err := o.Remove(ctx, a.values...)
				return t.counted(err, n, "removed", count(n, "member")+" removed")
			}},
			objectCommand[set]{"has", "exit with 0 if the set has a member, with 3 if not", "helio set has users ada && echo yes", "NAME MEMBER", false, func(ctx context.Context, o set, a objectArgs) error {
				has, err := o.Contains(ctx, a.values[0])
				if err == nil && !has {
					err = fail(exitNotFound, "%s has no member %s", a.name, a.words[0])
				}
				return t.done(err, "has")
			}},
			objectCommand[set]{"len", "count the members", "helio set len users", "NAME", false, func(ctx context.Context, o set, _ objectArgs) error {
				n, err := o.Len(ctx)
				return t.counted(err, n, "len", strconv.Itoa(n))
			}},
			objectCommand[set]{"clear", "delete the set", "helio set clear users", "NAME", false, func(ctx context.Context, o set, a objectArgs) error {
				there, err := o.Clear(ctx)
				return t.cleared(err, a.name, there)
			}},
		), objectCommands(t, storage.NewSet[[]byte], true,
			objectCommand[raw]{"list", "list the members", "helio set list users", "NAME", false, func(ctx context.Context, o raw, a objectArgs) error {
				members, err := o.Get(ctx)
				if err != nil {
					return err
				}
				return t.members(members, a.form)
			}},
		)...),
	}
}

func (t *tool) mapCommand() *cli.Command {
	type fields = *storage.Map[any]
	type raw = *storage.Map[[]byte]
	return &cli.Command{
		Name: "map", Usage: "put, get and list fields of a map (storage.Map)", Category: "pub/sub and objects",
		Description: example("A VALUE that is valid JSON is that value, any other is a string.", "helio map put prices tea 3.5", "helio map list prices"),
		Commands: append(objectCommands(t, storage.NewMap[any], false,
			objectCommand[fields]{"put", "set a field", "helio map put prices tea 3.5", "NAME FIELD VALUE", true, func(ctx context.Context, o fields, a objectArgs) error {
				return t.done(o.Put(ctx, a.words[0], a.values[1]), "put")
			}},
			objectCommand[fields]{"remove", "remove fields", "helio map remove prices tea milk", "NAME FIELD...", false, func(ctx context.Context, o fields, a objectArgs) error {
				n, err := o.Delete(ctx, a.words...)
				return t.counted(err, n, "removed", count(n, "field")+" removed")
			}},
			objectCommand[fields]{"len", "count the fields", "helio map len prices", "NAME", false, func(ctx context.Context, o fields, _ objectArgs) error {
				n, err := o.Len(ctx)
				return t.counted(err, n, "len", strconv.Itoa(n))
			}},
			objectCommand[fields]{"clear", "delete the map", "helio map clear prices", "NAME", false, func(ctx context.Context, o fields, a objectArgs) error {
				there, err := o.Clear(ctx)
				return t.cleared(err, a.name, there)
			}},
		), objectCommands(t, storage.NewMap[[]byte], true,
			objectCommand[raw]{"get", "print the value of a field, or exit with 3", "helio map get prices tea", "NAME FIELD", false, func(ctx context.Context, o raw, a objectArgs) error {
				data, ok, err := o.Get(ctx, a.words[0])
				switch {
				case err != nil:
					return err
				case !ok:
					return fail(exitNotFound, "%s has no field %s", a.name, a.words[0])
				}
				return t.printValue(readAs(a.form, data))
			}},
			objectCommand[raw]{"list", "list fields and values", "helio map list prices", "NAME", false, func(ctx context.Context, o raw, a objectArgs) error {
				return t.fields(ctx, o, a.form)
			}},
		)...),
	}
}

// counted prints a number, as text or JSON.
func (t *tool) counted(err error, n int, key, words string) error {
	switch {
	case err != nil:
		return err
	case t.json:
		return t.emit(map[string]int{key: n})
	}
	_, err = fmt.Fprintln(t.out, words)
	return err
}

// done prints in JSON output that something is done or true. Text output has nothing
// then.
func (t *tool) done(err error, key string) error {
	if err != nil || !t.json {
		return err
	}
	return t.emit(map[string]bool{key: true})
}

func (t *tool) cleared(err error, name string, there bool) error {
	if err == nil && !there {
		err = fail(exitNotFound, "%s does not exist", name)
	}
	return t.done(err, "cleared")
}

// printValue prints a value.
func (t *tool) printValue(value json.RawMessage) error {
	if t.json {
		return t.emit(value)
	}
	_, err := fmt.Fprintln(t.out, plain(t.text(value)))
	return err
}

// members prints the members of a set, sorted by their JSON.
func (t *tool) members(members [][]byte, form string) error {
	values := make([]json.RawMessage, 0, len(members))
	for _, m := range members {
		values = append(values, readAs(form, m))
	}
	slices.SortFunc(values, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	if t.json {
		return t.emit(values)
	}
	for _, value := range values {
		if err := t.printValue(value); err != nil {
			return err
		}
	}
	return nil
}

// fields prints a map, sorted by field.
func (t *tool) fields(ctx context.Context, m *storage.Map[[]byte], form string) error {
	values := make(map[string]json.RawMessage) // All may yield a field twice
	for entry, err := range m.All(ctx) {
		if err != nil {
			return err
		}
		values[entry.Field] = readAs(form, entry.Value)
	}
	var rows [][]string
	for field, value := range values {
		rows = append(rows, []string{plain(field), plain(t.text(value))})
	}
	slices.SortFunc(rows, slices.Compare)
	if t.json {
		return t.emit(values)
	}
	return t.table([]string{"FIELD", "VALUE"}, rows, nil)
}
