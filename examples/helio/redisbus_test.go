package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCommandLinesOfRedisbus(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"helio --call add --worker calc":            "helio call add --worker calc",
		"helio --site dev --call add --wait 2":      "helio call add --site dev --wait 2",
		"helio --call=add --local True --data x":    "helio call add --local --data x",
		"helio --local True --worker x --call add":  "helio call add --local --worker x",
		"helio --worker calc --local":               "helio --worker calc --local",
		"helio call add --local --data --call":      "helio call add --local --data --call",
		"helio --verbose call add":                  "helio --verbose call add",
		"helio --call":                              "helio call",
		"helio":                                     "helio",
		"helio --call add --local":                  "helio call add --local",
		"helio --hostname h --port 1 --call info x": "helio call info --hostname h --port 1 x",
	} {
		require.Equal(t, strings.Fields(want), fromRedisbus(strings.Fields(line)), line)
	}
	pool := storagetest.New(t)
	s, id := on(t, pool), calc(t, pool)
	require.Equal(t, "3", s.ok("--call", "add", "--worker", "calc", "--jsondata", `{"a":1,"b":2}`, "--wait", "5"))
	require.Equal(t, id+"  0", s.ok("--call", "add", "--local", "True"))
	require.Contains(t, s.fails(exitUsage, "--call", "add"), "--broadcast calls all workers")
	require.Equal(t, "METHOD is missing: helio call [TARGET] METHOD", s.fails(exitUsage, "--call"))
	require.Equal(t, "METHOD is missing: helio call [TARGET] METHOD", s.fails(exitUsage, "--worker", "calc", "--call"))
	require.Equal(t, "METHOD is missing: helio call [TARGET] METHOD", s.fails(exitUsage, "--call", "--worker", "calc"))
	require.Equal(t, "METHOD: empty name", s.fails(exitUsage, "--call="))
}
