package main

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"
)

// commandHelp is the help of a command, without the flags that all have.
var commandHelp = strings.NewReplacer(
	"\n\nGLOBAL OPTIONS:{{template \"visiblePersistentFlagTemplate\" .}}", "\n\nWhich Redis is meant, --output and --verbose: see helio --help",
	"\n\nCATEGORY:\n   {{.Category}}", "",
).Replace(cli.CommandHelpTemplate)

// prepare has a command and those below it say what is wrong in one line.
func prepare(cmd *cli.Command) {
	cmd.CustomHelpTemplate = commandHelp
	if len(cmd.Commands) == 0 {
		cmd.HideHelpCommand = true                                                    // help is an argument like any other
		cmd.CommandNotFound = func(ctx context.Context, cmd *cli.Command, _ string) { // --help behind an argument
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

// unknownCommand says which command was meant, if one is near.
func unknownCommand(cmd *cli.Command, name string) error {
	if near := cli.SuggestCommand(cmd.Commands, name); alike(near, name) {
		return usage("no command %q: did you mean %s?", name, near)
	}
	return usage("no command %q: %s --help lists them", name, cmd.FullName())
}

// badFlag is what to say of a command line that could not be read.
func badFlag(cmd *cli.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		if near := cli.SuggestFlag(cmd.Flags, name, false); alike(strings.TrimLeft(near, "-"), name) {
			return usage("unknown flag %s: did you mean %s?", dashed(name), near)
		}
		return usage("unknown flag %s: %s --help lists them", dashed(name), cmd.FullName())
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usage("%s wants a value: see %s --help", name, cmd.FullName())
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

// alike reports whether a suggestion is worth being made: the cli package makes
// one for every word.
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

// tooMuch says that a command takes no further argument, and for which flag it may
// have been meant.
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

// example is the end of a command's description.
func example(text string, lines ...string) string {
	return strings.TrimPrefix(text+"\n\n", "\n\n") + "Example:\n\n  " + strings.Join(lines, "\n  ")
}
