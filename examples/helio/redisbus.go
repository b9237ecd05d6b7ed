package main

import (
	"slices"
	"strings"
)

// fromRedisbus translates a command line of redisbus-cli, which has --call METHOD in
// place of a command, and a value for --local.
func fromRedisbus(args []string) []string {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == "--call" || strings.HasPrefix(arg, "--call=") })
	if at < 1 || !strings.HasPrefix(args[1], "-") {
		return args // it has a command
	}
	var method []string // empty if --call is the last word: the command reports that
	rest := args[at+1:]
	if value, ok := strings.CutPrefix(args[at], "--call="); ok {
		method = []string{value}
	} else if len(rest) > 0 {
		method, rest = rest[:1], rest[1:]
	}
	made := slices.Concat(args[:1], []string{"call"}, method, args[1:at], rest)
	for i, arg := range made {
		if arg == "--local" && i+1 < len(made) && !strings.HasPrefix(made[i+1], "-") {
			return slices.Delete(made, i+1, i+2) // redisbus-cli takes any value as true
		}
	}
	return made
}
