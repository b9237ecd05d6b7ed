package main

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"
)

// commandHelp is the template of a command's help, without the global flags.
var commandHelp = strings.NewReplacer(
	"\n\nGLOBAL OPTIONS:{{template \"visiblePersistentFlagTemplate\" .}}", "\n\nFor the flags that choose the Redis, --output and --verbose see helio --help",
	"\n\nCATEGORY:\n   {{.Category}}", "",
).Replace(cli.CommandHelpTemplate)

// prepare makes a command and its subcommands report bad usage in one line.
func prepare(cmd *cli.Command) {
	cmd.CustomHelpTemplate = commandHelp
	if len(cmd.Commands) == 0 {
		cmd.HideHelpCommand = true                                                    // "help" is an ordinary argument
		cmd.CommandNotFound = func(ctx context.Context, cmd *cli.Command, _ string) { // --help after an argument
			_ = cli.ShowCommandHelp(ctx, cmd.Lineage()[1], cmd.Name)
		}
	}
	cmd.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error { return badFlag(cmd, err) }
	for _, sub := range cmd.Commands {
		prepare(sub)
	}
	if len(cmd.Commands) > 0 && cmd.Action == nil {
		cmd.Action = func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return unknownCommand(cmd, cmd.Args().First())
			}
			return cli.ShowSubcommandHelp(cmd)
		}
	}
}

// unknownCommand returns the error for an unknown command, with a similar name if
// there is one.
func unknownCommand(cmd *cli.Command, name string) error {
	if near := cli.SuggestCommand(cmd.Commands, name); alike(near, name) {
		return usage("no command %q: did you mean %s?", name, near)
	}
	return usage("no command %q: %s --help lists them", name, cmd.FullName())
}

// badFlag returns the error for a command line that could not be parsed.
func badFlag(cmd *cli.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		if near := cli.SuggestFlag(cmd.Flags, name, false); alike(strings.TrimLeft(near, "-"), name) {
			return usage("unknown flag %s: did you mean %s?", dashed(name), near)
		}
		return usage("unknown flag %s: %s --help lists them", dashed(name), cmd.FullName())
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usage("%s needs a value: see %s --help", name, cmd.FullName())
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(text, "invalid value "), " for flag -"); ok {
		name, why, _ := strings.Cut(rest, ": ")
		return usage("%s: %s: %s", dashed(name), value, why)
	}
	return usage("%s: see %s --help", text, cmd.FullName())
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// alike reports whether a suggestion is worth making: the cli package has one for
// every word.
func alike(near, name string) bool {
	return near != "" && name != "" && near[0] == name[0]
}

// arguments returns the positional arguments of a command, which must be as many
// as there are names: a name in brackets may be missing, if it is the first, and
// "..." after the last means one or more.
func arguments(cmd *cli.Command, names ...string) ([]string, error) {
	got := cmd.Args().Slice()
	need := names
	if len(names) > 0 && strings.HasPrefix(names[0], "[") {
		need = names[1:]
	}
	many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
	form := strings.TrimRight(cmd.FullName()+" "+strings.Join(names, " "), " ")
	switch {
	case len(got) < len(need):
		return nil, usage("%s is missing: %s", strings.TrimSuffix(need[len(got)], "..."), form)
	case len(got) > len(names) && !many:
		return nil, tooMuch(cmd, got[len(names)], form)
	}
	return got, nil
}

// tooMuch returns the error for an argument too many, with the flag that it may have
// been meant for.
func tooMuch(cmd *cli.Command, word, form string) error {
	if flag := flagFor(cmd, word); flag != "" {
		return usage("%q is one argument too many for %s: was %s meant?", word, form, flag)
	}
	return usage("%q is one argument too many for %s", word, form)
}

// flagFor returns the first flag of a command that is not set and whose name or
// value a word may be, as it is to be typed.
func flagFor(cmd *cli.Command, word string) string {
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), word) {
			return dashed(word)
		}
	}
	for _, f := range cmd.Flags {
		switch f := f.(type) {
		case *cli.IntFlag:
			n, err := strconv.Atoi(word)
			if err != nil || f.Validator != nil && f.Validator(n) != nil {
				continue
			}
		case *secondsFlag:
			if _, err := parseSeconds(word); err != nil {
				continue
			}
		case *cli.StringFlag:
			switch {
			case f.Category != "" || f.Validator != nil && f.Validator(word) != nil:
				continue
			case f.Name == "jsondata" && !json.Valid([]byte(word)):
				continue
			}
		default:
			continue
		}
		if name := f.Names()[0]; !cmd.IsSet(name) {
			return dashed(name) + " " + quoted(word)
		}
	}
	return ""
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n'\"\\$&|;<>()[]{}*?!#~`") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// example returns a command's description: a text and command lines.
func example(text string, lines ...string) string {
	return strings.TrimPrefix(text+"\n\n", "\n\n") + "Example:\n\n  " + strings.Join(lines, "\n  ")
}
