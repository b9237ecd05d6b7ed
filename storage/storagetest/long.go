package storagetest

import (
	"os"
	"testing"
)

// Long marks a test as part of the long run: unless the environment variable
// HELIOGRAPH_TESTS is "long", the test is skipped with a line that says so. It
// is for tests that take more than a few seconds: restarts under load, soaks,
// faults of real servers.
func Long(tb testing.TB) {
	tb.Helper()
	if os.Getenv("HELIOGRAPH_TESTS") != "long" {
		tb.Skip("part of the long run: set HELIOGRAPH_TESTS=long")
	}
}
