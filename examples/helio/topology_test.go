package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// A cluster, a prefix and a site need only other settings.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	cluster := storagetest.StartCluster(t)
	s := on(t, storagetest.New(t))
	s.env["REDIS_URL"] = "redis+cluster://" + cluster.Nodes[1].Addr()
	s.env["HELIO_PREFIX"], s.env["SITE"] = "obs", "dome"
	s.start("worker", "echo", "--exec", "cat").ready()
	require.Equal(t, "7", s.ok("call", "x", "--worker", "echo", "--jsondata", "7", "--wait", "20"))
	s.serving(stage)
	s.ok("modify", "stage.SPEED=7")
	s.ok("waitfor", "-s", "stage", "SPEED > 3", "-t", "20")
	require.Equal(t, "7", s.ok("show", "stage.SPEED", "--terse"))
	require.Equal(t, "1 member added", s.ok("set", "add", "users", "ada"))
	require.Regexp(t, `site dome  1 worker  Redis(.|\n)*\necho +1 (.|\n)*\nstage `, s.ok("top", "--interval", "0.01"))
	sub := s.start("sub", "orders", "--history", "10", "--count", "1")
	sub.errs.Await(t, "listening to orders\n")
	s.ok("pub", "orders", "--history", "10", "tea")
	sub.out.Await(t, "tea\n")

	delete(s.env, "HELIO_PREFIX")
	require.Equal(t, "0", s.ok("set", "len", "users"))
	require.Contains(t, s.fails(exitNotFound, "list"), "no service")
}
