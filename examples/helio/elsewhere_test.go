package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A command that finds nothing names the prefixes and sites in use.
func TestOtherPrefixesAndSites(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		require.NotContains(t, s.fails(exitNotFound, "workers"), "workers run")
		s.serving(stage)
		s.start("worker", "echo", "--exec", "true", "--prefix", "obs", "--site", "dome").ready()
		require.Contains(t, s.fails(exitNotFound, "workers"), "starts one; workers run with --prefix obs --site dome")
		require.Contains(t, s.fails(exitNotFound, "call", "echo", "x", "--prefix", "obs"), "starts one; workers run with --site dome")
		require.Contains(t, s.fails(exitNotFound, "ping", "--site", "dome"), "starts one; workers run with --prefix obs")
		require.Contains(t, s.fails(exitNotFound, "list", "--prefix", "obs"), "makes one; there are services without a prefix")
		require.Contains(t, s.fails(exitNotFound, "show", "stage.SPEED", "--prefix", "obs"), "makes one; there are services without a prefix")
	})
}
