package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestEmbedded(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	delete(s.env, "REDIS_URL")
	port := storagetest.FreePort(t)
	s.env["REDIS_PORT"] = port
	r := s.start("--embedded")
	r.errs.Await(t, "a Redis inside this process: redis://127.0.0.1:"+port+"\n")
	require.Equal(t, "1 member added", s.ok("set", "add", "x", "y"))
	require.Contains(t, s.fails(exitRedis, "--embedded", "workers"), "port "+port+" is in use")
	require.Equal(t, exitOK, r.end())
	require.Contains(t, s.fails(exitRedis, "workers"), "no Redis at localhost:"+port)
	require.Contains(t, s.fails(exitUsage, "--embedded", "--hostname", "far", "workers"), "--embedded serves on this machine")
	require.Contains(t, s.helio("", "--embedded", "--url", "rediss://u:p@localhost:"+port+"/3", "set", "add", "x", "y").out, "1 member added", "of a URL, the port and the database")
	require.Contains(t, s.helio("", "--embedded", "--port", "0", "set", "add", "x", "y").out, "1 member added")
}

func TestHelp(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	help := s.ok("--help")
	require.Equal(t, help, s.ok())
	var names []string
	root := (&tool{}).root()
	var visit func(path []string, cmd *cli.Command)
	visit = func(path []string, cmd *cli.Command) {
		for _, sub := range cmd.Commands {
			path := append(path[:len(path):len(path)], sub.Name)
			names = append(names, strings.Join(path, " "))
			text := s.ok(append(path, "--help")...)
			require.Contains(t, text, "helio "+strings.Join(path, " "))
			if len(sub.Commands) == 0 {
				require.Contains(t, text, "Example:\n\n", "%v", path)
				require.Contains(t, text, "see helio --help", "%v", path)
			}
			visit(path, sub)
		}
	}
	visit(nil, root)
	require.Greater(t, len(names), 30)
	require.Equal(t, s.ok("call", "--help"), s.ok("call", "add", "--worker", "x", "--help"))
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		require.Contains(t, s.ok("completion", shell), "--generate-shell-completion", shell)
	}
	out, err := exec.CommandContext(t.Context(), bin, "set", "--generate-shell-completion").Output() // what the scripts ask
	require.NoError(t, err)
	require.Contains(t, string(out), "add:add members\n")
	out, err = exec.CommandContext(t.Context(), bin, "call", "--generate-shell-completion").Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), "help", "for a command without subcommands help is an argument")
	require.Equal(t, "2 members added", s.ok("set", "add", "help", "help", "h"))
	require.Equal(t, "1 message, received 0 times", s.ok("pub", "h", "hello"))
	require.Contains(t, s.fails(exitNotFound, "call", "h", "--worker", "greeter"), "no worker runs")
	require.Equal(t, `no completion for "tcsh": want bash, zsh, fish or pwsh`, s.fails(exitUsage, "completion", "tcsh"))
	require.Contains(t, s.ok("completion"), "bash")
	require.Contains(t, s.ok("--version"), "helio version ")
	require.Regexp(t, `^helio \S+, built with go1\.`, s.ok("version"))
	require.Regexp(t, `^\{"go":"go1\.[^"]+","version":"[^"]+"\}$`, s.ok("version", "-o", "json"))
	require.Equal(t, `"x" is one argument too many for helio version`, s.fails(exitUsage, "version", "x"))
	require.Equal(t, `no command "cal": did you mean call?`, s.fails(exitUsage, "cal"))
	require.Equal(t, `no command "xyz": helio --help lists them`, s.fails(exitUsage, "xyz"))
	require.Equal(t, "unknown flag --ulr: did you mean --url?", s.fails(exitUsage, "--ulr", "x"))
	require.Equal(t, "unknown flag -q: helio call --help lists them", s.fails(exitUsage, "call", "-q"))
	require.Contains(t, s.fails(exitUsage, "help", "xyz"), "xyz")
}

// With --output json an error is a line of JSON too, also of a command line that
// can't be read.
func TestErrorsAsJSON(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	for want, args := range map[string][]string{
		`{"error":"unknown flag --wroker: did you mean --worker?","status":2}`:                                         {"call", "add", "--wroker", "x", "-o", "json"},
		`{"error":"no command \"cal\": did you mean call?","status":2}`:                                                {"--output=json", "cal"},
		`{"error":"-o: \"xml\": want text or json","status":2}`:                                                        {"--output", "json", "list", "-o", "xml"},
		`{"error":"x does not exist","status":3}`:                                                                      {"set", "clear", "x", "--output", "json"},
		`{"error":"--follow goes with one worker: a type or an id","status":2}`:                                        {"-o=json", "call", "x:*", "a", "--follow"},
		`{"error":"no service \"stage\": there is no service at all; helio keywords serve FILE makes one","status":3}`: {"describe", "stage", "-o", "json"},
	} {
		r := s.helio("", args...)
		require.Equal(t, want+"\n", r.err, "%v", args)
		require.Empty(t, r.out, "%v", args)
	}
	require.Equal(t, "json does not exist", s.fails(exitNotFound, "set", "clear", "json"))
}
