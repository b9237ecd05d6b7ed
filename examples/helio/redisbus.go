package main

import (
	"slices"
	"strings"
)

// fromRedisbus makes a command line of ours from one of redisbus-cli, which has no
// commands: --call METHOD is one, and --local has a value.
func fromRedisbus(args []string) []string {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == "--call" || strings.HasPrefix(arg, "--call=") })
	if at < 1 || !strings.HasPrefix(args[1], "-") {
		return args // there is a command
	}
	var method []string // none at the end of the line: call says so
	rest := args[at+1:]
	if value, ok := strings.CutPrefix(args[at], "--call="); ok {
		method = []string{value}
	} else if len(rest) > 0 {
		method, rest = rest[:1], rest[1:]
	}
	made := slices.Concat(args[:1], []string{"call"}, method, args[1:at], rest)
	for i, arg := range made {
		if arg == "--local" && i+1 < len(made) && !strings.HasPrefix(made[i+1], "-") {
			return slices.Delete(made, i+1, i+2) // any value is true there
		}
	}
	return made
}
